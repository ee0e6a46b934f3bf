"""Normalisation: (x - mean) / sqrt(var + eps), scaled and shifted by learnt values. Functions differ in what is averaged over.

For x (N, C, H, W): batch norm averages each channel over (N, H, W), group norm each image over its groups of channels and
(H, W), layer norm over the last axes. Local response norm divides by the activity of neighbouring channels, ``normalize`` by a
length. Variances are biased (divided by n) and taken around the mean, sums are float64.
"""

import math

from minidl.device import check_same_device
from minidl.dtypes import float32, promote_types
from minidl.errors import DtypeError, ShapeError
from minidl.kernels import kernel, namespace
from minidl.kernels.half import is_half
from minidl.op import FusedOp
from minidl.ops.cast import cast, check_floating
from minidl.ops.choose import clamp
from minidl.ops.elementwise import rsqrt
from minidl.ops.join import cat
from minidl.ops.precision import full_precision
from minidl.ops.reduce import mean, norm
from minidl.tensor import Tensor, astensor, wrap, written


def _standardised(x: Tensor, average: Tensor, variance: Tensor, eps) -> Tensor:
    return (x - average) * rsqrt(variance + eps)


def _variance(x: Tensor, average: Tensor, axes) -> Tensor:
    deviation = x - average
    return mean(deviation * deviation, axes, keepdim=True)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(C,) as (1, C, 1, ...), in the dtype and with the rank of ``like``."""
    return cast(values, like.dtype).reshape(1, -1, *[1] * (like.ndim - 2))


def _wide(x: Tensor) -> Tensor:
    return cast(x, promote_types(x.dtype, float32))


class BatchNorm(FusedOp):
    """y = weight_c (x - mean_c) / sqrt(var_c + eps) + bias_c, the mean and variance of each channel c over all other axes.

    With ``relu``, max(y, 0), which is computed again for the gradient rather than kept. x (N, C, ...), weight and bias (C,) ->
    y (N, C, ...). After the call ``mean`` and ``var`` hold the statistics in float64.
    """

    fixed = False

    def __init__(self, eps, relu=False):
        self.eps, self.relu = eps, relu

    def forward(self, x, weight, bias):
        y, self.mean, self.var = kernel("batch_norm", x)(x, weight, bias, self.eps, relu=self.relu)
        self.save(x, self.mean, self.var, weight, bias)
        return y

    def fast_backward(self, gy):
        x, mean, var, weight, bias = (t.array for t in self.saved)
        above = bias if self.relu else None
        gx, gweight, gbias = kernel("batch_norm_grad", x)(gy.array, x, weight, self.eps, mean, var, self.fixed, above)
        return wrap(gx), wrap(gweight.astype(weight.dtype)), wrap(gbias.astype(bias.dtype))

    def composite(self, x, weight, bias):
        wide, axes = _wide(x), (0, *range(2, x.ndim))
        average = mean(wide, axes, keepdim=True)
        hat = _standardised(wide, average, _variance(wide, average, axes), self.eps)
        return self._ended(hat * _per_channel(weight, wide) + _per_channel(bias, wide), x)

    def _ended(self, y, x):
        return cast(y.relu() if self.relu else y, x.dtype)


class FixedBatchNorm(BatchNorm):
    """The same with a given mean and var (C,), which get no gradient."""

    fixed = True

    def forward(self, x, mean, var, weight, bias):
        self.save(x, mean, var, weight, bias)
        return kernel("batch_norm", x)(x, weight, bias, self.eps, mean, var, self.relu)[0]

    def fast_backward(self, gy):
        gx, gweight, gbias = super().fast_backward(gy)
        return gx, None, None, gweight, gbias

    def composite(self, x, mean, var, weight, bias):
        wide = _wide(x)
        mean, var, weight, bias = (_per_channel(t, wide) for t in (mean, var, weight, bias))
        return self._ended(_standardised(wide, mean, var, self.eps) * weight + bias, x)


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5, *,
               relu=False) -> Tensor:
    """Normalise each channel: weight (x - mean) / sqrt(var + eps) + bias.   input (N, C, ...) -> (N, C, ...).

    In ``training`` by the mean and variance of the batch, which also move the running statistics (C,), in place and outside the
    graph: running = (1 - momentum) running + momentum batch, where the batch's variance is the unbiased one, divided by n - 1,
    although the batch itself is normalised by the biased one. Otherwise by the running statistics. ``weight`` and ``bias``
    (C,) default to 1 and 0; with half-precision inputs they and the statistics may be float32. An empty batch moves nothing. With
    ``relu``, what is below 0 becomes 0, in the same pass over memory, also in that of the gradient.

    On a GPU deviations from the mean above 6e18 make the variance infinite, and y the bias, unless the input is float64.

    Raises ShapeError for an input without channels, values that are not (C,), or one value per channel in training; DtypeError
    for integers and mixed dtypes; DeviceError for several devices; ValueError for an eps <= 0 in training, or missing running
    statistics.

    Source: Ioffe and Szegedy, "Batch normalization" (2015), algorithms 1 and 2.

    >>> import minidl
    >>> x = minidl.tensor([[1.0], [3.0]])
    >>> mean, var = minidl.zeros(1), minidl.ones(1)
    >>> minidl.batch_norm(x, mean, var, training=True, momentum=1.0)
    tensor([[-1.],
            [ 1.]])
    >>> mean, var
    (tensor([2.]), tensor([2.]))
    """
    x = _with_channels(input, "batch_norm")
    affine = _values(x, weight, 1, "weight"), _values(x, bias, 0, "bias")
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: give both running_mean and running_var, or neither")
    running = [None if r is None else wrap(_values(x, r, 0, name).array)
               for r, name in ((running_mean, "running_mean"), (running_var, "running_var"))]
    if not training:
        if running_mean is None:
            raise ValueError("batch_norm: without training=True it normalises by running_mean and running_var, which are None")
        return FixedBatchNorm(eps, relu)(x, *running, *affine)
    if eps <= 0:
        raise ValueError(f"batch_norm: eps must be positive in training, got {eps}")
    count = x.numel() // max(x.shape[1], 1)
    if count == 1:
        raise ShapeError(f"batch_norm: expected more than one value per channel in training, got an input of shape {x.shape}; "
                         "use a larger batch, or eval()")
    op = BatchNorm(eps, relu)
    y = op(x, *affine)
    if running_mean is not None and count:
        average, variance = (r.array for r in running)
        try:
            kernel("move_statistics", average)(average, variance, op.mean, op.var, momentum, count)
        except Exception:
            check_same_device("batch_norm", x, *running)  # as an op: only after a failure
            raise
        written(average)
        written(variance)
    return y


def _with_channels(input, name) -> Tensor:
    x = astensor(input)
    check_floating(x, name)
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected an input (N, C, ...) of at least 2 axes, got shape {x.shape}")
    return x


def _values(x: Tensor, values, default, name, shape=None) -> Tensor:
    """Values of the shape (one for each channel of x if None), checked, or so many defaults."""
    shape = x.shape[1:2] if shape is None else shape
    if values is None:
        return wrap(namespace(x.array).full(shape, default, x.dtype))
    values = astensor(values)
    if values.shape != shape:
        raise ShapeError(f"{name} must have shape {shape} for an input of shape {x.shape}, got {values.shape}")
    if values.dtype != x.dtype and not (is_half(x.dtype) and values.dtype == float32):
        raise DtypeError(f"{name} is {values.dtype} and the input {x.dtype}: convert one of them with .to()")
    return values


class GroupNorm(FusedOp):
    """y = weight_c (x - mean_ng) / sqrt(var_ng + eps) + bias_c, the mean and variance of each image n over group g of channels.

    x (N, C, ...), weight and bias (C,) -> y (N, C, ...).
    """

    def __init__(self, groups, eps):
        self.groups, self.eps = groups, eps

    def forward(self, x, weight, bias):
        y, mean, var = kernel("group_norm", x)(x, self.groups, weight, bias, self.eps)
        self.save(x, mean, var, weight, bias)
        return y

    def fast_backward(self, gy):
        x, mean, var, weight, bias = (t.array for t in self.saved)
        gx, gweight, gbias = kernel("group_norm_grad", x)(gy.array, x, self.groups, weight, self.eps, mean, var)
        return wrap(gx), wrap(gweight.astype(weight.dtype)), wrap(gbias.astype(bias.dtype))

    def composite(self, x, weight, bias):
        wide = _wide(x)
        rows = wide.reshape(len(x), self.groups, math.prod(x.shape[1:]) // self.groups)
        average = mean(rows, 2, keepdim=True)
        hat = _standardised(rows, average, _variance(rows, average, 2), self.eps).reshape(x.shape)
        return cast(hat * _per_channel(weight, wide) + _per_channel(bias, wide), x.dtype)


@full_precision
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5) -> Tensor:
    """Normalise each image over groups of C / num_groups neighbouring channels: the batch plays no role.

    input (N, C, ...) -> (N, C, ...); ``weight`` and ``bias`` (C,) default to 1 and 0.

    On a GPU deviations from the mean above 6e18 make the variance infinite, and y the bias, unless the input is float64.

    Raises ShapeError if the groups don't divide C, for values that are not (C,), and for a single value per group (N = 1);
    DtypeError for integers and mixed dtypes.

    Source: Wu and He, "Group normalization" (2018), section 3.1.

    >>> import minidl
    >>> minidl.group_norm(minidl.tensor([[1.0, 3.0, 10.0, 30.0]]), 2)
    tensor([[-1.,  1., -1.,  1.]])
    """
    x = _with_channels(input, "group_norm")
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ShapeError(f"group_norm: num_groups={num_groups} must divide the number of channels, C={x.shape[1]} in {x.shape}")
    if x.numel() == num_groups and len(x) == 1:
        raise ShapeError(f"group_norm: expected more than one value per group, got {num_groups} groups in shape {x.shape}")
    return GroupNorm(num_groups, eps)(x, _values(x, weight, 1, "weight"), _values(x, bias, 0, "bias"))


@full_precision
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5) -> Tensor:
    """Normalise over the last axes, whose sizes are ``normalized_shape``; ``weight`` and ``bias`` of this shape default to 1, 0.

    On a GPU deviations from the mean above 6e18 make the variance infinite, and y the bias, unless the input is float64.

    Raises ShapeError if the last axes or the values have another shape; DtypeError for integers and mixed dtypes.

    Source: Ba, Kiros and Hinton, "Layer normalization" (2016), section 3.

    >>> import minidl
    >>> minidl.layer_norm(minidl.tensor([[1.0, 3.0], [-5.0, 5.0]]), (2,))
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    x = astensor(input)
    check_floating(x, "layer_norm")
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or x.shape[-len(shape):] != shape:
        raise ShapeError(f"layer_norm: expected an input whose last axes are normalized_shape={shape}, got shape {x.shape}")
    size = math.prod(shape)
    weight, bias = (_shaped(_values(x, *value, shape), (size,)) for value in ((weight, 1, "weight"), (bias, 0, "bias")))
    vectors = _shaped(x, (math.prod(x.shape[:-len(shape)]), size))
    return _shaped(GroupNorm(1, eps)(vectors, weight, bias), x.shape)


