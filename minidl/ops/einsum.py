"""Einstein summation, from basic ops: diagonals, sums, and products of two operands at a time by broadcasting or matmul."""

import math
import string
from collections.abc import Sequence

import numpy as np

from minidl.errors import ShapeError
from minidl.ops.arrange import diagonal
from minidl.ops.matmul import check_same_dtype, matmul
from minidl.ops.precision import low_precision
from minidl.ops.reduce import sum as sum_
from minidl.ops.shape import Permute, reshape
from minidl.tensor import Tensor, astensor


@low_precision
def einsum(equation: str, *operands) -> Tensor:
    """Sums of products of elements, by Einstein's convention: indices that are not in the output are summed over.

    Each operand has one letter for each axis; an index that is repeated within one stands for its diagonal; ``...`` stands for
    leading axes, which broadcast, as do sizes of 1. Without ``->`` the output has ``...`` and the letters that occur once, in
    alphabetical order. Raises ShapeError for an equation that makes no sense or doesn't fit, DtypeError for different dtypes.

    >>> import minidl
    >>> minidl.einsum("bij,bjk->bik", minidl.ones(5, 2, 3), minidl.ones(5, 3, 4)).shape
    (5, 2, 4)
    >>> minidl.einsum("ii", minidl.eye(3))
    tensor(3.)
    """
    if not isinstance(equation, str):
        raise TypeError(f'einsum needs an equation such as "ij,jk->ik" first, got {type(equation).__name__}')
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = operands[0]
    tensors = [astensor(x) for x in operands]
    inputs, output = _parse(equation, tensors)
    check_same_dtype("einsum", *tensors)
    sizes = _sizes(equation, inputs, tensors)
    if len(set(output)) != len(output) or not set(output) <= set(sizes):
        raise ShapeError(f"einsum {equation!r}: the output's indices must be different and occur in an operand")
    terms = [_simple(term, x, sizes) for term, x in zip(inputs, tensors, strict=True)]
    for group in _order(terms, output):
        taken = [terms.pop(at) for at in sorted(group, reverse=True)]
        terms.append(taken.pop())
        while taken:
            terms.append(_multiply(terms.pop(), taken.pop(), set(output).union(*(term for term, _ in terms + taken))))
    ((term, x),) = terms
    term, x = _summed(term, x, output)
    return Permute([term.index(c) for c in output])(x)


def _parse(equation: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    """The letters of the operands and of the output, with ``...`` spelled out."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(tensors):
        raise ShapeError(f"einsum {equation!r} names {len(inputs)} operands, got {len(tensors)}")
    if set((left + output).replace("...", "")) - set(string.ascii_letters + ","):
        raise ShapeError(f"einsum {equation!r}: indices are letters, and '...' may stand for leading axes")
    free = [c for c in string.ascii_letters if c not in left + output]
    spelled, most = [], 0
    for term, x in zip(inputs, tensors, strict=True):
        extra = x.ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term) or term.count("...") > 1:
            raise ShapeError(f"einsum {equation!r}: {term!r} does not fit a tensor of shape {x.shape}")
        spelled.append(term.replace("...", "".join(free[:extra][::-1])))  # the last axis of all is free[0]
        most = max(most, extra)
    batch = "".join(free[:most][::-1])
    if arrow:
        return spelled, output.replace("...", batch)
    return spelled, batch + "".join(sorted(c for c in set(left) & set(string.ascii_letters) if left.count(c) == 1))


def _sizes(equation: str, inputs: Sequence[str], tensors: Sequence[Tensor]) -> dict[str, int]:
    """The size of each index; an axis of size 1 takes any."""
    sizes: dict[str, int] = {}
    for term, x in zip(inputs, tensors, strict=True):
        for c, size in zip(term, x.shape, strict=True):
            if sizes.setdefault(c, size) == 1:
                sizes[c] = size
            elif size not in (1, sizes[c]) or (term.count(c) > 1 and size != sizes[c]):
                raise ShapeError(f"einsum {equation!r}: index {c!r} has the sizes {sizes[c]} and {size}, in shapes "
                                 + ", ".join(str(x.shape) for x in tensors))
    return sizes


def _simple(term: str, x: Tensor, sizes: dict[str, int]) -> tuple[str, Tensor]:
    """Repeated letters as diagonals, and no letter for an axis of size 1 that broadcasts."""
    for c in set(term):
        while term.count(c) > 1:
            first = term.index(c)
            second = term.index(c, first + 1)
            x = diagonal(x, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + c
    kept = [axis for axis, c in enumerate(term) if x.shape[axis] == sizes[c]]
    return "".join(term[axis] for axis in kept), reshape(x, tuple([x.shape[axis] for axis in kept]))


def _order(terms, output: str) -> list[tuple[int, ...]]:
    """Which operands to multiply in turn: their places in the list, from which they are removed, the result going to its end."""
    if len(terms) <= 2:
        return [tuple(range(len(terms)))]
    equation = ",".join(term for term, _ in terms) + "->" + output
    return np.einsum_path(equation, *[np.broadcast_to(0, x.shape) for _, x in terms], optimize="greedy")[0][1:]


def _summed(term: str, x: Tensor, keep) -> tuple[str, Tensor]:
    """Summed over all letters but those to keep."""
    alone = [axis for axis, c in enumerate(term) if c not in keep]
    return "".join(c for c in term if c in keep), sum_(x, alone, dtype=x.dtype) if alone else x


def _multiply(left: tuple[str, Tensor], right: tuple[str, Tensor], keep: set[str]) -> tuple[str, Tensor]:
    """The product of two operands, summed over the letters that nobody else needs."""
    (a, x), (b, y) = _summed(*left, keep | set(right[0])), _summed(*right, keep | set(left[0]))
    batch = [c for c in a if c in b and c in keep]
    inner = [c for c in a if c in b and c not in keep]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    size = dict(zip(a, x.shape, strict=True)) | dict(zip(b, y.shape, strict=True))

    def arranged(x, term, letters, shape):
        return reshape(Permute([term.index(c) for c in letters])(x), shape)

    def total(letters):
        return math.prod(size[c] for c in letters)

    lead = tuple([size[c] for c in batch])
    if inner:
        z = matmul(arranged(x, a, batch + rows + inner, (*lead, total(rows), total(inner))),
                   arranged(y, b, batch + inner + columns, (*lead, total(inner), total(columns))))
    else:
        z = (arranged(x, a, batch + rows, (*lead, total(rows), 1))
             * arranged(y, b, batch + columns, (*lead, 1, total(columns))))
    result = batch + rows + columns
    return "".join(result), reshape(z, tuple([size[c] for c in result]))
