"""Shape, index, product, sort and creation ops against PyTorch: values, dtypes, gradients and the kind of error."""

import math

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")
BOTH = (minidl, torch)


def name(dtype) -> str:
    return str(dtype).replace("torch.", "")


def flat(result) -> list:
    """The tensors of a result, which may be one, a tuple or a named tuple."""
    return list(result) if isinstance(result, (tuple, list)) else [result]


def tolerance(dtype) -> dict:
    """A few roundings of sums of a few terms near 1."""
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}


def check(call, *arrays):
    """``call(library, *tensors)`` gives the same values, dtypes and gradients in both."""
    ours = [minidl.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    theirs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    random = np.random.default_rng(0)
    results = flat(call(minidl, *ours)), flat(call(torch, *theirs))
    assert len(results[0]) == len(results[1])
    for y, ty in zip(*results, strict=True):
        assert y.shape == tuple(ty.shape) and name(y.dtype) == name(ty.dtype)
        assert np.allclose(y.detach().array, ty.detach().numpy(), **tolerance(y.dtype), equal_nan=True)
    if not any(ty.requires_grad and ty.numel() for ty in results[1]):
        return
    seeds = [random.standard_normal(y.shape).astype(y.dtype.name) for y in results[0]]
    ours_loss = sum((y * minidl.Tensor(s)).sum() for y, s in zip(results[0], seeds, strict=True) if y.requires_grad)
    their_loss = sum((y * torch.tensor(s)).sum() for y, s in zip(results[1], seeds, strict=True) if y.requires_grad)
    ours_loss.backward()
    their_loss.backward()
    for x, tx in zip(ours, theirs, strict=True):
        if tx.grad is not None:
            assert np.allclose(x.grad.array, tx.grad.numpy(), **tolerance(x.dtype))


def numbers(*shape, seed=0, dtype="float64"):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


X = numbers(2, 3, 4)
SHAPE = [
    lambda lib, x: x.reshape(4, -1), lambda lib, x: lib.reshape(x, (6, 4)), lambda lib, x: x.view(-1),
    lambda lib, x: x.flatten(1), lambda lib, x: lib.flatten(x, end_dim=1), lambda lib, x: x.unflatten(2, (2, -1)),
    lambda lib, x: x.unsqueeze(-2).squeeze(2), lambda lib, x: lib.squeeze(x[:1], (0, 1)), lambda lib, x: x.permute(2, 0, 1),
    lambda lib, x: lib.permute(x, dims=(1, 0, 2)), lambda lib, x: lib.transpose(x, 0, -1), lambda lib, x: x.swapaxes(0, 1),
    lambda lib, x: x[0].t(), lambda lib, x: x.mT, lambda lib, x: lib.movedim(x, (0, 1), (2, 0)),
    lambda lib, x: x[:, :1].expand(-1, 5, 4), lambda lib, x: x.expand(5, -1, 3, 4),
    lambda lib, x: lib.broadcast_to(x, (5, 2, 3, 4)), lambda lib, x: lib.broadcast_tensors(x, x[0])[1],
    lambda lib, x: lib.cat([x, x[:1]], 0), lambda lib, x: lib.concat((x, x), dim=-1), lambda lib, x: lib.stack([x, x], -1),
    lambda lib, x: x.split(2, -1), lambda lib, x: lib.split(x, [1, 2], dim=1), lambda lib, x: x.chunk(3, 2),
    lambda lib, x: lib.chunk(x, 5, dim=1), lambda lib, x: x[:0].chunk(3), lambda lib, x: x.unbind(1),
    lambda lib, x: x[:0].split(2), lambda lib, x: lib.cat([lib.empty(0, dtype=x.dtype), x], 1), lambda lib, x: x.flip(0, -1),
    lambda lib, x: lib.flip(x, dims=[1]), lambda lib, x: lib.roll(x, (1, -5), (0, 2)), lambda lib, x: x.roll(3),
    lambda lib, x: x.repeat(2, 1, 1, 3), lambda lib, x: lib.tile(x, (2, 2)), lambda lib, x: x.tril(-1),
    lambda lib, x: lib.triu(x, diagonal=1), lambda lib, x: x.diagonal(1), lambda lib, x: lib.diagonal(x, -1, 2, 1),
    lambda lib, x: lib.diag(x[0, 0], -1), lambda lib, x: lib.diag(x[0], 1), lambda lib, x: x.narrow(1, -2, 2),
    lambda lib, x: lib.narrow(x, 2, 1, 0), lambda lib, x: x.permute(2, 1, 0).contiguous(), lambda lib, x: x.sum().flatten(),
    lambda lib, x: x.sum().unsqueeze(0).expand(3), lambda lib, x: x.sum().squeeze(),
]


@pytest.mark.parametrize("call", SHAPE)
def test_shape(call):
    check(call, X)
    check(call, np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize("left, right", [("float32", "float64"), ("uint8", "int8"), ("int64", "float16"), ("bool", "uint8")])
def test_cat_promotes(left, right):
    check(lambda lib, x, y: lib.cat([x, y]), np.ones(2, left), np.ones(3, right))
    check(lambda lib, x, y: lib.stack([x, y]), np.ones(2, left), np.ones(2, right))


A, B = np.array([1, 0, 1]), np.array([[2, -1, 0], [1, 1, -3]])
MASK, ROWS = np.arange(6).reshape(2, 3) % 2 == 0, np.array([False, True])
KEYS = [
    0, -1, slice(1, None), slice(-9, 1), None, ..., (0, 1, -1), (..., 0), (0, ..., slice(None, None, 2)), (None, 0, ..., None),
    (), True, False, [1, 0], A, B % 2, (slice(None), A), (..., B), (A, A), (A, B), (A, slice(None), A), (slice(None), A, B),
    (0, slice(None), A), (slice(None), 0, A), (A, 0), (A, None, A), (None, A), (0, None, A), (slice(None), None, A, A),
    (A, ..., A), (0, A, slice(1, 3)), MASK, ROWS, (ROWS, slice(None), A), (slice(None), MASK[1]), (MASK, A[:1]), (MASK, 1),
    (0, MASK[0]), (ROWS, 0), (ROWS, MASK[0]), (..., np.array([True, False, True, True])), np.zeros((0,), np.int64),
    np.zeros((2, 3, 4), bool), (np.array(1), slice(None), A), (slice(None), np.array(-1)), ([0, 1], [2, 0]),
    (A, np.array([[0], [1]])),
]


def key_for(lib, key):
    as_tensor = minidl.tensor if lib is minidl else torch.tensor
    if isinstance(key, tuple):
        return tuple(as_tensor(k) if isinstance(k, np.ndarray) else k for k in key)
    return as_tensor(key) if isinstance(key, np.ndarray) else key


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_index(key):
    check(lambda lib, x: x[key_for(lib, key)], X)
    ours, theirs = minidl.tensor(X), torch.tensor(X)
    for value in (7, 0.5):
        ours[key_for(minidl, key)], theirs[key_for(torch, key)] = value, value
        assert np.array_equal(ours.array, theirs.numpy())


@pytest.mark.parametrize("key", [
    0, (..., slice(None, None, 2)), ([1, 0], slice(None), [3, 2]), (0, slice(None), [3, 1]), MASK, (ROWS, 1)], ids=str)
def test_writing_tensors(key):
    ours, theirs = minidl.tensor(X), torch.tensor(X)
    values = numbers(*ours[key_for(minidl, key)].shape, seed=1)
    ours[key_for(minidl, key)], theirs[key_for(torch, key)] = minidl.tensor(values), torch.tensor(values)
    assert np.array_equal(ours.array, theirs.numpy())


@pytest.mark.parametrize("key", [2, (0, 3), (0, 0, 0, 0), [0, 2], [-3], (A, np.array([0, 1])), np.array([True] * 3),
                                 (slice(None), np.array([True, False])), np.array([0.5]), "a"], ids=str)
def test_bad_index(key):
    for lib in BOTH:
        with pytest.raises((IndexError, TypeError)):
            lib.ones(2, 3, 4)[key_for(lib, key)]


INDEX = np.array([[0, 2, 1, 2], [1, 1, 0, 0]])
PICK = [
    lambda lib, x, i: x[0].gather(0, i), lambda lib, x, i: lib.gather(x[:, 0], 1, i),
    lambda lib, x, i: lib.gather(x[1], -1, i[:, :2]), lambda lib, x, i: x[0].scatter_add(0, i, x[:, 1]),
    lambda lib, x, i: lib.scatter(x[0], 0, i, x[:, 1]), lambda lib, x, i: x[0].scatter(0, i, 2.5),
    lambda lib, x, i: lib.scatter(x[0], 0, i, value=2.5), lambda lib, x, i: x.index_select(1, i[0]),
    lambda lib, x, i: lib.index_select(x, -1, i[1]), lambda lib, x, i: lib.take_along_dim(x[0], i, 0),
    lambda lib, x, i: lib.take_along_dim(x, i), lambda lib, x, i: x.take_along_dim(i[:, None, :1], 1),
    lambda lib, x, i: x.masked_fill(x > 0, -1), lambda lib, x, i: lib.masked_fill(x, x[0] > 0, lib.tensor(3.0)),
    lambda lib, x, i: x.masked_select(x > 0), lambda lib, x, i: lib.masked_select(x, x[0, 0] > 0),
    lambda lib, x, i: lib.nonzero(i), lambda lib, x, i: i.nonzero(as_tuple=True), lambda lib, x, i: lib.argwhere(x > 0),
    lambda lib, x, i: x.sum().gather(0, i[0, :1]), lambda lib, x, i: (lib.nn.functional if lib is torch else lib).one_hot(i),
    lambda lib, x, i: (lib.nn.functional if lib is torch else lib).one_hot(i, 5),
    lambda lib, x, i: (lib.nn.functional if lib is torch else lib).embedding(i, x[0]),
    lambda lib, x, i: (lib.nn.functional if lib is torch else lib).embedding(i, x[0], padding_idx=-2),
]


@pytest.mark.parametrize("call", PICK)
def test_pick(call):
    check(call, X, INDEX)


PAIRS = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)),
         ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((2, 0), (0, 3)), ((0, 2, 3), (3, 4))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("left, right", PAIRS)
