"""Pooling layers."""

from minidl.nn.module import Module
from minidl.ops.pool import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d, max_unpool2d


class _Pool(Module):
    """Keeps the options of a pooling function and calls it with them."""

    function = None
    options: tuple[str, ...] = ()

    def forward(self, input):
        return type(self).function(input, **{name: getattr(self, name) for name in self.options})

    def extra_repr(self):
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.options)


class MaxPool2d(_Pool):
    """The maximum of each window; see ``minidl.max_pool2d``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.MaxPool2d(2)(minidl.ones(1, 3, 8, 6)).shape
    (1, 3, 4, 3)
    """

    function = staticmethod(max_pool2d)
    options = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode


class AvgPool2d(_Pool):
    """The mean of each window; see ``minidl.avg_pool2d``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.AvgPool2d(3, stride=2, padding=1)(minidl.ones(1, 3, 8, 6)).shape
    (1, 3, 4, 3)
    """

    function = staticmethod(avg_pool2d)
    options = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.ceil_mode = kernel_size, stride, padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override


class AdaptiveAvgPool2d(_Pool):
    """The mean of windows that share the image out into ``output_size``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.AdaptiveAvgPool2d((1, None))(minidl.ones(1, 3, 8, 6)).shape
    (1, 3, 1, 6)
    """

    function = staticmethod(adaptive_avg_pool2d)
    options = ("output_size",)

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size


class AdaptiveMaxPool2d(_Pool):
    """The maximum of windows that share the image out into ``output_size``."""

    function = staticmethod(adaptive_max_pool2d)
    options = ("output_size", "return_indices")

    def __init__(self, output_size, return_indices=False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices


class MaxUnpool2d(Module):
    """Values back at the indices that MaxPool2d(return_indices=True) gave; zeros elsewhere."""

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, input, indices, output_size=None):
        return max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
