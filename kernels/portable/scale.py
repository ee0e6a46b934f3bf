"""The two kernels of gradient scaling. All numbers stay in arrays, so that neither makes the CPU wait for a GPU.

Source: Micikevicius et al., "Mixed precision training" (2018), section 3.2.
"""

from minidl.kernels import namespace


def unscale_each(gradients, scale, found_inf):
    """g = g / scale, in place, for gradients of one dtype and device; ``found_inf`` becomes 1 if any holds an infinity or a NaN.
    Both are 0-d float32 arrays. On the GPU this is one launch.

    A product with 1 / scale would not do: that can be less than 2^-126, which CuPy's kernels take for 0.
    """
    for g in gradients:
        finite = namespace(g).isfinite(g).all()
        namespace(g).maximum(found_inf, ~finite, out=found_inf)
        g[...] = g / scale


def update_scale(scale, growth_tracker, found_inf, growth_factor, backoff_factor, growth_interval):
    """In place: after infinite gradients scale = backoff_factor scale, and the count of good steps starts anew; after
    ``growth_interval`` good ones scale = growth_factor scale, unless that is infinite.

    ``scale`` and ``found_inf`` are 0-d float32 arrays, ``growth_tracker`` is a 0-d int32 array.
    """
    xp = namespace(scale)
    bad, larger = found_inf > 0, scale * growth_factor
    grows = ~bad & (growth_tracker + 1 >= growth_interval)
    scale[...] = xp.where(bad, scale * backoff_factor, xp.where(grows & xp.isfinite(larger), larger, scale))
    growth_tracker[...] = xp.where(bad | grows, 0, growth_tracker + 1)
