"""Dropout: elements or whole channels set to 0 at random, the others scaled up so that the expectation stays.

Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: a simple way to prevent neural networks from
overfitting" (JMLR 2014), in its inverted form (section 10); of channels: Tompson et al. (CVPR 2015), section 3.2.
"""

import math

from minidl.device import Device
from minidl.errors import ShapeError
from minidl.kernels import kernel
from minidl.op import Op
from minidl.ops.cast import check_floating
from minidl.random import Generator, default_generator
from minidl.tensor import Tensor, astensor


class Mask(Op):
    """y = x mask scale at a fixed mask of bools: linear, and its own adjoint."""

    def __init__(self, mask, scale):
        self.mask, self.scale = mask, scale

    def forward(self, x):
        return kernel("apply_mask", x)(x, self.mask, self.scale)

    def backward(self, gy):
        return Mask(self.mask, self.scale)(gy)


class Dropout(Mask):
    """The same with a mask of the shape of x, which is drawn in the pass that first applies it."""

    def __init__(self, source, p, scale):
        super().__init__(None, scale)
        self.source, self.p = source, p

    def forward(self, x):
        if self.mask is not None:
            return super().forward(x)
        self.mask, y = self.source.draw("dropout", x.size, x, self.p, self.scale, device=Device.of(x))
        return y


def dropout(input, p=0.5, training=True, inplace=False, *, generator: Generator | None = None) -> Tensor:
    """Each element is 0 with probability ``p``, else multiplied by 1 / (1 - p); the input itself if not ``training``.

    Any floating-point shape. The mask (one byte an element) comes from ``generator``, or the default one. ``inplace`` is there
    for PyTorch's sake: the result is always a new tensor.

    Raises ValueError unless 0 <= p <= 1.

    >>> import minidl
    >>> y = minidl.dropout(minidl.ones(1000), p=0.2)
    >>> sorted(set(y.tolist()))
    [0.0, 1.25]
    """
    x = astensor(input)
    return _dropped(x, x.shape, p, training, generator)


def dropout2d(input, p=0.5, training=True, inplace=False, *, generator: Generator | None = None) -> Tensor:
    """As ``dropout``, for whole channels: (N, C, H, W), or (N, C, L), where one draw decides for each of the N x C planes.

    Raises ShapeError for other ranks.

    >>> import minidl
    >>> y = minidl.dropout2d(minidl.ones(5, 4, 3, 2))
    >>> set(y.sum((2, 3)).reshape(-1).tolist()) <= {0.0, 12.0}
    True
    """
    x = astensor(input)
    if x.ndim not in (3, 4):
        raise ShapeError(f"dropout2d needs images (N, C, H, W) or (N, C, L), got shape {x.shape}")
    return _dropped(x, x.shape[:2] + (1,) * (x.ndim - 2), p, training, generator)


def _dropped(x: Tensor, mask_shape, p, training, generator) -> Tensor:
    check_floating(x, "dropout")
    if not 0 <= p <= 1:
        raise ValueError(f"the probability of dropout must be from 0 to 1, got {p}")
    if not training or p == 0:
        return x
    source, scale = default_generator if generator is None else generator, 1 / (1 - p) if p < 1 else 0.0
    if mask_shape == x.shape:
        return Dropout(source, p, scale)(x)
    mask = source.draw("dropout_mask", math.prod(mask_shape), mask_shape, p, device=x.device)
    return Mask(mask, scale)(x)
