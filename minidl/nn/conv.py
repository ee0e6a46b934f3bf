"""Convolution layers."""

import math

from minidl.errors import ShapeError
from minidl.kernels.shapes import conv_transpose_output, pair
from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.conv import conv2d, conv_transpose2d, fold, unfold
from minidl.ops.create import empty


class _Conv(Module):
    """What a convolution and its transpose share: options, weight and bias."""

    transposed = False

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias,
                 padding_mode, device, dtype):
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(f"{type(self).__name__}: groups={groups} must divide in_channels={in_channels} and "
                             f"out_channels={out_channels}")
        if padding_mode != "zeros":
            raise ValueError(f"{type(self).__name__} knows padding_mode='zeros' only, got {padding_mode!r}: for other modes pad "
                             "the input before the layer")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size"), pair(stride, "stride")
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding")
        self.dilation, self.output_padding = pair(dilation, "dilation"), pair(output_padding, "output_padding")
        self.padding_mode = padding_mode
        reads, writes = (out_channels, in_channels) if self.transposed else (in_channels, out_channels)
        self.weight = Parameter(empty(writes, reads // groups, *self.kernel_size, dtype=dtype, device=device))
        self.register_parameter("bias", Parameter(empty(out_channels, dtype=dtype, device=device)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform within 1/sqrt(fan), where fan = weight.shape[1] KH KW."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        usual = {"padding": (0, 0), "dilation": (1, 1), "output_padding": (0, 0), "groups": 1}
        text += "".join(f", {name}={getattr(self, name)!r}" for name, value in usual.items() if getattr(self, name) != value)
        return text if self.bias is not None else text + ", bias=False"


class Conv2d(_Conv):
    """Slides ``out_channels`` kernels over images.   (N, C, H, W) -> (N, O, OH, OW); see ``minidl.conv2d``.

    Weight (O, C/groups, KH, KW) and bias (O,) start uniform within 1/sqrt(C/groups KH KW), as in PyTorch. Raises ShapeError
    if ``groups`` does not divide the channels, ValueError for another ``padding_mode`` than "zeros".

    >>> import minidl
    >>> from minidl import nn
    >>> layer = nn.Conv2d(1, 6, kernel_size=5, padding=2)
    >>> layer
    Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
    >>> layer(minidl.ones(64, 1, 28, 28)).shape
    (64, 6, 28, 28)
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros", device=None, dtype=None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias, padding_mode, device,
                         dtype)

    def forward(self, input):
        return conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Conv):
    """The transpose of a convolution, which enlarges images.   (N, C, H, W) -> (N, O, OH, OW); see ``minidl.conv_transpose2d``.

    Weight (C, O/groups, KH, KW) and bias (O,) start uniform within 1/sqrt(O/groups KH KW), as in PyTorch. A call may name the
    ``output_size`` (OH, OW) among those that the same convolution would have brought to (H, W). Raises what Conv2d raises.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)(minidl.ones(2, 16, 7, 5)).shape
    (2, 8, 14, 10)
    """

    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
                 bias=True, dilation=1, padding_mode="zeros", device=None, dtype=None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias,
                         padding_mode, device, dtype)

    def forward(self, input, output_size=None):
        extra = self.output_padding if output_size is None else self._output_padding(input.shape[-2:], output_size)
        return conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _output_padding(self, size, output_size):
        """What is missing to ``output_size``, which may be given with all axes."""
        axes = zip(size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        least = [conv_transpose_output(*axis) for axis in axes]
        wanted = tuple(output_size)[-2:]
        if len(wanted) != 2 or any(not 0 <= w - low < s for w, low, s in zip(wanted, least, self.stride, strict=True)):
            most = tuple(low + s - 1 for low, s in zip(least, self.stride, strict=True))
            raise ShapeError(f"ConvTranspose2d: from (H, W) = {tuple(size)} output_size can lie between {tuple(least)} and "
                             f"{most}, got {tuple(output_size)}")
        return tuple(w - low for w, low in zip(wanted, least, strict=True))


class _Windows(Module):
    """The options that Unfold and Fold share."""

    def __init__(self, kernel_size, dilation, padding, stride):
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Unfold(_Windows):
    """All windows of an image as columns.   (N, C, H, W) -> (N, C KH KW, L); see ``minidl.unfold``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Unfold(3)(minidl.ones(2, 4, 6, 5)).shape
    (2, 36, 12)
    """

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__(kernel_size, dilation, padding, stride)

    def forward(self, input):
        return unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(_Windows):
    """Adds columns up into an image.   (N, C KH KW, L) -> (N, C, H, W) with (H, W) = ``output_size``; see ``minidl.fold``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Fold((6, 5), 3)(minidl.ones(2, 36, 12)).shape
    (2, 4, 6, 5)
    """

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, input):
        return fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return f"output_size={self.output_size}, {super().extra_repr()}"
