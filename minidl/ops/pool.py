"""Pooling: the maximum or mean of windows of an image.   x (N, C, H, W) or (C, H, W) -> y (N, C, OH, OW) or (C, OH, OW).

Max pooling names a winner in each window, and its gradient is a linear map at fixed winners: each gradient goes back to the
element that won. Average pooling is linear itself.
"""

import numpy as np

from minidl.device import check_same_device
from minidl.errors import ShapeError
from minidl.kernels import kernel
from minidl.kernels.shapes import adaptive_windows, pair, pool_divisors, pool_output, pool_windows
from minidl.op import LinearOp, Op
from minidl.ops.cast import check_floating
from minidl.ops.index import check_indices
from minidl.tensor import Tensor, astensor


class TakeWinners(LinearOp):
    """y[n,c,i,j] = x[n,c] at flat index winners[n,c,i,j]; the adjoint adds back what each winner won."""

    kernel, adjoint = "take_winners", "add_winners"


class MaxPool2d(Op):
    """y[n,c,i,j] = max of window (i,j), and where it stood, h W + w, unless nobody will ask."""

    def __init__(self, rows, columns, indices):
        self.rows, self.columns, self.indices = rows, columns, indices

    def forward(self, x):
        self.shape = x.shape
        if not self.needs[0] and not self.indices:
            return kernel("max_values", x)(x, self.rows, self.columns)
        values, winners = kernel("max_windows", x)(x, self.rows, self.columns)
        self.save(winners)
        return values, winners

    def backward(self, gy, _):
        winners = self.saved[0].array
        return TakeWinners(gy.shape, self.shape, winners, (self.rows, self.columns), transposed=True)(gy)


class AvgPool2d(LinearOp):
    """y[n,c,i,j] = sum of window (i,j) / divisors[i,j]; the adjoint gives every element of a window its share."""

    kernel, adjoint = "mean_windows", "spread_windows"


def _batched(input, name: str) -> tuple[Tensor, bool]:
    x = astensor(input)
    if x.ndim not in (3, 4):
        raise ShapeError(f"{name} needs input (N, C, H, W) or (C, H, W), got shape {x.shape}")
    if 0 in x.shape[-2:]:
        raise ShapeError(f"{name} needs a non-empty image, got shape {x.shape}")
    return (x, False) if x.ndim == 4 else (x.unsqueeze(0), True)


