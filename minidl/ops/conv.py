"""Convolution, a family closed in itself.   x (N, C, H, W), w (O, C/G, KH, KW), b (O,) -> y (N, O, OH, OW)

    y[n,o,i,j] = b[o] + sum over c,a,k of x[n, c, i*sh + a*dh - ph, j*sw + k*dw - pw] w[o,c,a,k]

x outside the image is 0; c runs over the C/G channels of o's group. The sum is linear in x and in w, so with a scalar loss L its
gradients dL/dx (linear in dL/dy and w) and dL/dw (linear in dL/dy and x) are maps of the same kind: each one's gradients are the
other two. The transposed convolution is the gradient in x, read as a function of its own.

Source: Y. LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, section II; V. Dumoulin, F. Visin, A guide
to convolution arithmetic for deep learning, 2016, for sizes and transposed convolution.
"""

from minidl.errors import ShapeError
from minidl.kernels import kernel
from minidl.kernels.constants import unchanging
from minidl.kernels.shapes import ConvGeometry, conv_transpose_output, pair, windows
from minidl.op import LinearOp, Op
from minidl.ops.activation import relu as relu_of
from minidl.ops.cast import check_floating
from minidl.ops.index import Unslice
from minidl.ops.matmul import check_same_dtype
from minidl.ops.precision import low_precision
from minidl.tensor import Tensor, astensor, mode


class Conv2d(Op):
    """y = b + x conv w."""

    def __init__(self, geometry, relu=False):
        self.geometry, self.relu = geometry, relu  # relu only where nothing is recorded

    def forward(self, x, w, b=None):
        self.shapes = x.shape, w.shape
        self.save(x if self.needs[1] else None, w if self.needs[0] else None)
        return kernel("conv2d", x)(x, w, b, self.geometry, self.relu)

    def backward(self, gy):
        (x, w), (x_shape, w_shape) = self.saved, self.shapes
        with unchanging(gy.array):  # both gradients read it, and kernels may put it in another order
            gx = Conv2dInputGrad(x_shape, self.geometry)(gy, w) if self.needs[0] else None
            gw = Conv2dWeightGrad(w_shape, self.geometry)(gy, x) if self.needs[1] else None
        if len(self.needs) == 2:
            return gx, gw
        return gx, gw, gy.sum((0, 2, 3)) if self.needs[2] else None


class Conv2dInputGrad(Op):
    """gx[n,c,h,w] = sum of gy w over all (o, i, j, a, k) for which window (i, j) reads pixel (h, w) at (a, k)."""

    def __init__(self, x_shape, geometry):
        self.x_shape, self.geometry = x_shape, geometry

    def forward(self, gy, w):
        self.w_shape = w.shape
        self.save(gy if self.needs[1] else None, w if self.needs[0] else None)
        return kernel("conv2d_input_grad", gy)(gy, w, self.x_shape, self.geometry)

    def backward(self, ggx):
        gy, w = self.saved
        return (Conv2d(self.geometry)(ggx, w) if self.needs[0] else None,
                Conv2dWeightGrad(self.w_shape, self.geometry)(gy, ggx) if self.needs[1] else None)


class Conv2dWeightGrad(Op):
    """gw[o,c,a,k] = sum over n,i,j of gy[n,o,i,j] and the pixel that window (i, j) reads at (a, k)."""

    def __init__(self, w_shape, geometry):
        self.w_shape, self.geometry = w_shape, geometry

    def forward(self, gy, x):
        self.x_shape = x.shape
        self.save(gy if self.needs[1] else None, x if self.needs[0] else None)
        return kernel("conv2d_weight_grad", gy)(gy, x, self.w_shape, self.geometry)

    def backward(self, ggw):
        gy, x = self.saved
        return (Conv2d(self.geometry)(x, ggw) if self.needs[0] else None,
                Conv2dInputGrad(self.x_shape, self.geometry)(gy, ggw) if self.needs[1] else None)


