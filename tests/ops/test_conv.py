"""Convolution ops: gradients of both orders, adjoints, sizes, and mistakes."""

import itertools

import numpy as np
import pytest

import minidl
from minidl.autograd import grad
from minidl.errors import DtypeError, ShapeError
from minidl.ops.conv import conv2d, conv_transpose2d, fold, unfold
from tests.checks import check_gradients, gradients_of, leaf

BOTH = pytest.mark.parametrize("backend", ["portable", None])
# stride, padding, dilation, groups
GEOMETRIES = [(1, 0, 1, 1), ((2, 1), (0, 1), 1, 1), (1, (2, 1), (1, 2), 2), ((1, 3), (1, 0), (2, 1), 1), ((3, 2), 1, (1, 2), 2),
              (2, 3, (3, 2), 1), (1, (2, 1), 1, 2), (2, (1, 2), 1, 2)]


@BOTH
@pytest.mark.parametrize("stride, padding, dilation, groups", GEOMETRIES)
def test_gradients(stride, padding, dilation, groups, backend):
    x, w, b = leaf(2, 2, 5, 4), leaf(4, 2 // groups, 3, 2, strided=True), leaf(4)
    with minidl.use_backend(backend):
        check_gradients(lambda x, w, b: conv2d(x, w, b, stride, padding, dilation, groups), x, w, b)
        check_gradients(lambda x, w: conv2d(x, w, None, stride, padding, dilation, groups), x, w)


@BOTH
@pytest.mark.parametrize("stride, padding, dilation, groups", GEOMETRIES)
def test_gradients_of_the_transposed_convolution(stride, padding, dilation, groups, backend):
    x, w, b = leaf(2, 4, 3, 2), leaf(4, 2, 3, 4), leaf(2 * groups)
    with minidl.use_backend(backend):
        check_gradients(lambda x, w, b: conv_transpose2d(x, w, b, stride, padding, 0, groups, dilation), x, w, b)


@BOTH
@pytest.mark.parametrize("options", [dict(padding="same"), dict(padding="same", dilation=(1, 3)), dict(padding="valid")])
def test_gradients_of_named_paddings(options, backend):
    with minidl.use_backend(backend):
        check_gradients(lambda x, w: conv2d(x, w, **options), leaf(3, 4, 5), leaf(2, 3, 4, 2))


@BOTH
def test_gradients_of_unfold_and_fold(backend):
    with minidl.use_backend(backend):
        check_gradients(lambda x: unfold(x, (2, 3), (2, 1), (1, 0), (1, 2)), leaf(2, 3, 4, 5))
        check_gradients(lambda x: fold(x, (4, 5), (2, 3), (2, 1), (1, 0), (1, 2)), leaf(2, 12, 8, strided=True))


@pytest.mark.parametrize("stride, padding, dilation, groups", GEOMETRIES)
def test_the_three_maps_are_adjoint(stride, padding, dilation, groups):
    """<conv(x, w), gy> = <x, dL/dx> = <w, dL/dw>: the convolution is linear in both."""
    x, w = leaf(3, 2, 5, 6), leaf(4, 2 // groups, 3, 2)
    y = conv2d(x, w, None, stride, padding, dilation, groups)
    gy = leaf(*y.shape, seed=1).detach()
    gx, gw = grad(y, (x, w), gy)
    for left, right in ((gx, x), (gw, w)):
        assert (left * right).sum().item() == pytest.approx((y * gy).sum().item(), rel=1e-12)
    least = conv_transpose2d(gy, w, None, stride, padding, 0, groups, dilation).shape
    extra = [x.shape[axis] - least[axis] for axis in (2, 3)]
    again = conv_transpose2d(gy, w, None, stride, padding, extra, groups, dilation)
    assert np.allclose(again, gx, atol=1e-12)


def test_third_derivative():
    x, w = leaf(1, 1, 3, 4), leaf(1, 1, 2, 2)
    (g,) = grad((conv2d(x, w) ** 3).sum(), w, create_graph=True)
    (gg,) = grad((g * g).sum(), x, create_graph=True)
    check_gradients(lambda x: grad((grad((conv2d(x, w) ** 3).sum(), w, create_graph=True)[0] ** 2).sum(), x,
                                   create_graph=True)[0], x, second=False)
    assert gg.shape == x.shape


def test_needs_spare_work():
    """The gradient of an input that nobody wants is not computed, and what only it needs is not kept."""
    def names(x, w):
        y = conv2d(x, w).sum()
        return [choice.kernel for choice in minidl.explain(y.backward) if choice.kernel.startswith("conv2d") and choice.reason]

    x, w = leaf(2, 3, 5, 4), leaf(4, 3, 3, 2)
    assert set(names(x.detach(), w)) == {"conv2d_weight_grad"}
    assert set(names(x, w.detach())) == {"conv2d_input_grad"}
    assert set(names(x, w)) == {"conv2d_weight_grad", "conv2d_input_grad"}
    assert conv2d(x.detach(), w).op.saved[1] is None and conv2d(x, w.detach()).op.saved[0] is None


def test_a_changed_input_is_noticed():
    x, w = leaf(1, 1, 3, 3), leaf(1, 1, 2, 2)
    y = conv2d(x, w).sum()
    with minidl.no_grad():
        w.zero_()
    with pytest.raises(minidl.errors.GraphError, match="changed in place"):
        y.backward()


def test_bias_gradient_over_ten_million_terms():
    x = minidl.tensor(np.zeros((10, 1, 1000, 1000), np.float32))
    b = minidl.zeros(1, requires_grad=True)
    y = conv2d(x, minidl.ones(1, 1, 1, 1), b)
    gy = np.random.default_rng(0).random(y.shape, np.float32)
    y.backward(minidl.tensor(gy))
    want = gy.sum(dtype=np.float64)
    assert abs(b.grad.item() - want) <= 1e-6 * want


@BOTH
def test_float32_stays_float32_and_float16_float16(backend):
    for dtype in (minidl.float16, minidl.float32, minidl.float64):
        x, w, b = (leaf(*shape).detach().to(dtype).requires_grad_() for shape in ((2, 3, 5, 4), (4, 3, 3, 2), (4,)))
        with minidl.use_backend(backend):
            y = conv2d(x, w, b, padding="same")
            assert y.dtype == dtype and all(g.dtype == dtype for g in gradients_of(lambda *a: conv2d(*a), x, w, b))
            assert conv_transpose2d(x.transpose(0, 1), w.reshape(2, 6, 3, 2)[:, :2]).dtype == dtype
            assert unfold(x, 2).dtype == dtype and fold(unfold(x, 2), (5, 4), 2).dtype == dtype
    tiny = minidl.tensor([[[1.0, 1.0 + 1e-12]]], dtype="float64")
    assert conv2d(tiny, minidl.ones(1, 1, 1, 1, dtype="float64"), stride=(1, 2)).item() == 1
    assert conv2d(tiny, minidl.ones(1, 1, 1, 2, dtype="float64")).item() == 2 + 1e-12


@BOTH
def test_empty_batches_and_single_images(backend):
    w, b = leaf(4, 3, 3, 2), leaf(4)
    with minidl.use_backend(backend):
        empty = leaf(0, 3, 5, 4)
        y = conv2d(empty, w, b)
        assert y.shape == (0, 4, 3, 3)
        y.sum().backward()
        assert empty.grad.shape == empty.shape and not np.asarray(w.grad).any() and not np.asarray(b.grad).any()
        assert conv_transpose2d(leaf(0, 4, 2, 3), w).shape == (0, 3, 4, 4)
        assert unfold(empty, 2).shape == (0, 12, 12) and fold(leaf(0, 12, 12), (5, 4), 2).shape == (0, 3, 5, 4)
        one = leaf(3, 5, 4)
        assert np.array_equal(conv2d(one, w, b), np.asarray(conv2d(one.unsqueeze(0), w, b))[0])
        assert conv_transpose2d(leaf(4, 2, 3), w).shape == (3, 4, 4)
        assert unfold(one, 2).shape == (12, 12) and fold(leaf(12, 12), (5, 4), 2).shape == (3, 5, 4)
        check_gradients(lambda x: conv2d(x, leaf(1, 1, 1, 1)), leaf(1, 1, 1, 1))


def test_same_padding_keeps_the_size_and_puts_the_surplus_last():
    x = leaf(2, 3, 7, 6).detach()
    for kernel, dilation in itertools.product([(1, 2), (2, 3), (4, 5), (5, 4)], [(1, 1), (2, 3)]):
        assert conv2d(x, leaf(2, 3, *kernel), dilation=dilation, padding="same").shape == (2, 2, 7, 6)
    y = conv2d(minidl.tensor([[[1.0, 2.0, 4.0]]]), minidl.ones(1, 1, 1, 2), padding="same")
    assert y.tolist() == [[[3, 6, 4]]]


def test_fold_of_unfold_counts_the_windows_on_each_pixel():
    x, ones = leaf(2, 3, 5, 6).detach(), minidl.ones(2, 3, 5, 6, dtype="float64")
    options = dict(kernel_size=(3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1))
    counts = fold(unfold(ones, **options), (5, 6), **options)
    assert np.allclose(fold(unfold(x, **options), (5, 6), **options), (x * counts))
    assert np.asarray(counts).min() == 1 and np.asarray(counts).max() == 4


def test_convolution_is_unfold_and_a_product():
    x, w = leaf(2, 3, 5, 6), leaf(4, 3, 3, 2)
    y = conv2d(x, w, None, (2, 1), (1, 0), (1, 2))
    product = w.reshape(4, 18) @ unfold(x, (3, 2), (1, 2), (1, 0), (2, 1))
    assert np.allclose(np.asarray(product).reshape(y.shape), y)


def test_output_padding():
    x, w = leaf(1, 2, 3, 4), leaf(2, 1, 3, 3)
    plain = conv_transpose2d(x, w, stride=3, padding=1)
    wider = conv_transpose2d(x, w, stride=3, padding=1, output_padding=(2, 1))
    assert plain.shape == (1, 1, 7, 10) and wider.shape == (1, 1, 9, 11)
    assert np.array_equal(np.asarray(wider)[:, :, :7, :10], plain)
    assert np.asarray(wider)[:, :, 7].any() and not np.asarray(wider)[:, :, 8].any()  # one row was cropped by the padding
    dilated = conv_transpose2d(x, w, dilation=(3, 1), output_padding=(2, 0))  # more than the stride
    assert dilated.shape == (1, 1, 11, 6) and not np.asarray(dilated)[:, :, 9:].any()
    check_gradients(lambda x, w: conv_transpose2d(x, w, dilation=(3, 1), output_padding=(2, 0)), x, w)


def image(*shape):
    return minidl.ones(*shape)


@pytest.mark.parametrize("call, message", [
    (lambda: conv2d(image(3, 4), image(1, 3, 2, 2)), r"\(N, C, H, W\) or \(C, H, W\), got shape \(3, 4\)"),
    (lambda: conv2d(image(1, 3, 4, 4), image(3, 2, 2)), "four axes"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 2, 2, 2)), "has C = 3, but weight .* is made for C = 2"),
    (lambda: conv2d(image(1, 4, 4, 4), image(5, 2, 2, 2), groups=2), "groups=2 must divide the O = 5"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 2, 2), image(4)), r"bias \(O,\) = \(5,\), got shape \(4,\)"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 2, 2), image(5, 1)), "bias"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 2, 5)), r"\(2, 5\) .* does not fit .* \(4, 4\)"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 3, 3), dilation=2), "does not fit"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 2, 2), stride=0), "stride"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 2, 2), padding=-1), "padding of at least 0"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 2, 2), dilation=0), "dilation"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 2, 2), groups=0), "groups"),
    (lambda: conv2d(image(1, 3, 4, 4), image(5, 3, 2, 2), stride=2, padding="same"), "needs stride 1"),
    (lambda: conv2d(image(1, 0, 4, 4), image(5, 0, 2, 2)), "channels"),
    (lambda: conv2d(image(1, 3, 4, 4), image(0, 3, 2, 2)), "none of them empty"),
    (lambda: conv_transpose2d(image(1, 3, 4, 4), image(2, 5, 2, 2)), "has C = 3, weight .* is made for C = 2"),
    (lambda: conv_transpose2d(image(1, 3, 4, 4), image(3, 5, 2, 2), groups=2), "must divide C"),
    (lambda: conv_transpose2d(image(1, 3, 4, 4), image(3, 5, 2, 2), image(3)), r"bias \(O,\) = \(5,\)"),
    (lambda: conv_transpose2d(image(1, 3, 4, 4), image(3, 5, 2, 2), stride=2, output_padding=2), "output_padding"),
    (lambda: conv_transpose2d(image(1, 3, 1, 1), image(3, 5, 2, 2), padding=1), "leaves nothing"),
    (lambda: unfold(image(4, 4), 2), r"\(N, C, H, W\)"),
    (lambda: unfold(image(1, 4, 4), 5), "does not fit"),
    (lambda: unfold(image(1, 4, 4), 0), "does not fit"),
    (lambda: fold(image(1, 4, 3), (2, 3), 2), r"need input \(N, C 2 2, 2\), got \(1, 4, 3\)"),
    (lambda: fold(image(1, 3, 2), (2, 3), 2), "need input"),
    (lambda: fold(image(4), (2, 3), 2), "C KH KW"),
])
def test_mistakes_in_shapes(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


def test_other_mistakes():
    x, w = image(1, 3, 4, 4), image(5, 3, 2, 2)
    with pytest.raises(DtypeError, match="one dtype, got float32 and float64"):
        conv2d(x, w.double())
    with pytest.raises(DtypeError, match="floating-point"):
        conv2d(x.long(), w.long())
    with pytest.raises(ValueError, match="'valid' or 'same', got 'full'"):
        conv2d(x, w, padding="full")
    with pytest.raises(TypeError, match="stride must be an int or a pair of ints"):
        conv2d(x, w, stride=1.5)
    with pytest.raises(TypeError, match="kernel_size"):
        unfold(x, (1, 2, 3))


@pytest.mark.parametrize("backend", ["portable", None])
def test_relu_in_the_same_pass(backend):
    x, w, b = leaf(2, 3, 6, 5), leaf(4, 3, 3, 2), leaf(4)
    with minidl.use_backend(backend):
        want = minidl.relu(minidl.conv2d(x, w, b, padding=1))
        assert minidl.equal(minidl.conv2d(x, w, b, padding=1, relu=True), want)
        with minidl.no_grad():
            assert minidl.allclose(minidl.conv2d(x, w, b, padding=1, relu=True), want)
            assert minidl.allclose(minidl.conv2d(x, w, padding=1, relu=True), minidl.relu(minidl.conv2d(x, w, padding=1)))
        check_gradients(lambda x, w, b: minidl.conv2d(x, w, b, padding=1, relu=True), x, w, b)