def test_matmul(left, right, dtype):
    check(lambda lib, x, y: x @ y, numbers(*left, dtype=dtype), numbers(*right, seed=1, dtype=dtype))


@pytest.mark.parametrize("call", [
    lambda lib, x: x[0].mm(x[1].T), lambda lib, x: lib.bmm(x, x.mT), lambda lib, x: lib.mv(x[0], x[1, 0]),
    lambda lib, x: lib.dot(x[0, 0], x[0, 1]), lambda lib, x: lib.outer(x[0, 0], x[0, :, 0]),
    lambda lib, x: lib.addmm(x[0, 0, :3], x[0], x[1].T, beta=0.5, alpha=2),
    lambda lib, x: (lib.nn.functional if lib is torch else lib).linear(x, x[0, :2], x[0, 0, :2]),
    lambda lib, x: (lib.nn.functional if lib is torch else lib).linear(x[0, 0], x[0, :2]),
])
def test_products(call):
    check(call, X)


@pytest.mark.parametrize("equation, shapes", [
    ("ij,jk", [(2, 3), (3, 4)]), ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]), ("ii", [(3, 3)]), ("ii->i", [(3, 3)]),
    ("ij->ji", [(2, 3)]), ("bA", [(2, 3)]), ("...ij,...jk", [(5, 2, 3), (3, 4)]), ("...ij->...ji", [(5, 2, 3)]),
    ("i,j", [(2,), (3,)]), ("ij,ij->", [(2, 3), (2, 3)]), ("bn,anm,bm->ba", [(2, 3), (5, 3, 4), (2, 4)]),
    ("ij,ij->ij", [(1, 3), (2, 3)]), ("i...,i...->...", [(2, 3), (2, 3)]), ("...,...", [(3, 1), (4,)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]), ("iij,jk->ik", [(2, 2, 3), (3, 4)]),
])
def test_einsum(equation, shapes):
    check(lambda lib, *xs: lib.einsum(equation, *xs), *[numbers(*shape, seed=i) for i, shape in enumerate(shapes)])


