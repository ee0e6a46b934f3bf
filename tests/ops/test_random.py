"""Random tensors: shapes, dtypes, generators, and that they are what the generator draws."""

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, GraphError
from minidl.random import Generator

MAKERS = {
    "rand": lambda **k: minidl.rand(3, 4, **k),
    "randn": lambda **k: minidl.randn((3, 4), **k),
    "randint": lambda **k: minidl.randint(2, 9, (3, 4), **k),
    "randperm": lambda **k: minidl.randperm(12, **k),
    "normal": lambda **k: minidl.normal(1.0, 2.0, (3, 4), **k),
    "bernoulli": lambda **k: minidl.bernoulli(minidl.full((3, 4), 0.5), **k),
}


@pytest.mark.parametrize("name", MAKERS)
def test_generators(name):
    make = MAKERS[name]
    minidl.manual_seed(4)
    by_default = make()
    assert (by_default == make(generator=Generator(4))).all()
    state = minidl.get_rng_state()
    make(generator=Generator(4))
    assert minidl.get_rng_state() == state
    assert not (make() == by_default).all()
    assert not by_default.requires_grad


def test_values_are_those_of_the_generator():
    g, h = Generator(8), Generator(8)
    np.testing.assert_array_equal(minidl.rand(2, 3, generator=g).numpy(), h.uniform(size=(2, 3), dtype=np.float32))
    np.testing.assert_array_equal(minidl.randn(5, generator=g, dtype="float64").numpy(), h.normal(size=5))
    np.testing.assert_array_equal(minidl.randint(7, (4,), generator=g).numpy(), h.integers(7, size=4))
    np.testing.assert_array_equal(minidl.randint(7, size=(4,), generator=g).numpy(), h.integers(7, size=4))
    np.testing.assert_array_equal(minidl.randperm(6, generator=g).numpy(), h.permutation(6))
    np.testing.assert_array_equal(minidl.normal(1.0, 2.0, (3,), generator=g).numpy(), h.normal(1, 2, 3, dtype=np.float32))


def test_shapes_and_dtypes():
    assert minidl.rand(2, 3).shape == minidl.rand((2, 3)).shape == (2, 3) and minidl.rand(()).shape == ()
    assert minidl.rand(0, 2).shape == (0, 2)
    assert minidl.rand(2).dtype == minidl.randn(2).dtype == minidl.float32
    for dtype in (minidl.float16, minidl.float64):
        assert minidl.rand(2, dtype=dtype).dtype == minidl.randn(2, dtype=dtype).dtype == dtype
    assert minidl.randint(5, (2,)).dtype == minidl.randperm(3).dtype == minidl.int64
    assert minidl.randint(5, (2,), dtype=minidl.uint8).dtype == minidl.uint8
    assert minidl.randint(5, (2,), dtype=minidl.float32).dtype == minidl.float32
    assert minidl.rand(2, requires_grad=True).requires_grad
    x = minidl.zeros(2, 3, dtype=minidl.float64)
    assert minidl.rand_like(x).dtype == minidl.randn_like(x).dtype == minidl.float64
    assert minidl.rand_like(x, dtype=minidl.float32).dtype == minidl.float32
    like = minidl.randint_like(x.long(), 3, 5)
    assert like.shape == (2, 3) and like.dtype == minidl.int64 and set(like.reshape(-1).tolist()) <= {3, 4}


def test_normal_of_tensors():
    mean, std = minidl.tensor([0.0, 1000.0, -1000.0]), minidl.tensor([[1.0], [0.0]])
    found = minidl.normal(mean, std, generator=Generator(0))
    assert found.shape == (2, 3) and found[1].tolist() == mean.tolist()
    assert (found[0] - mean != 0).all() and ((found[0] - mean).abs() < 6).all()


def test_bernoulli_frequency():
    p = minidl.tensor([0.0, 0.25, 1.0]).reshape(3, 1) * minidl.ones(3, 40_000)
    found = minidl.bernoulli(p, generator=Generator(0)).mean(1)
    assert found[0] == 0 and found[2] == 1 and abs(found[1].item() - 0.25) < 4 * (0.1875 / 40_000) ** 0.5


def test_filling_in_place():
    x = minidl.zeros(1000, dtype=minidl.float64)
    assert x.uniform_(2, 3, generator=Generator(1)) is x
    np.testing.assert_array_equal(x, minidl.Tensor(Generator(1).uniform(2, 3, 1000, device=x.device)))
    x.normal_(5, 0.1, generator=Generator(1))
    np.testing.assert_array_equal(x, minidl.Tensor(Generator(1).normal(5, 0.1, 1000, device=x.device)))


@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64])
def test_pieces_are_one_long_draw(monkeypatch, dtype):
    monkeypatch.setattr("minidl.ops.random._PIECE", 8)
    for whole in (minidl.zeros(5, 7, dtype=dtype), minidl.zeros(10, 14, dtype=dtype)[::2, ::2]):
        for fill in ("uniform_", "normal_"):
            g, h = Generator(2), Generator(2)
            found = getattr(whole, fill)(generator=g)
            expected = getattr(h, fill[:-1])(size=(5, 7), dtype=dtype, device=whole.device)  # on the CPU normals differ by 2 ulp
            np.testing.assert_array_equal(whole, minidl.Tensor(expected))
            assert found is whole and g.get_state() == h.get_state()


def test_filling_is_a_write():
    x = minidl.ones(3, requires_grad=True)
    for fill in (x.uniform_, x.normal_):
        with pytest.raises(GraphError, match="no_grad"):
            fill()
    y = (x * x).sum()
    with minidl.no_grad():
        x.uniform_()
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("call, error", [
    (lambda: minidl.rand(2, dtype=minidl.int64), DtypeError),
    (lambda: minidl.zeros(2).long().normal_(), DtypeError),
    (lambda: minidl.bernoulli(minidl.tensor([0.5, 1.5])), ValueError),
    (lambda: minidl.bernoulli(minidl.tensor([0.5, float("nan")])), ValueError),
    (lambda: minidl.bernoulli(minidl.tensor([1, 0])), DtypeError),
    (lambda: minidl.normal(minidl.zeros(2), -1.0), ValueError),
    (lambda: minidl.normal(0.0, -1.0, (2,)), ValueError),
    (lambda: minidl.randint(5), TypeError),
    (lambda: minidl.randint(5, 5, (2,)), ValueError),
    (lambda: minidl.rand(-1), ValueError),
])
def test_mistakes(call, error):
    with pytest.raises(error):
        call()
