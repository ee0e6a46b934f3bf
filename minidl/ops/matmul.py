"""Products of matrices: matmul and its family, and the linear layer. Bilinear ops: the gradient of each is another of them."""

import math

from minidl.errors import DtypeError, ShapeError
from minidl.kernels import kernel
from minidl.op import Op
from minidl.ops.precision import low_precision, widest
from minidl.ops.reduce import sum as sum_
from minidl.ops.shape import Permute, reshape, squeeze, unsqueeze
from minidl.tensor import Tensor, astensor, method


def check_same_dtype(name: str, *tensors: Tensor) -> None:
    """Raise DtypeError unless all tensors have one dtype."""
    dtype = tensors[0].array.dtype
    for x in tensors:
        if x.array.dtype is not dtype and x.dtype != dtype:
            dtypes = " and ".join(str(x.dtype) for x in tensors)
            raise DtypeError(f"{name} needs tensors of one dtype, got {dtypes}: convert with .to(dtype)")


def product(x, y):
    """x @ y for arrays of matrices."""
    return kernel("matmul", x)(x, y)


def _transposed(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    n = x.array.ndim
    return Permute((*range(n - 2), n - 1, n - 2))(x)


class MatMul(Op):
    """z = x y for matrices in the last two axes, batches broadcast;  dL/dx = gz y', dL/dy = x' gz."""

    broadcasts = True

    def forward(self, x, y):
        self.save(x, y)
        return product(x, y)

    def backward(self, gz):
        x, y = self.saved
        return (MatMul()(gz, _transposed(y)) if self.needs[0] else None,
                MatMul()(_transposed(x), gz) if self.needs[1] else None)


@method("matmul", "__matmul__")
@low_precision
def matmul(input, other) -> Tensor:
    """Matrix product over the last two axes; leading axes broadcast; a vector counts as a row on the left, a column on the right.

    Shapes: (..., N, K) and (..., K, M) -> (..., N, M). Raises ShapeError where sizes don't fit, DtypeError for different dtypes.

    >>> import minidl
    >>> minidl.matmul(minidl.ones(2, 3), minidl.ones(3, 4)).shape
    (2, 4)
    """
    return _product(astensor(input), astensor(other))


def _product(x: Tensor, y: Tensor) -> Tensor:
    if not x.ndim or not y.ndim or x.shape[-1] != y.shape[max(y.ndim - 2, 0)]:
        raise ShapeError(f"matmul: shapes {x.shape} and {y.shape} do not fit: the last axis of the first must equal the "
                         "last but one of the second")
    check_same_dtype("matmul", x, y)
    if x.ndim > 2 and y.ndim <= 2:  # one large product instead of many, and no broadcast weight gradient
        z = _product(reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])), y)
        return reshape(z, (*x.shape[:-1], *y.shape[1:]))
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


def _check_ranks(name: str, x: Tensor, y: Tensor, *ranks: int) -> None:
    if (x.ndim, y.ndim) != ranks:
        raise ShapeError(f"{name} needs tensors with {ranks[0]} and {ranks[1]} axes, got shapes {x.shape} and {y.shape}")


@method()
def mm(input, mat2) -> Tensor:
    """Product of two matrices, (N, K) and (K, M) -> (N, M). Raises ShapeError and DtypeError as ``matmul``.

    >>> import minidl
    >>> minidl.mm(minidl.ones(2, 3), minidl.ones(3, 1))
    tensor([[3.],
            [3.]])
    """
    _check_ranks("mm", input, mat2, 2, 2)
    return matmul(input, mat2)


@method()
def bmm(input, mat2) -> Tensor:
    """Products of matrices in batches, (B, N, K) and (B, K, M) -> (B, N, M). Raises ShapeError and DtypeError as ``matmul``.

    >>> import minidl
    >>> minidl.bmm(minidl.ones(5, 2, 3), minidl.ones(5, 3, 4)).shape
    (5, 2, 4)
    """
    _check_ranks("bmm", input, mat2, 3, 3)
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm needs batches of one size, got shapes {input.shape} and {mat2.shape}")
    return matmul(input, mat2)


@method()
def mv(input, vec) -> Tensor:
    """Product of a matrix and a vector, (N, K) and (K,) -> (N,). Raises ShapeError and DtypeError as ``matmul``.

    >>> import minidl
    >>> minidl.mv(minidl.eye(2), minidl.tensor([3.0, 4.0]))
    tensor([3., 4.])
    """
    _check_ranks("mv", input, vec, 2, 1)
    return matmul(input, vec)


@method()
@widest
def dot(input, tensor) -> Tensor:
    """Inner product of two vectors, (K,) and (K,) -> (). Raises ShapeError and DtypeError as ``matmul``.

    >>> import minidl
    >>> minidl.dot(minidl.tensor([1, 2]), minidl.tensor([3, 4]))
    tensor(11)
    """
    _check_ranks("dot", input, tensor, 1, 1)
    return _product(input, tensor)


@method()
@low_precision
def addmm(input, mat1, mat2, *, beta=1, alpha=1) -> Tensor:
    """beta input + alpha (mat1 @ mat2), where ``input`` broadcasts to (N, M); with ``beta=0`` it is not looked at.

    Raises ShapeError and DtypeError as ``matmul``.

    >>> import minidl
    >>> minidl.addmm(minidl.ones(2), minidl.eye(2), minidl.eye(2), beta=3)
    tensor([[4., 3.],
            [3., 4.]])
    """
    z = mm(mat1, mat2)
    z = z if alpha == 1 else z * alpha
    if beta == 0:
        return z
    y = z + (input if beta == 1 else input * beta)
    if y.shape != z.shape:
        raise ShapeError(f"addmm: input of shape {input.shape} does not broadcast to the product's shape {z.shape}")
    return y


@method()
def outer(input, vec2) -> Tensor:
    """All products of the elements of two vectors, (N,) and (M,) -> (N, M). Raises ShapeError for other ranks.

    >>> import minidl
    >>> minidl.outer(minidl.tensor([1, 2]), minidl.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    _check_ranks("outer", input, vec2, 1, 1)
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
        gw = MatMul()(_transposed(gy), x) if self.needs[1] else None
        if len(self.needs) == 2:
            return gx, gw
        return gx, gw, sum_(gy, 0) if self.needs[2] else None


@low_precision
def linear(input, weight, bias=None) -> Tensor:
    """input @ weight.T + bias.

    Shapes: input (*, I), weight (O, I), bias (O,) -> (*, O). Raises ShapeError where they don't fit, DtypeError for different
    dtypes.

    >>> import minidl
    >>> minidl.linear(minidl.ones(2, 3), minidl.ones(4, 3), minidl.zeros(4)).shape
    (2, 4)
    """
    x, parameters = astensor(input), (weight,) if bias is None else (weight, bias)
    if not x.ndim or weight.ndim != 2 or x.shape[-1] != weight.shape[1] or (bias is not None and bias.shape != weight.shape[:1]):
        raise ShapeError(f"linear needs input (*, I), weight (O, I) and bias (O,), got shapes {x.shape}, {weight.shape}"
                         + (f" and {bias.shape}" if bias is not None else ""))
    check_same_dtype("linear", x, *parameters)
    if x.ndim == 2:
        return Linear()(x, *parameters)
    y = Linear()(reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])), *parameters)
    return reshape(y, (*x.shape[:-1], weight.shape[0]))