def _shaped(x: Tensor, shape) -> Tensor:
    """Reshaped where needed: an op less for vectors."""
    return x if x.shape == shape else x.reshape(shape)


class LocalResponseNorm(FusedOp):
    """y_c = x_c (k + (alpha / size) sum_j x_j²)^-beta over the ``size`` channels j around c.   x (N, C, ...) -> y (N, C, ...)."""

    def __init__(self, size, alpha, beta, k):
        self.settings = size, alpha, beta, k

    def forward(self, x):
        self.save(x)
        return kernel("local_response_norm", x)(x, *self.settings)

    def fast_backward(self, gy):
        (x,) = self.saved
        return wrap(kernel("local_response_norm_grad", x.array)(gy.array, x.array, *self.settings))

    def composite(self, x):
        size, alpha, beta, k = self.settings
        wide = _wide(x)
        before, after = (wide.new_zeros(len(x), n, *x.shape[2:]) for n in (size // 2, (size - 1) // 2))
        squares = cat([before, wide * wide, after], 1)
        total = sum(squares.narrow(1, i, x.shape[1]) for i in range(size))
        return cast(wide * (total * (alpha / size) + k) ** -beta, x.dtype)


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0) -> Tensor:
    """Divide by the activity of neighbouring channels: y_c = x_c / (k + (alpha / size) sum_j x_j²)^beta.

    input (N, C, ...) with 3 axes or more; j runs over ``size`` channels, from c - size // 2 to c + (size - 1) // 2, those that
    do not exist counting as 0. As in PyTorch and Caffe alpha is divided by the size. AlexNet's paper does not divide: its
    k = 2, n = 5, alpha = 1e-4, beta = 0.75 is ``local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)``.

    Raises ShapeError for fewer than 3 axes, DtypeError for integers, ValueError for a size below 1.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (2012), 3.3.

    >>> import minidl
    >>> minidl.local_response_norm(minidl.ones(1, 3, 1), 2, alpha=2.0, beta=1.0).tolist()
    [[[0.5], [0.3333333432674408], [0.3333333432674408]]]
    """
    x = _with_channels(input, "local_response_norm")
    if x.ndim < 3:
        raise ShapeError(f"local_response_norm: expected an input (N, C, ...) of at least 3 axes, got shape {x.shape}")
    if size < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size}")
    return LocalResponseNorm(size, alpha, beta, k)(x)


def normalize(input, p=2.0, dim=1, eps=1e-12) -> Tensor:
    """Divide vectors along ``dim`` by their p-norm, or by ``eps`` if the norm is less.

    >>> import minidl
    >>> minidl.normalize(minidl.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6, 0.8],
            [0. , 0. ]])
    """
    x = astensor(input)
    return x / clamp(norm(x, p, dim, keepdim=True), min=eps)
