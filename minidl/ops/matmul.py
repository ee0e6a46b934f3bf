"""Products: matmul and its family, the linear layer, outer, einsum. Bilinear ops: the gradient of each is another of them."""

import string
from collections.abc import Sequence

import numpy as np

from minidl.errors import DtypeError, ShapeError
from minidl.kernels import namespace
from minidl.op import Op
from minidl.ops.reduce import sum as sum_
from minidl.ops.shape import Permute, diagonal, reshape, squeeze, transpose, unsqueeze
from minidl.tensor import Tensor, astensor, method


def check_same_dtype(name: str, *tensors: Tensor) -> None:
    """Raise DtypeError unless all tensors have one dtype."""
    dtypes = {x.array.dtype for x in tensors}
    if len(dtypes) > 1:
        raise DtypeError(f"{name} needs one dtype, got {' and '.join(str(x.dtype) for x in tensors)}: convert with .to(dtype)")


def product(x, y):
    """x @ y for arrays of matrices; float16 is multiplied in float32, since NumPy has no fast product for it."""
    if x.dtype.itemsize == 2 and x.dtype.kind == "f":
        return (x.astype(np.float32) @ y.astype(np.float32)).astype(x.dtype)
    return x @ y


class MatMul(Op):
    """z = x y for matrices in the last two axes, batches broadcast;  dL/dx = gz y', dL/dy = x' gz."""

    broadcasts = True

    def forward(self, x, y):
        self.save(x, y)
        return product(x, y)

    def backward(self, gz):
        x, y = self.saved
        return (MatMul()(gz, transpose(y, -2, -1)) if self.needs[0] else None,
                MatMul()(transpose(x, -2, -1), gz) if self.needs[1] else None)


@method("matmul", "__matmul__")
def matmul(input, other) -> Tensor:
    """Matrix product over the last two axes; leading axes broadcast; a vector counts as a row on the left, a column on the right.

    Raises ShapeError where sizes don't fit, DtypeError for different dtypes.

    >>> import minidl
    >>> minidl.matmul(minidl.ones(2, 3), minidl.ones(3, 4)).shape
    (2, 4)
    """
    x, y = astensor(input), astensor(other)
    if not x.ndim or not y.ndim or x.shape[-1] != y.shape[max(y.ndim - 2, 0)]:
        raise ShapeError(f"matmul: shapes {x.shape} and {y.shape} do not fit: the last axis of the first must equal the "
                         "last but one of the second")
    check_same_dtype("matmul", x, y)
    row, column = x.ndim == 1, y.ndim == 1
    try:
        z = MatMul()(unsqueeze(x, 0) if row else x, unsqueeze(y, 1) if column else y)
    except ValueError:
        raise ShapeError(f"matmul: the leading axes of {x.shape} and {y.shape} do not broadcast") from None
    z = squeeze(z, -1) if column else z
    return squeeze(z, -1 if column else -2) if row else z


@method("__rmatmul__")
def rmatmul(input, other) -> Tensor:
    """other @ input."""
    return matmul(other, input)


def _ranked(name: str, *ranks: int):
    """Matmul for operands of fixed ranks."""

    def multiply(input, other) -> Tensor:
        if (input.ndim, other.ndim) != ranks:
            raise ShapeError(f"{name} needs tensors with {ranks[0]} and {ranks[1]} axes, got {input.shape} and {other.shape}")
        if name == "bmm" and input.shape[0] != other.shape[0]:
            raise ShapeError(f"bmm needs equal batch sizes, got {input.shape} and {other.shape}")
        return matmul(input, other)

    multiply.__name__ = name
    multiply.__doc__ = f"Matrix product of tensors with exactly {ranks[0]} and {ranks[1]} axes."
    return method(name)(multiply)


mm, bmm, mv, dot = _ranked("mm", 2, 2), _ranked("bmm", 3, 3), _ranked("mv", 2, 1), _ranked("dot", 1, 1)


