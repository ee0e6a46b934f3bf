"""Linear layers, and the layers that only change shapes."""

import math

from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.create import empty
from minidl.ops.matmul import linear


class Linear(Module):
    """y = x w' + b.   x (*, in_features) -> y (*, out_features).

    Weight (out_features, in_features) and bias (out_features,) start uniform in +-1/sqrt(in_features), as in PyTorch.
    Raises ShapeError for an input whose last axis is not ``in_features``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Linear(3, 4)(minidl.ones(2, 3)).shape
    (2, 4)
    """

    def __init__(self, in_features: int, out_features: int, bias=True, device=None, dtype=None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype, device=device))
        self.register_parameter("bias", Parameter(empty(out_features, dtype=dtype, device=device)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input):
        return linear(input, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Axes from ``start_dim`` to ``end_dim`` as one: (N, C, H, W) -> (N, C H W).

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Flatten()(minidl.ones(2, 3, 4, 5)).shape
    (2, 60)
    """

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input):
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One axis as several, the inverse of Flatten: (N, C H W) -> (N, C, H, W) for ``dim`` 1 and sizes (C, H, W).

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Unflatten(1, (3, 4, 5))(minidl.ones(2, 60)).shape
    (2, 3, 4, 5)
    """

    def __init__(self, dim: int, unflattened_size):
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input):
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self):
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Identity(Module):
    """y = x. Takes and ignores any arguments, so it can stand in for any layer.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Identity(54, unused=True)(minidl.tensor([1.0]))
    tensor([1.])
    """

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input):
        return input
