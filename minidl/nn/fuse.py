"""Fewer layers for inference: batch norms folded into the convolutions before them, ReLUs into their last pass.

After training a batch norm is a fixed scale and shift of each channel, which the convolution before it can do as well:

    s (w * x) + t = (s w) * x + t        with  s = weight / sqrt(running_var + eps),  t = bias - s running_mean

And its weights are packed or transformed for the kernels once instead of at each call.
"""

from collections import Counter

import numpy as np

from minidl.errors import UsageError
from minidl.kernels.constants import constant
from minidl.nn.activation import ReLU
from minidl.nn.container import Sequential
from minidl.nn.conv import Conv2d
from minidl.nn.linear import Identity
from minidl.nn.module import Module, Parameter
from minidl.nn.norm import BatchNorm2d, BNReLU2d, FrozenBatchNorm2d
from minidl.ops.conv import conv2d
from minidl.tensor import from_numpy


class FusedConv2d(Conv2d):
    """A convolution that ends in a ReLU.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval().fuse()
    Sequential(
      (0): FusedConv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), relu=True)
      (1): Identity()
    )
    """

    def forward(self, input):
        return conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, relu=True)

    def extra_repr(self):
        return f"{super().extra_repr()}, relu=True"


def fuse(model: Module) -> Module:
    """Fuse what is fused in ``model`` and all modules in it: see ``Module.fuse``."""
    if any(module.training for module in model.modules()):
        raise UsageError("fuse() is for inference, as a folded batch norm learns nothing: call model.eval() first")
    parents = Counter(child for module in model.modules() for child in module._modules.values())
    for module in list(model.modules()):
        for chain in _chains(module):
            _fuse_chain(module, chain, parents)
    for module in model.modules():
        if isinstance(module, Conv2d):
            constant(module.weight.array)
    return model


def _chains(module: Module):
    """Names of children that the module applies one directly after another, as the class says that also defines forward."""
    kind = next(kind for kind in type(module).__mro__ if "forward" in vars(kind))
    return (tuple(module._modules),) if kind is Sequential else vars(kind).get("chains", ())


def _fuse_chain(module: Module, names, parents) -> None:
    before = None  # the name of the layer that gives the next one its input
    for name in names:
        layer = module._modules[name]
        conv = module._modules[before] if before is not None else None
        if type(conv) is Conv2d and parents[conv] == 1 and not _watched(conv, layer):
            norm = type(layer) in (BatchNorm2d, BNReLU2d, FrozenBatchNorm2d) and layer.running_mean is not None
            if norm:
                _fold(conv, layer)
            if type(layer) is ReLU or norm and layer.relu:
                conv.__class__ = FusedConv2d
            if type(layer) is ReLU or norm:
                setattr(module, name, Identity().eval())
                continue
        before = name


def _watched(*layers) -> bool:
    """Whether there are hooks, which would see other values than before."""
    return any(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks for layer in layers)


def _fold(conv: Conv2d, norm: BatchNorm2d | FrozenBatchNorm2d) -> None:
    """Let the convolution do what the batch norm does after it; computed in float64."""
    def wide(tensor, missing):
        return np.full(norm.num_features, missing) if tensor is None else tensor.detach().numpy().astype(np.float64)

    dtype = conv.weight.dtype
    scale = wide(norm.weight, 1.0) / np.sqrt(wide(norm.running_var, 1.0) + norm.eps)
    shift = wide(norm.bias, 0.0) + scale * (wide(conv.bias, 0.0) - wide(norm.running_mean, 0.0))
    weight = conv.weight.detach().numpy() * scale[:, None, None, None]
    device, learns = conv.weight.device, conv.weight.requires_grad
    conv.weight = Parameter(from_numpy(weight.astype(dtype)).to(device), learns)
    conv.bias = Parameter(from_numpy(shift.astype(dtype)).to(device), learns)
