"""Random tensors. All draw from ``generator``, or from the default one (see ``minidl.manual_seed``); none has a gradient."""

import numpy as np

from minidl.device import Device
from minidl.dtypes import as_dtype, get_default_dtype, int64, is_floating
from minidl.errors import DtypeError
from minidl.kernels import namespace
from minidl.ops.arithmetic import add, mul
from minidl.ops.cast import as_floating, check_floating
from minidl.ops.inplace import check_writable
from minidl.ops.shape import broadcast_tensors, sizes_of
from minidl.random import Generator, default_generator
from minidl.tensor import Tensor, astensor, method, wrap, written

_PIECE = 2**20  # whole blocks, so that pieces are the numbers of one long draw


def rand(*size, generator: Generator | None = None, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Numbers uniform on [0, 1).

    >>> import minidl
    >>> minidl.manual_seed(0)
    Generator(seed=0, stream=0, position=0)
    >>> rand(2, 2)
    tensor([[0.399 , 0.8805],
            [0.7357, 0.6055]])
    """
    source, dtype, device = _source(generator), _floating(dtype), Device.parse(device)
    return Tensor(source.uniform(size=sizes_of(size), dtype=dtype, device=device), requires_grad)


def randn(*size, generator: Generator | None = None, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Numbers from the standard normal distribution.

    >>> randn(2, 3).shape
    (2, 3)
    """
    source, dtype, device = _source(generator), _floating(dtype), Device.parse(device)
    return Tensor(source.normal(size=sizes_of(size), dtype=dtype, device=device), requires_grad)


def randint(low, high=None, size=None, *, generator: Generator | None = None, dtype=int64, device=None) -> Tensor:
    """Integers from ``low`` up to, but not including, ``high``: ``randint(high, size)`` or ``randint(low, high, size)``.

    >>> bool((randint(2, 5, (100,)) >= 2).all())
    True
    """
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if size is None:
        raise TypeError("randint needs a size: randint(high, size) or randint(low, high, size)")
    dtype, device = as_dtype(dtype), Device.parse(device)
    whole = dtype if dtype.kind in "iu" else int64
    with device.as_current():
        found = _source(generator).integers(low, high, sizes_of((size,)), dtype=whole, device=device)
        return wrap(found.astype(dtype, copy=False))


def randperm(n, *, generator: Generator | None = None, dtype=int64, device=None) -> Tensor:
    """The integers below ``n`` in random order.

    >>> sorted(randperm(4).tolist())
    [0, 1, 2, 3]
    """
    device = Device.parse(device)
    with device.as_current():
        return wrap(_source(generator).permutation(n, device=device).astype(as_dtype(dtype), copy=False))


def rand_like(input, *, generator: Generator | None = None, dtype=None, requires_grad=False) -> Tensor:
    """As ``rand``, in the shape, dtype and device of ``input``."""
    return rand(input.shape, generator=generator, dtype=dtype or input.dtype, device=input.device, requires_grad=requires_grad)


def randn_like(input, *, generator: Generator | None = None, dtype=None, requires_grad=False) -> Tensor:
    """As ``randn``, in the shape, dtype and device of ``input``."""
    return randn(input.shape, generator=generator, dtype=dtype or input.dtype, device=input.device,
                 requires_grad=requires_grad)


def randint_like(input, low, high=None, *, generator: Generator | None = None, dtype=None) -> Tensor:
    """As ``randint``, in the shape, dtype and device of ``input``."""
    return randint(low, high, input.shape, generator=generator, dtype=dtype or input.dtype, device=input.device)


def normal(mean=0.0, std=1.0, size=None, *, generator: Generator | None = None, dtype=None, device=None) -> Tensor:
    """Normal numbers of this ``mean`` and ``std``: numbers and a size, or tensors that broadcast, one draw for each element.

    >>> normal(10.0, 2.0, (3,)).shape
    (3,)
    """
    if size is not None:
        shape = sizes_of((size,))
        return wrap(_source(generator).normal(mean, std, shape, dtype=_floating(dtype), device=Device.parse(device)))
    mean, std = broadcast_tensors(as_floating(mean).detach(), as_floating(std).detach())
    if not (std.array >= 0).all():
        raise ValueError("a standard deviation cannot be negative")
    return add(mul(randn_like(mean, generator=generator), std), mean)


@method()
def bernoulli(input, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element of ``input`` names, else 0, in the dtype of ``input``.

    Raises ValueError for a probability outside [0, 1].

    >>> import minidl
    >>> bernoulli(minidl.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    p = astensor(input)
    check_floating(p, "bernoulli")
    if not ((p.array >= 0) & (p.array <= 1)).all():
        raise ValueError("bernoulli needs probabilities from 0 to 1")
    drawn = _source(generator).uniform(size=p.shape, dtype=np.float64, device=p.device)
    return wrap((drawn < p.array).astype(p.dtype))


@method()
def uniform_(self, low=0.0, high=1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers uniform on [low, high) (plain data, or under no_grad)."""
    return _fill(self, "uniform_", _source(generator).uniform, low, high)


@method()
def normal_(self, mean=0.0, std=1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers of this mean and standard deviation (plain data, or under no_grad)."""
    return _fill(self, "normal_", _source(generator).normal, mean, std)


def _fill(x: Tensor, name: str, draw, *parameters) -> Tensor:
    """Write numbers into x, piece by piece: one large array on the way would cost more time than the numbers."""
    check_writable(x, name)
    check_floating(x, name)
    flat = x.array.reshape(-1)  # a copy, if x is not contiguous
    for start in range(0, flat.size, _PIECE):
        part = flat[start : start + _PIECE]
        part[...] = draw(*parameters, part.size, dtype=x.dtype, device=x.device)
    if not namespace(flat).may_share_memory(flat, x.array):
        x.array[...] = flat.reshape(x.shape)
    written(x.array)
    return x


def _source(generator: Generator | None) -> Generator:
    return default_generator if generator is None else generator


def _floating(dtype) -> np.dtype:
    found = get_default_dtype() if dtype is None else as_dtype(dtype)
    if not is_floating(found):
        raise DtypeError(f"random real numbers need a floating-point dtype, got {found}; for integers there is randint")
    return found