@low_precision
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, relu=False) -> Tensor:
    """Slide each kernel over the image; at each place sum the products of its weights with the pixels below it, plus its bias.

    Shapes: input (N, C, H, W) or (C, H, W), weight (O, C/groups, KH, KW), bias (O,) -> (N, O, OH, OW) or (O, OH, OW), where
    OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1. ``stride``, ``padding`` and ``dilation`` are ints or pairs
    (height, width). ``padding`` "valid" is 0; "same" keeps H and W (stride 1; an odd surplus goes to the right and the bottom).
    With ``relu``, what is below 0 becomes 0, in the same pass over memory where no gradient is recorded.

    Raises ShapeError where shapes or options don't fit, DtypeError unless all are of one floating-point dtype.

    >>> import minidl
    >>> x = minidl.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d(x, minidl.ones(1, 1, 2, 2))
    tensor([[[[ 8., 12.],
              [20., 24.]]]])
    >>> conv2d(x, minidl.ones(6, 1, 5, 5), padding="same").shape
    (1, 6, 3, 3)
    """
    x, single = _images("conv2d", input)
    weight, bias = _parameters("conv2d", x, weight, bias)
    o, c, kh, kw = weight.shape
    geometry = _geometry("conv2d", stride, 0 if isinstance(padding, str) else padding, dilation, groups)
    if isinstance(padding, str):
        x, geometry = _named_padding(x, (kh, kw), padding, geometry)
    if c * groups != x.shape[1]:
        raise ShapeError(f"conv2d: input (N, C, H, W) = {x.shape} has C = {x.shape[1]}, but weight (O, C/groups, KH, KW) = "
                         f"{weight.shape} with groups={groups} is made for C = {c * groups}")
    _check_outputs("conv2d", bias, o, groups)
    if min(windows(x.shape[2:], (kh, kw), geometry)) < 1:
        raise ShapeError(f"conv2d: a kernel of (KH, KW) = {(kh, kw)} with dilation {geometry.dilation} does not fit into an "
                         f"image of (H, W) = {x.shape[2:]} with padding {geometry.padding}")
    fused = relu and not (mode.recording and any(t is not None and t.tracked for t in (x, weight, bias)))
    y = Conv2d(geometry, fused)(x, weight) if bias is None else Conv2d(geometry, fused)(x, weight, bias)
    if relu and not fused:
        y = relu_of(y)
    return y.squeeze(0) if single else y