SPECIAL = np.array([[3.0, math.nan, -math.inf, 1.0, 2.0], [math.inf, 0.0, -1.0, math.nan, 7.0]])


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("array", [X, SPECIAL, np.random.default_rng(0).integers(0, 3, (4, 9)), SPECIAL > 0],
                         ids=["float", "nan", "ties", "bool"])
def test_sort(array, descending):
    for dim in range(-1, array.ndim):
        check(lambda lib, x, dim=dim: lib.sort(x, dim=dim, descending=descending, stable=True), array)
        check(lambda lib, x, dim=dim: lib.argsort(x, dim=dim, descending=descending, stable=True), array)
    check(lambda lib, x: lib.msort(x), array)
    if array.dtype == bool:  # PyTorch has no topk of bools
        return
    ours, theirs = minidl.tensor(array).topk(2, largest=descending), torch.tensor(array).topk(2, largest=descending)
    assert np.array_equal(ours.values.array, theirs.values.numpy(), equal_nan=array.dtype.kind == "f")
    assert name(ours.indices.dtype) == name(theirs.indices.dtype)


@pytest.mark.parametrize("call", [
    lambda lib, x: lib.topk(x, 2), lambda lib, x: x.topk(2, 0, largest=False), lambda lib, x: lib.kthvalue(x, 2, dim=1),
    lambda lib, x: x.kthvalue(3, keepdim=True), lambda lib, x: x.sum().sort(), lambda lib, x: x.sum().topk(1),
    lambda lib, x: x[:, :0].sort(1), lambda lib, x: x[0, 0].argsort(),
])
def test_select(call):
    check(call, X)


