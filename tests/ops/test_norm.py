"""Normalisation: kernels against the composite in basic ops, gradients of both orders, statistics, errors."""

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, GraphError, ShapeError
from minidl.ops.norm import BatchNorm, FixedBatchNorm, GroupNorm, LocalResponseNorm
from tests.checks import check_gradients, gradients_of, leaf

SHAPES = [(4, 3), (4, 3, 5), (2, 3, 4, 5), (5, 2, 1, 1), (1, 2, 3, 4)]
LRN = {"alpha": 1.5, "beta": 0.75, "k": 2.0}


def statistics(channels):
    """A running mean and variance."""
    return leaf(channels, seed=3).detach(), leaf(channels, low=0.5, seed=4).detach()


def channels_of(shape, strided=False):
    return leaf(*shape, strided=strided), leaf(shape[1], seed=1), leaf(shape[1], seed=2)


def cases(shape, strided=False):
    """(maker of an op, inputs) of every normalisation of this shape."""
    x, weight, bias = channels_of(shape, strided)
    for relu in (False, True):
        yield lambda relu=relu: BatchNorm(1e-5, relu), (x, weight, bias)
        yield lambda relu=relu: FixedBatchNorm(1e-5, relu), (x, *statistics(shape[1]), weight, bias)
    if x.numel() > shape[0] * shape[1]:
        yield lambda: GroupNorm(shape[1], 1e-5), (x, weight, bias)
    yield lambda: GroupNorm(1, 1e-5), (x, weight, bias)
    for size in (1, 2, 5):
        yield lambda size=size: LocalResponseNorm(size, 1.5, 0.75, 2.0), (x,)


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_agree_with_the_composite(shape, strided, backend):
    with minidl.use_backend(backend):
        for op, inputs in cases(shape, strided):
            wanted = [t for t in inputs if t.requires_grad]
            y, composite = op()(*inputs), op().composite(*inputs)
            np.testing.assert_allclose(y, composite, rtol=1e-12, atol=1e-13)
            gy = leaf(*shape, seed=5).detach()
            fast, slow = (minidl.autograd.grad(t, wanted, gy) for t in (y, composite))
            for found, expected in zip(fast, slow, strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 2), (3, 2, 2), (2, 4, 1, 2)])
def test_gradients(shape):
    for op, inputs in cases(shape):
        check_gradients(lambda *inputs, op=op: op()(*inputs), *inputs)


def test_gradients_of_layer_norm_and_normalize():
    x, weight, bias = leaf(2, 3, 4), leaf(3, 4, seed=1), leaf(3, 4, seed=2)
    check_gradients(lambda x, w, b: minidl.layer_norm(x, (3, 4), w, b), x, weight, bias)
    check_gradients(lambda x: minidl.layer_norm(x, 4), x)
    for p in (1, 2, 3):
        check_gradients(lambda x, p=p: minidl.normalize(x, p=p, dim=-1), x)


def test_inputs_that_depend_on_each_other():
    """F(x, g(x)): each input must get its own partial derivative, also along the composite."""
    x = leaf(4, 2)
    check_gradients(lambda x: minidl.batch_norm(x, None, None, x.sum(0), (x * x).mean(0), training=True), x)
    check_gradients(lambda x: minidl.batch_norm(x, *statistics(2), x.sum(0), x[0]), x)
    check_gradients(lambda x: minidl.group_norm(x, 1, x.sum(0), x[1]), x)
    check_gradients(lambda x: minidl.layer_norm(x, (2,), x[2], x.sum(0)), x)


def test_running_statistics():
    """By hand: the batch [1, 3] has mean 2, biased variance 1 and unbiased variance 2."""
    x, average, variance = minidl.tensor([[1.0], [3.0]]), minidl.zeros(1), minidl.ones(1)
    buffers = average.array, variance.array
    y = minidl.batch_norm(x, average, variance, training=True, momentum=0.25, eps=1e-12)
    assert y.tolist() == [[-1], [1]] and average.tolist() == [0.5] and variance.tolist() == [1.25]
    assert average.array is buffers[0] and variance.array is buffers[1] and average.dtype == minidl.float32
    minidl.batch_norm(x, average, variance)
    assert average.tolist() == [0.5] and variance.tolist() == [1.25]
    with minidl.no_grad():
        minidl.batch_norm(x, average, variance, training=True, momentum=1.0)
    assert average.tolist() == [2] and variance.tolist() == [2]