def _geometry(name, x, kernel_size, stride, padding, dilation, ceil_mode):
    """Kernel, stride, padding, dilation as pairs, and the output's size; checked."""
    k, p, d = pair(kernel_size, "kernel_size"), pair(padding, "padding"), pair(dilation, "dilation")
    s = k if stride is None else pair(stride, "stride")
    if min(k) < 1 or min(s) < 1 or min(d) < 1 or min(p) < 0:
        raise ShapeError(f"{name} needs kernel_size, stride and dilation of at least 1 and padding of at least 0, got {k}, {s}, "
                         f"{d}, {p}")
    if p[0] > k[0] // 2 or p[1] > k[1] // 2:
        raise ShapeError(f"{name}: padding {p} is more than half the kernel {k}: some windows would hold nothing but padding")
    out = tuple(pool_output(x.shape[2 + a], k[a], s[a], p[a], d[a], ceil_mode) for a in (0, 1))
    if min(out) < 1:
        raise ShapeError(f"{name}: a kernel of {k} with dilation {d} does not fit into an image (H, W) = {x.shape[2:]} with "
                         f"padding {p}")
    return k, s, p, d, out


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window, and with ``return_indices`` where it stood, as a flat index h W + w.

    ``stride`` is the kernel size if None. Padding never wins; of equal elements the first does; NaN wins over numbers. With
    ``ceil_mode`` a last, partial window counts unless it starts in the padding. Raises ShapeError for windows that don't fit,
    and for padding of more than half the kernel.

    >>> import minidl
    >>> x = minidl.arange(16.0).reshape(1, 1, 4, 4)
    >>> max_pool2d(x, 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    x, single = _batched(input, "max_pool2d")
    k, s, p, d, out = _geometry("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    windows = [pool_windows(x.shape[2 + a], out[a], k[a], s[a], p[a], d[a]) for a in (0, 1)]
    return _max_pool(x, windows, single, return_indices)


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """The maximum of windows that share the image out into ``output_size`` (an int, or a pair where None keeps the size).

    >>> import minidl
    >>> adaptive_max_pool2d(minidl.arange(6.0).reshape(1, 2, 3), (1, 2))
    tensor([[[4., 5.]]])
    """
    x, single = _batched(input, "adaptive_max_pool2d")
    return _max_pool(x, _adaptive("adaptive_max_pool2d", x, output_size), single, return_indices)


def _max_pool(x, windows, single, return_indices):
    if any(w.step > 1 and (w.starts >= w.stops).any() for w in windows):
        raise ShapeError(f"max_pool2d: with dilation {tuple(w.step for w in windows)} a window of this image (H, W) = "
                         f"{x.shape[2:]} would hold nothing but padding")
    y = MaxPool2d(*windows, return_indices)(x)
    if single:
        y = tuple(part.squeeze(0) for part in y) if isinstance(y, tuple) else y.squeeze(0)
    return y if return_indices or not isinstance(y, tuple) else y[0]


def _adaptive(name, x, output_size):
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(sizes) != 2 or any(n is not None and n < 1 for n in sizes):
        raise ShapeError(f"{name} needs a positive output size or a pair of them, got {output_size}")
    return [adaptive_windows(size, size if n is None else n) for size, n in zip(x.shape[2:], sizes, strict=True)]


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None) -> Tensor:
    """Zeros with each value at the index that ``max_pool2d(..., return_indices=True)`` gave for it.

    Raises IndexError for an index outside the output image. Indices named twice add up.

    >>> import minidl
    >>> y, at = max_pool2d(minidl.tensor([[[1.0, 5.0], [3.0, 2.0]]]), 2, return_indices=True)
    >>> max_unpool2d(y, at, 2)
    tensor([[[0., 5.],
             [0., 0.]]])
    """
    x, single = _batched(input, "max_unpool2d")
    k, p = pair(kernel_size, "kernel_size"), pair(padding, "padding")
    s = k if stride is None else pair(stride, "stride")
    default = tuple((x.shape[2 + a] - 1) * s[a] - 2 * p[a] + k[a] for a in (0, 1))
    size = default if output_size is None else tuple(output_size)[-2:]
    if indices.shape != astensor(input).shape:
        raise ShapeError(f"max_unpool2d needs an index for each value: values {astensor(input).shape}, indices {indices.shape}")
    check_same_device("max_unpool2d", x, indices)
    at = indices.array.reshape(x.shape)
    check_indices(at, size[0] * size[1], "max_unpool2d")
    y = TakeWinners(x.shape, (*x.shape[:2], *size), at, transposed=True)(x)
    return y.squeeze(0) if single else y


def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean of each window; zeros of the padding count unless ``count_include_pad`` is False, or ``divisor_override`` is set.

    What overhangs the padding in ``ceil_mode`` never counts. Raises ShapeError as ``max_pool2d``.

    >>> import minidl
    >>> avg_pool2d(minidl.arange(16.0).reshape(1, 4, 4), 2)
    tensor([[[ 2.5,  4.5],
             [10.5, 12.5]]])
    """
    x, single = _batched(input, "avg_pool2d")
    check_floating(x, "avg_pool2d")
    k, s, p, _, out = _geometry("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    windows = [pool_windows(x.shape[2 + a], out[a], k[a], s[a], p[a]) for a in (0, 1)]
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError("divisor_override must not be 0")
        divisors = np.full(out, float(divisor_override))
    elif count_include_pad:
        rows, columns = (pool_divisors(x.shape[2 + a], out[a], k[a], s[a], p[a]) for a in (0, 1))
        divisors = rows[:, None] * columns.astype(float)
    else:
        divisors = _areas(windows)
    return _avg_pool(x, windows, divisors, single)


def adaptive_avg_pool2d(input, output_size) -> Tensor:
    """The mean of windows that share the image out into ``output_size`` (an int, or a pair where None keeps the size).

    >>> import minidl
    >>> adaptive_avg_pool2d(minidl.arange(6.0).reshape(1, 2, 3), 1)
    tensor([[[2.5]]])
    """
    x, single = _batched(input, "adaptive_avg_pool2d")
    check_floating(x, "adaptive_avg_pool2d")
    windows = _adaptive("adaptive_avg_pool2d", x, output_size)
    return _avg_pool(x, windows, _areas(windows), single)


def _areas(windows) -> np.ndarray:
    rows, columns = (w.stops - w.starts for w in windows)
    return rows[:, None] * columns.astype(float)


def _avg_pool(x, windows, divisors, single) -> Tensor:
    y = AvgPool2d(x.shape, (*x.shape[:2], *divisors.shape), *windows, divisors)(x)
    return y.squeeze(0) if single else y
