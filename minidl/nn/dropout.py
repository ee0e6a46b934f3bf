"""Dropout layers. They act in training mode only."""

from minidl.nn.module import Module
from minidl.ops.dropout import dropout, dropout2d


class Dropout(Module):
    """Each element is 0 with probability ``p``, else multiplied by 1 / (1 - p); after ``eval()`` the input as it is.

    ``inplace`` is there for PyTorch's sake: the result is always a new tensor. Raises ValueError unless 0 <= p <= 1.

    >>> import minidl
    >>> from minidl import nn
    >>> layer = nn.Dropout(0.5)
    >>> set(layer(minidl.ones(100)).tolist()) <= {0.0, 2.0}, layer.eval()(minidl.ones(2))
    (True, tensor([1., 1.]))
    """

    function = staticmethod(dropout)

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"the probability of dropout must be from 0 to 1, got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input):
        return self.function(input, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """As Dropout, for whole channels of images (N, C, H, W), whose neighbouring pixels say much the same.

    >>> import minidl
    >>> from minidl import nn
    >>> set(nn.Dropout2d(0.5)(minidl.ones(5, 4, 3, 2)).sum((2, 3)).reshape(-1).tolist()) <= {0.0, 12.0}
    True
    """

    function = staticmethod(dropout2d)
