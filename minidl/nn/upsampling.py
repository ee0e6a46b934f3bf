"""Layers that change the size of images without parameters."""

from minidl.nn.module import Module
from minidl.ops.resample import interpolate


class Upsample(Module):
    """Images at another ``size`` or times ``scale_factor``; see ``minidl.interpolate``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Upsample(scale_factor=2)(minidl.ones(1, 3, 4, 5)).shape
    (1, 3, 8, 10)
    """

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None):
        super().__init__()
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, input):
        return interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self):
        size = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{size}, mode={self.mode!r}"
