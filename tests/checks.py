"""What every op's test needs: inputs away from kinks, and both orders of gradient checks."""

import numpy as np

import minidl
from minidl.autograd import gradcheck, gradgradcheck

DEVICE = minidl.get_default_device().type  # of tensors made without a device: "cuda" with --device pretend or cuda


def share_memory(x, y):
    """Whether two arrays overlap; on a GPU from first to last byte, since CuPy's ``shares_memory`` is wrong for 0-d arrays."""
    return np.shares_memory(x, y) if isinstance(x, np.ndarray) else np.may_share_memory(x, y)


def leaf(*shape, low=-2.0, high=2.0, seed=0, strided=False):
    """A float64 leaf drawn uniformly, on the default device; ``strided`` makes every axis non-contiguous."""
    random = np.random.default_rng([seed, *shape])
    if strided:
        wide = minidl.tensor(random.uniform(low, high, [2 * n for n in shape]))
        return minidl.Tensor(wide.array[tuple(slice(None, None, 2) for _ in shape)], requires_grad=True)
    return minidl.tensor(random.uniform(low, high, shape), requires_grad=True)


def check_gradients(function, *inputs, second=True):
    """First and second derivatives against finite differences in float64: each entry of the Jacobian on the CPU, random products
    with it on a GPU, where every call is a launch.
    """
    assert gradcheck(function, inputs, fast_mode=DEVICE == "cuda")
    if second:
        assert gradgradcheck(function, inputs, fast_mode=DEVICE == "cuda")


def gradients_of(function, *inputs):
    """The gradients of the sum of ``function(*inputs)``, as arrays."""
    found = minidl.autograd.grad(function(*inputs).sum(), inputs, allow_unused=True)
    return [None if g is None else g.numpy() for g in found]
