"""Embedding: a table of learnt vectors."""

from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.create import empty
from minidl.ops.gather import embedding
from minidl.tape import no_grad


class Embedding(Module):
    """Rows of a table (num_embeddings, embedding_dim) chosen by integers (*) -> (*, embedding_dim).

    Rows start normal N(0, 1); row ``padding_idx`` is 0 and receives no gradient. Raises IndexError for numbers out of range.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Embedding(10, 3)(minidl.tensor([[1, 2], [4, 9]])).shape
    (2, 2, 3)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx=None, device=None, dtype=None):
        super().__init__()
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise IndexError(f"padding_idx={padding_idx} is out of range for {num_embeddings} embeddings")
            padding_idx %= num_embeddings
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = Parameter(empty(num_embeddings, embedding_dim, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    def forward(self, input):
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self):
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