def test_second_order_moves_no_statistics():
    x, (average, variance) = leaf(4, 2), statistics(2)
    y = minidl.batch_norm(x, average, variance, training=True)
    before = average.tolist(), variance.tolist()
    (gx,) = minidl.autograd.grad((y**3).sum(), x, create_graph=True)
    (gx**2).sum().backward()
    assert (average.tolist(), variance.tolist()) == before


def test_statistics_that_backward_needs_are_guarded():
    x, (average, variance) = leaf(4, 2), statistics(2)
    y = minidl.batch_norm(x, average, variance)
    minidl.batch_norm(x, average, variance, training=True)
    with pytest.raises(GraphError, match="changed in place"):
        y.sum().backward()


def test_statistics_get_no_gradient():
    average, variance = leaf(3), leaf(3, low=0.5)
    minidl.batch_norm(leaf(4, 3), average, variance).sum().backward()
    assert average.grad is None and variance.grad is None


@pytest.mark.parametrize("backend", ["portable", None])
def test_constant_channels(backend):
    """Variance 0: the output is the bias, and nothing is divided by 0."""
    x = minidl.full((4, 2, 3), 7.0, dtype="float64", requires_grad=True)
    with minidl.use_backend(backend):
        for function in (lambda x: minidl.batch_norm(x, None, None, training=True), lambda x: minidl.group_norm(x, 2),
                         lambda x: minidl.layer_norm(x, 3)):
            assert not np.asarray(function(x)).any()
            assert np.isfinite(gradients_of(function, x)[0]).all()


def test_frozen_parameters():
    x, weight, bias = channels_of((4, 3))
    y = minidl.batch_norm(x.detach(), *statistics(3), weight.detach(), bias)
    y.sum().backward()
    assert bias.grad.tolist() == [4, 4, 4] and weight.grad is None


@pytest.mark.parametrize("dtype, tolerance", [("float16", 3e-3), ("float32", 2e-6)])
def test_dtypes_stay(dtype, tolerance):
    def results(dtype):
        x, weight, bias = (t.detach().to(dtype).requires_grad_() for t in channels_of((4, 6, 5)))
        running = minidl.zeros(6, dtype=dtype), minidl.ones(6, dtype=dtype)
        ys = (minidl.batch_norm(x, *running, weight, bias, training=True), minidl.batch_norm(x, *running, weight, bias),
              minidl.group_norm(x, 2, weight, bias), minidl.layer_norm(x, (5,), bias=bias[:5]),
              minidl.local_response_norm(x, 3, **LRN), minidl.normalize(x))
        gy = leaf(4, 6, 5, seed=7).detach().to(dtype)
        gradients = [minidl.autograd.grad(y, (x, weight, bias), gy, allow_unused=True) for y in ys]
        return [*ys, *running, *(g for found in gradients for g in found if g is not None)]

    for found, exact in zip(results(dtype), results("float64"), strict=True):
        assert found.dtype == minidl.zeros(0, dtype=dtype).dtype
        scale = abs(np.asarray(exact)).max()
        np.testing.assert_allclose(found, exact, rtol=tolerance, atol=tolerance * scale)


def test_half_precision_with_float32_parameters():
    x, weight, bias = minidl.randn(4, 3, dtype="float16"), minidl.ones(3, requires_grad=True), minidl.zeros(3, requires_grad=True)
    average, variance = minidl.zeros(3), minidl.ones(3)
    y = minidl.batch_norm(x, average, variance, weight, bias, training=True)
    (y * y).sum().backward()
    assert y.dtype == minidl.float16 and weight.grad.dtype == bias.grad.dtype == average.dtype == minidl.float32
    y = minidl.batch_norm(x, None, None, weight, bias, training=True)
    minidl.autograd.grad(y.sum(), weight, create_graph=True)


