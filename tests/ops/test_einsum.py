"""Einstein summation against loops over all indices, and finite differences."""

import itertools

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from tests.checks import check_gradients, leaf

SIZES = dict(zip("abcdijk", (2, 3, 4, 5, 3, 2, 4), strict=True))


def naive(inputs, output, *arrays):
    """Sum over all values of all indices; axes of size 1 broadcast."""
    sizes: dict[str, int] = {}
    for term, x in zip(inputs, arrays, strict=True):
        for c, n in zip(term, x.shape, strict=True):
            sizes[c] = max(n, sizes.get(c, 1))
    y = np.zeros([sizes[c] for c in output])
    for values in itertools.product(*map(range, sizes.values())):
        at = dict(zip(sizes, values, strict=True))
        product = 1.0
        for term, x in zip(inputs, arrays, strict=True):
            product *= x[tuple(at[c] if n > 1 else 0 for c, n in zip(term, x.shape, strict=True))]
        y[tuple(at[c] for c in output)] += product
    return y


EXPLICIT = ["a->a", "ab->ba", "ab->a", "ab->", "->", "aa->a", "aa->", "aab->b", "aabb->ba", "a,a->", "a,b->ab", "a,b->", "a,a->a",
            "ab,bc->ac", "ab,bc->ca", "ab,bc->", "abc,acd->abd", "abc,cd->abd", "ab,ab->ab", "ab,a->b", "ab,cd->dacb",
            "ai,ib->ab", "ab,bc,cd->ad", "a,ab,b->", "ab,b,b->a", "ca,cb->cab", "aab,bc->ac", ",ab->ab", "ij,kj,ik->ij",
            "ab,cb,db->acd", "a,a,a->a", "ab,bc,ca->"]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("equation", EXPLICIT)
def test_explicit(equation, strided):
    left, output = equation.split("->")
    inputs = left.split(",")
    xs = [leaf(*[SIZES[c] for c in term], seed=i, strided=strided) for i, term in enumerate(inputs)]
    expected = naive(inputs, output, *(np.asarray(x) for x in xs))
    y = minidl.einsum(equation, *xs)
    assert y.shape == expected.shape and np.allclose(y, expected, rtol=1e-12)
    check_gradients(lambda *xs: minidl.einsum(equation, *xs), *xs, second=sum(x.numel() for x in xs) < 50)


@pytest.mark.parametrize("equation, shapes, inputs, output", [
    ("ab,bc", [(2, 3), (3, 4)], ["ab", "bc"], "ac"),
    ("ba,ac", [(2, 3), (3, 4)], ["ba", "ac"], "bc"),
    ("ii", [(3, 3)], ["ii"], ""),
    ("bA", [(2, 3)], ["bA"], "Ab"),
    (" i j , j k -> k i ", [(2, 3), (3, 4)], ["ij", "jk"], "ki"),
    ("...ij,...jk", [(5, 2, 3), (5, 3, 4)], ["zij", "zjk"], "zik"),
    ("...ij,jk->...ik", [(6, 5, 2, 3), (3, 4)], ["yzij", "jk"], "yzik"),
    ("...ij,...jk->ik...", [(6, 1, 2, 3), (5, 3, 4)], ["yzij", "zjk"], "ikyz"),
    ("i...,i...->...", [(2, 3), (2, 3)], ["iz", "iz"], "z"),
    ("...,...", [(3, 1), (4,)], ["yz", "z"], "yz"),
    ("...a->...", [(2, 3, 4)], ["yza"], "yz"),
    ("...->...", [()], [""], ""),
    ("ij,ij->ij", [(1, 3), (2, 3)], ["ij", "ij"], "ij"),
    ("ij,jk->ik", [(2, 1), (3, 4)], ["ij", "jk"], "ik"),
])
def test_implicit_output_ellipsis_and_broadcasting(equation, shapes, inputs, output):
    xs = [leaf(*shape, seed=i) for i, shape in enumerate(shapes)]
    expected = naive(inputs, output, *(np.asarray(x) for x in xs))
    y = minidl.einsum(equation, *xs)
    assert y.shape == expected.shape and np.allclose(y, expected, rtol=1e-12)
    check_gradients(lambda *xs: minidl.einsum(equation, *xs), *xs, second=False)


def test_the_same_tensor_twice():
    x = leaf(2, 3)
    check_gradients(lambda x: minidl.einsum("ij,kj->ik", x, x), x)


def test_operands_as_a_list_and_dtypes():
    x = minidl.ones(2, 3)
    assert minidl.einsum("ij,kj->", [x, x]).item() == 12 and minidl.einsum("ij,ij->i", x, x).dtype == minidl.float32
    integers = minidl.arange(6, dtype="int32").reshape(2, 3)
    assert minidl.einsum("ij->i", integers).tolist() == [3, 12] and minidl.einsum("ij->i", integers).dtype == minidl.int32
    assert minidl.einsum("ij,jk->ik", minidl.ones(2, 0), minidl.ones(0, 3)).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize("equation, shapes, message", [
    ("ij", [(2,)], r"'ij' does not fit a tensor of shape \(2,\)"),
    ("i", [(2, 3)], "does not fit"),
    ("ij,jk", [(2, 3)], "names 2 operands, got 1"),
    ("ij,jk->ik", [(2, 3), (4, 5)], r"index 'j' has the sizes 3 and 4, in shapes \(2, 3\), \(4, 5\)"),
    ("ii", [(2, 3)], "index 'i' has the sizes 2 and 3"),
    ("ij->k", [(2, 3)], "must be different and occur"),
    ("ij->ii", [(2, 3)], "must be different"),
    ("i1", [(2, 3)], "letters"),
    ("i..", [(2, 3)], "letters"),
    ("...i...", [(2, 3)], "does not fit"),
])
def test_mistakes(equation, shapes, message):
    with pytest.raises(ShapeError, match=message):
        minidl.einsum(equation, *[minidl.ones(shape) for shape in shapes])


def test_mixed_dtypes():
    with pytest.raises(DtypeError, match="einsum needs tensors of one dtype"):
        minidl.einsum("i,i", minidl.ones(2), minidl.ones(2).double())