@low_precision
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1) -> Tensor:
    """Let each pixel paint its multiple of a kernel, ``stride`` apart, and add up: the gradient of ``conv2d`` in its input.

    Shapes: input (N, C, H, W) or (C, H, W), weight (C, O/groups, KH, KW), bias (O,) -> (N, O, OH, OW) or (O, OH, OW), where
    OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1. ``padding`` crops the result on all sides;
    ``output_padding`` (smaller than stride or dilation) gives the right and the bottom back.

    Raises ShapeError where shapes or options don't fit, DtypeError unless all are of one floating-point dtype.

    >>> import minidl
    >>> conv_transpose2d(minidl.tensor([[[1.0, 2.0]]]), minidl.ones(1, 1, 1, 2), stride=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    x, single = _images("conv_transpose2d", input)
    weight, bias = _parameters("conv_transpose2d", x, weight, bias)
    c, o, kh, kw = weight.shape
    geometry = _geometry("conv_transpose2d", stride, padding, dilation, groups)
    extra = pair(output_padding, "output_padding")
    if c != x.shape[1] or c % groups:
        raise ShapeError(f"conv_transpose2d: input (N, C, H, W) = {x.shape} has C = {x.shape[1]}, weight (C, O/groups, KH, KW) = "
                         f"{weight.shape} is made for C = {c}, and groups={groups} must divide C")
    _check_outputs("conv_transpose2d", bias, o * groups, groups)
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, geometry.stride, geometry.dilation, strict=True)):
        raise ShapeError(f"conv_transpose2d: output_padding {extra} must be at least 0 and smaller than stride {geometry.stride} "
                         f"or dilation {geometry.dilation}")
    # Each whole stride of output padding is a row or column of zeros more below or right of the input.
    x = _extended(x, *(e // s for e, s in zip(extra, geometry.stride, strict=True)))
    size = tuple(conv_transpose_output(*axis) for axis in zip(
        x.shape[2:], (kh, kw), geometry.stride, geometry.padding, geometry.dilation,
        (e % s for e, s in zip(extra, geometry.stride, strict=True)), strict=True))
    if min(size) < 1:
        raise ShapeError(f"conv_transpose2d: padding {geometry.padding} leaves nothing of an output of (OH, OW) = {size}")
    y = Conv2dInputGrad((x.shape[0], o * groups, *size), geometry)(x, weight)
    if bias is not None:
        y = y + bias.reshape(1, -1, 1, 1)
    return y.squeeze(0) if single else y


class Unfold(LinearOp):
    """cols[n,(c,a,k),(i,j)] = x[n, c, i*sh + a*dh - ph, j*sw + k*dw - pw]; the adjoint adds up all copies of a pixel."""

    kernel, adjoint = "im2col", "col2im"


def unfold(input, kernel_size, dilation=1, padding=0, stride=1) -> Tensor:
    """All windows of an image as columns, so that a convolution is a matrix product with them.

    Shapes: (N, C, H, W) or (C, H, W) -> (N, C KH KW, L) or (C KH KW, L) for L windows, counted row by row.

    Raises ShapeError where shapes or options don't fit, DtypeError unless floating point.

    >>> import minidl
    >>> unfold(minidl.arange(6.0).reshape(1, 2, 3), 2)
    tensor([[0., 1.],
            [1., 2.],
            [3., 4.],
            [4., 5.]])
    """
    x, single = _images("unfold", input)
    size, geometry, count = _unfolding("unfold", x.shape[2:], kernel_size, stride, padding, dilation)
    shape = (x.shape[0], x.shape[1] * size[0] * size[1], count)
    y = Unfold(x.shape, shape, size, geometry)(x)
    return y.squeeze(0) if single else y


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1) -> Tensor:
    """Add columns up into an image where ``unfold`` would have read them: its adjoint, not its inverse (where windows overlap,
    pixels are summed).

    Shapes: (N, C KH KW, L) or (C KH KW, L) -> (N, C, H, W) or (C, H, W) with (H, W) = ``output_size``.

    Raises ShapeError where shapes or options don't fit, DtypeError unless floating point.

    >>> import minidl
    >>> fold(minidl.ones(1, 2, 2), (1, 3), (1, 2))
    tensor([[[[1., 2., 1.]]]])
    """
    cols = astensor(input)
    check_floating(cols, "fold")
    if cols.ndim not in (2, 3):
        raise ShapeError(f"fold needs input (N, C KH KW, L) or (C KH KW, L), got shape {cols.shape}")
    single, cols = cols.ndim == 2, cols.unsqueeze(0) if cols.ndim == 2 else cols
    out = pair(output_size, "output_size")
    size, geometry, count = _unfolding("fold", out, kernel_size, stride, padding, dilation)
    n, rows, columns = cols.shape
    if rows % (size[0] * size[1]) or columns != count:
        raise ShapeError(f"fold: windows of {size} in an image of {out} need input (N, C {size[0]} {size[1]}, {count}), "
                         f"got {cols.shape}")
    y = Unfold(cols.shape, (n, rows // (size[0] * size[1]), *out), size, geometry, transposed=True)(cols)
    return y.squeeze(0) if single else y


# Checks


def _images(name, input) -> tuple[Tensor, bool]:
    """A batch of images, and whether it was a single one."""
    x = astensor(input)
    check_floating(x, name)
    if x.ndim not in (3, 4):
        raise ShapeError(f"{name} needs input (N, C, H, W) or (C, H, W), got shape {x.shape}")
    if 0 in x.shape[-3:]:
        raise ShapeError(f"{name} needs images with channels and pixels, got shape {x.shape}")
    return (x, False) if x.ndim == 4 else (x.unsqueeze(0), True)


def _parameters(name, x, weight, bias) -> tuple[Tensor, Tensor | None]:
    weight = astensor(weight)
    if weight.ndim != 4 or 0 in weight.shape:
        raise ShapeError(f"{name} needs a weight with four axes, none of them empty, got shape {weight.shape}")
    if bias is None:
        check_same_dtype(name, x, weight)
        return weight, None
    bias = astensor(bias)
    check_same_dtype(name, x, weight, bias)
    return weight, bias


def _check_outputs(name, bias, outputs, groups) -> None:
    if outputs % groups:
        raise ShapeError(f"{name}: groups={groups} must divide the O = {outputs} output channels")
    if bias is not None and bias.shape != (outputs,):
        raise ShapeError(f"{name} needs a bias (O,) = ({outputs},), got shape {bias.shape}")


def _geometry(name, stride, padding, dilation, groups) -> ConvGeometry:
    stride, padding, dilation = pair(stride, "stride"), pair(padding, "padding"), pair(dilation, "dilation")
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0 or not isinstance(groups, int) or groups < 1:
        raise ShapeError(f"{name} needs stride, dilation and groups of at least 1 and padding of at least 0, got {stride}, "
                         f"{dilation}, {groups} and {padding}")
    return ConvGeometry(stride, padding, dilation, groups)


def _named_padding(x, kernel_size, padding, geometry) -> tuple[Tensor, ConvGeometry]:
    """For "valid" and "same": the image, extended at the right and the bottom where the padding is not even, and the geometry."""
    if padding not in ("valid", "same"):
        raise ValueError(f"padding must be an int, a pair of ints, 'valid' or 'same', got {padding!r}")
    if padding == "valid":
        return x, geometry
    if geometry.stride != (1, 1):
        raise ShapeError(f"padding='same' needs stride 1, got {geometry.stride}: give the padding as numbers")
    total = [d * (k - 1) for d, k in zip(geometry.dilation, kernel_size, strict=True)]
    return _extended(x, total[0] % 2, total[1] % 2), geometry._replace(padding=(total[0] // 2, total[1] // 2))


def _extended(x, bottom, right) -> Tensor:
    """With rows of zeros below and columns of zeros right of the image."""
    if not bottom and not right:
        return x
    n, c, h, w = x.shape
    return Unslice((..., slice(h), slice(w)), (n, c, h + bottom, w + right))(x)


def _unfolding(name, image_size, kernel_size, stride, padding, dilation):
    """Kernel size, geometry and the number of windows; checked."""
    size, geometry = pair(kernel_size, "kernel_size"), _geometry(name, stride, padding, dilation, 1)
    if min(size) < 1 or min(image_size) < 1 or min(windows(image_size, size, geometry)) < 1:
        raise ShapeError(f"{name}: a window of {size} with dilation {geometry.dilation} does not fit into an image of "
                         f"(H, W) = {tuple(image_size)} with padding {geometry.padding}")
    rows, columns = windows(image_size, size, geometry)
    return size, geometry, rows * columns
