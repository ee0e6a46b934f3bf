"""im2col on the GPU, a thread to an entry, and its adjoint, a thread to a pixel: see im2col.cu."""

from minidl.kernels import namespace
from minidl.kernels.cuda.geometry import geometry_of
from minidl.kernels.cuda.launch import launch, ready


def im2col(x, out_shape, kernel_size, geometry):
    """As the portable kernel."""
    return _launch("im2col", x, out_shape, x.shape, kernel_size, geometry)


def col2im(cols, out_shape, kernel_size, geometry):
    """As the portable kernel."""
    return _launch("col2im", cols, out_shape, out_shape, kernel_size, geometry)


def _launch(name, source, out_shape, x_shape, kernel_size, geometry):
    out = namespace(source).empty(out_shape, source.dtype)
    g = geometry_of(x_shape, (1, x_shape[1], *kernel_size), geometry)
    launch(f"im2col.{name}", out.size, ready(source), out, g, dtype=out.dtype)
    return out