@pytest.mark.parametrize("call", [
    lambda lib: lib.zeros(2, 3), lambda lib: lib.ones((2,)), lambda lib: lib.full((2,), 3), lambda lib: lib.full((2,), 0.5),
    lambda lib: lib.full((), True), lambda lib: lib.full((2,), 3, dtype=lib.float64), lambda lib: lib.arange(5),
    lambda lib: lib.arange(2.5), lambda lib: lib.arange(1, 2, 0.1), lambda lib: lib.arange(5, 0, -2),
    lambda lib: lib.arange(3, dtype=lib.float32), lambda lib: lib.arange(3, 3), lambda lib: lib.linspace(0, 1, 7),
    lambda lib: lib.linspace(2, -3, 4, dtype=lib.float64), lambda lib: lib.eye(3), lambda lib: lib.eye(2, 3, dtype=lib.int64),
    lambda lib: lib.zeros_like(lib.ones(2, dtype=lib.int32)), lambda lib: lib.ones_like(lib.zeros(2), dtype=lib.float64),
    lambda lib: lib.full_like(lib.zeros(2), 5), lambda lib: lib.ones(2, dtype=lib.float64).new_zeros(3),
    lambda lib: lib.ones(2, dtype=lib.int64).new_full((2,), 3),
    lambda lib: lib.meshgrid(lib.arange(2), lib.arange(3), indexing="ij"),
    lambda lib: lib.meshgrid(lib.arange(2), lib.arange(3), indexing="xy"), lambda lib: lib.zeros(0, 2),
    lambda lib: lib.tensor([[1, 2]]), lambda lib: lib.tensor([1, 0.5]), lambda lib: lib.tensor(True),
])
def test_create(call):
    check(call)


ERRORS = [
    lambda lib: lib.ones(2, 3).reshape(5), lambda lib: lib.ones(2, 3).expand(4, 3), lambda lib: lib.ones(2, 3).permute(0, 0),
    lambda lib: lib.ones(2, 3).permute(0), lambda lib: lib.ones(2, 3, 4).t(), lambda lib: lib.ones(2, 3).split([1, 2]),
    lambda lib: lib.cat([lib.ones(2), lib.ones(2, 3)]), lambda lib: lib.cat([]),
    lambda lib: lib.stack([lib.ones(2), lib.ones(3)]), lambda lib: lib.ones(2, 3).chunk(0),
    lambda lib: lib.ones(2, 3).repeat(2), lambda lib: lib.ones(2).tril(), lambda lib: lib.ones(2, 3).flip(0, 0),
    lambda lib: lib.ones(2, 3).unflatten(1, (2, 2)), lambda lib: lib.ones(2, 3) @ lib.ones(2, 3),
    lambda lib: lib.ones(2, 3).mm(lib.ones(3)), lambda lib: lib.ones(2, 3) @ lib.ones(3, dtype=lib.float64),
    lambda lib: lib.einsum("ij,jk", lib.ones(2, 3), lib.ones(2, 3)), lambda lib: lib.ones(2, 3).gather(1, lib.tensor([[3]])),
    lambda lib: lib.ones(2, 3).gather(1, lib.tensor([[-1]])), lambda lib: lib.ones(2, 3).gather(1, lib.tensor([0])),
    lambda lib: lib.ones(2, 3).index_select(0, lib.tensor([2])), lambda lib: lib.ones(2, 3).topk(4),
    lambda lib: lib.ones(2, 3).kthvalue(0), lambda lib: lib.arange(3, 0), lambda lib: lib.arange(0, 3, 0),
    lambda lib: lib.ones(2, 3).sort(2), lambda lib: lib.ones(2, 3).squeeze(2), lambda lib: lib.ones(2, 3).transpose(0, 2),
    lambda lib: lib.ones(2, 3).masked_select(lib.ones(3)), lambda lib: lib.zeros(-1),
    lambda lib: lib.meshgrid(lib.ones(2, 3), indexing="ij"),
]


@pytest.mark.parametrize("call", ERRORS)
def test_what_fails_there_fails_here(call):
    with pytest.raises((RuntimeError, IndexError, ValueError, TypeError)):
        call(torch)
    with pytest.raises((minidl.errors.MinidlError, IndexError, ValueError)):
        call(minidl)


FUNCTIONS = """cat chunk split stack unbind flatten squeeze unsqueeze transpose movedim roll tril triu diagonal diag gather
scatter_add index_select take_along_dim masked_fill masked_select narrow matmul mm bmm mv dot addmm outer sort argsort topk
kthvalue msort unflatten""".split()


def test_functions_are_methods_too():
    for function in FUNCTIONS:
        assert hasattr(minidl, function) and hasattr(torch, function)
        assert hasattr(minidl.Tensor, function) == hasattr(torch.Tensor, function), function