def test_empty_batches():
    """Outputs are empty, gradients of parameters 0; running statistics stay."""
    for shape in ((0, 3), (0, 3, 2, 2), (2, 3, 0)):
        x, weight, bias = minidl.zeros(*shape, requires_grad=True), minidl.ones(3, requires_grad=True), minidl.zeros(3)
        average, variance = minidl.zeros(3), minidl.ones(3)
        for y in (minidl.batch_norm(x, average, variance, weight, bias, training=True),
                  minidl.batch_norm(x, average, variance, weight, bias), minidl.group_norm(x, 3, weight, bias)):
            gx, gweight = minidl.autograd.grad(y.sum(), (x, weight))
            assert y.shape == gx.shape == shape and gweight.tolist() == [0, 0, 0]
        assert average.tolist() == [0, 0, 0] and variance.tolist() == [1, 1, 1]
    assert minidl.layer_norm(minidl.zeros(0, 4), 4).shape == (0, 4) and minidl.layer_norm(minidl.zeros(2, 0), 0).shape == (2, 0)
    assert minidl.local_response_norm(minidl.zeros(0, 3, 2), 5).shape == (0, 3, 2)
    assert minidl.normalize(minidl.zeros(0, 4)).shape == (0, 4)


def test_local_response_norm_of_the_paper():
    """b_c = a_c / (k + alpha sum a_j²)^beta, the sum from max(0, c - n/2) to min(N - 1, c + n/2), alpha not divided by n."""
    a = np.random.default_rng(0).standard_normal((2, 8, 3))
    expected = np.empty_like(a)
    for c in range(8):
        near = a[:, max(0, c - 2) : min(7, c + 2) + 1]
        expected[:, c] = a[:, c] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75
    y = minidl.local_response_norm(minidl.tensor(a), 5, alpha=5 * 1e-4, beta=0.75, k=2.0)
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_normalize():
    x = minidl.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    y = minidl.normalize(x)
    np.testing.assert_allclose(y, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(gradients_of(minidl.normalize, x)[0]).all()
    assert minidl.normalize(minidl.tensor([1.0, -3.0]), p=1, dim=0).tolist() == [0.25, -0.75]


def test_errors():
    x, average, variance = minidl.ones(2, 3), minidl.zeros(3), minidl.ones(3)
    with pytest.raises(ShapeError, match="more than one value per channel"):
        minidl.batch_norm(minidl.ones(1, 3, 1, 1), average, variance, training=True)
    with pytest.raises(ShapeError, match="weight must have shape"):
        minidl.batch_norm(x, average, variance, weight=minidl.ones(2))
    with pytest.raises(ShapeError, match="running_mean must have shape"):
        minidl.batch_norm(x, minidl.ones(2), minidl.ones(2))
    with pytest.raises(ShapeError, match="at least 2 axes"):
        minidl.batch_norm(minidl.ones(3), average, variance)
    with pytest.raises(ValueError, match="which are None"):
        minidl.batch_norm(x, None, None)
    with pytest.raises(ValueError, match="both running_mean and running_var"):
        minidl.batch_norm(x, average, None, training=True)
    with pytest.raises(ValueError, match="eps must be positive"):
        minidl.batch_norm(x, None, None, training=True, eps=0)
    with pytest.raises(DtypeError, match="weight is float64 and the input float32"):
        minidl.batch_norm(x, average, variance, weight=minidl.ones(3, dtype="float64"))
    with pytest.raises(DtypeError, match="floating-point"):
        minidl.batch_norm(minidl.tensor([[1, 2, 3]]), average, variance)
    with pytest.raises(ShapeError, match="must divide the number of channels"):
        minidl.group_norm(x, 2)
    with pytest.raises(ShapeError, match="more than one value per group"):
        minidl.group_norm(minidl.ones(1, 3), 3)
    with pytest.raises(ShapeError, match="last axes"):
        minidl.layer_norm(x, (2,))
    with pytest.raises(ShapeError, match="last axes"):
        minidl.layer_norm(x, ())
    with pytest.raises(ShapeError, match="bias must have shape"):
        minidl.layer_norm(x, 3, bias=minidl.ones(1, 3))
    with pytest.raises(ShapeError, match="at least 3 axes"):
        minidl.local_response_norm(x, 5)
    with pytest.raises(ValueError, match="size must be at least 1"):
        minidl.local_response_norm(minidl.ones(2, 3, 4), 0)