@method()
def addmm(input, mat1, mat2, *, beta=1, alpha=1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    z = mm(mat1, mat2)
    return input * beta + (z if alpha == 1 else z * alpha)


@method()
def outer(input, vec2) -> Tensor:
    """All products of the elements of two vectors.

    >>> import minidl
    >>> minidl.outer(minidl.tensor([1, 2]), minidl.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    if input.ndim != 1 or vec2.ndim != 1:
        raise ShapeError(f"outer needs two vectors, got {input.shape} and {vec2.shape}")
    return unsqueeze(input, 1) * vec2


class Linear(Op):
    """y = x w' + b.   x (N, I), w (O, I), b (O,) -> y (N, O).   dL/dx = gy w, dL/dw = gy' x, dL/db = sum of gy over N."""

    def forward(self, x, w, b=None):
        self.save(x, w)
        y = product(x, w.T)
        if b is not None:
            y += b
        return y

    def backward(self, gy):
        x, w = self.saved
        gx = MatMul()(gy, w) if self.needs[0] else None
        gw = MatMul()(Permute((1, 0))(gy), x) if self.needs[1] else None
        if len(self.edges) == 2:
            return gx, gw
        return gx, gw, sum_(gy, 0) if self.needs[2] else None


def linear(input, weight, bias=None) -> Tensor:
    """input @ weight.T + bias.

    Shapes: input (*, I), weight (O, I), bias (O,) -> (*, O). Raises ShapeError and DtypeError.

    >>> import minidl
    >>> minidl.linear(minidl.ones(2, 3), minidl.ones(4, 3), minidl.zeros(4)).shape
    (2, 4)
    """
    x, parameters = astensor(input), (weight,) if bias is None else (weight, bias)
    if not x.ndim or weight.ndim != 2 or x.shape[-1] != weight.shape[1] or (bias is not None and bias.shape != weight.shape[:1]):
        raise ShapeError(f"linear needs input (*, I), weight (O, I) and bias (O,), got {x.shape}, {weight.shape}"
                         + (f" and {bias.shape}" if bias is not None else ""))
    check_same_dtype("linear", x, *parameters)
    if x.ndim == 2:
        return Linear()(x, *parameters)
    y = Linear()(reshape(x, -1, x.shape[-1]) if x.numel() else reshape(x, 0, x.shape[-1]), *parameters)
    return reshape(y, (*x.shape[:-1], weight.shape[0]))


class Einsum(Op):
    """Sums of products with indices, none repeated within an operand and none that stands in a single operand only.

    The gradient of an operand is the einsum of the output's gradient with all other operands.
    """

    def __init__(self, inputs: Sequence[str], output: str):
        self.subscripts, self.output = inputs, output

    def forward(self, *xs):
        self.save(*xs)
        equation = f"{','.join(self.subscripts)}->{self.output}"
        if len(xs) == 1:
            return namespace(xs[0]).einsum(equation, *xs)
        return namespace(xs[0]).einsum(equation, *xs, optimize=True)

    def backward(self, gy):
        xs, gradients = self.saved, []
        for k, subscript in enumerate(self.subscripts):
            others = [i for i in range(len(xs)) if i != k]
            op = Einsum([self.output, *(self.subscripts[i] for i in others)], subscript)
            gradients.append(op(gy, *(xs[i] for i in others)) if self.needs[k] else None)
        return tuple(gradients)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sums of products of elements, by Einstein's convention: indices that are not in the output are summed over.

    Without ``->`` the output has the indices that occur once, in alphabetical order; ``...`` stands for leading axes.

    >>> import minidl
    >>> minidl.einsum("ij,jk->ik", minidl.ones(2, 3), minidl.ones(3, 4)).shape
    (2, 4)
    >>> minidl.einsum("ii", minidl.eye(3))
    tensor(3.)
    """
    operands = tuple(operands[0]) if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands
    inputs, output = _parse(equation, operands)
    sizes: dict[str, int] = {}
    prepared, subscripts = [], []
    for subscript, x in zip(inputs, operands, strict=True):
        for index, size in zip(subscript, x.shape, strict=True):
            if sizes.setdefault(index, size) != size:
                raise ShapeError(f"einsum {equation!r}: index {index!r} has sizes {sizes[index]} and {size}")
        for index in dict.fromkeys(subscript):
            while subscript.count(index) > 1:  # a diagonal
                first, second = [at for at, c in enumerate(subscript) if c == index][:2]
                x = diagonal(x, dim1=first, dim2=second)
                subscript = "".join(c for at, c in enumerate(subscript) if at not in (first, second)) + index
        prepared.append(x)
        subscripts.append(subscript)
    for k, (subscript, x) in enumerate(zip(subscripts, prepared, strict=True)):
        alone = [at for at, index in enumerate(subscript)
                 if index not in output and not any(index in other for i, other in enumerate(subscripts) if i != k)]
        if alone:
            prepared[k] = sum_(x, alone)
            subscripts[k] = "".join(index for at, index in enumerate(subscript) if at not in alone)
    if set(output) - set(sizes) or len(set(output)) != len(output):
        raise ShapeError(f"einsum {equation!r}: the output's indices must be different and occur in an operand")
    check_same_dtype("einsum", *prepared)
    return Einsum(subscripts, output)(*prepared)


def _parse(equation: str, operands) -> tuple[list[str], str]:
    """The subscripts of the operands and of the output, with ``...`` spelled out."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise ShapeError(f"einsum {equation!r} names {len(inputs)} operands, got {len(operands)}")
    if set(left + output) - set(string.ascii_letters + ",."):
        raise ValueError(f"einsum {equation!r}: indices are letters")
    free = [c for c in string.ascii_letters if c not in left]
    extra = 0
    for subscript, x in zip(inputs, operands, strict=True):
        named = len(subscript.replace("...", ""))
        if named > x.ndim or ("..." not in subscript and named != x.ndim):
            raise ShapeError(f"einsum {equation!r}: {subscript!r} does not fit a tensor of shape {x.shape}")
        extra = max(extra, x.ndim - named) if "..." in subscript else extra
    batch = "".join(free[:extra])
    spelled = [s.replace("...", batch[extra - (x.ndim - len(s.replace("...", ""))):] if "..." in s else "")
               for s, x in zip(inputs, operands, strict=True)]
    if not arrow:
        once = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        return spelled, batch + "".join(once)
    return spelled, output.replace("...", batch)
