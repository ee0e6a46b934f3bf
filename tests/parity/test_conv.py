"""Convolutions against PyTorch: values, first and second derivatives, layers."""

import itertools

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.autograd import grad
from minidl.ops import conv

torch = pytest.importorskip("torch")

GEOMETRIES = list(itertools.product([1, (2, 3)], [0, (2, 1)], [1, (1, 3)], [1, 2]))


def compare(name, arrays, *args, rtol=1e-10, **options):
    """Outputs, gradients, and the gradients of their squared norm in the inputs and in the output's gradient."""
    ours = [minidl.Tensor(a.copy(), requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, ty = getattr(conv, name)(*ours, *args, **options), getattr(torch.nn.functional, name)(*theirs, *args, **options)
    random = np.random.default_rng(1).standard_normal(tuple(ty.shape)).astype(arrays[0].dtype)
    gy, tgy = minidl.Tensor(random.copy(), requires_grad=True), torch.tensor(random, requires_grad=True)
    g, tg = grad(y, ours, gy, create_graph=True), torch.autograd.grad(ty, theirs, tgy, create_graph=True)
    gg = grad(sum((a * a).sum() for a in g), [*ours, gy], allow_unused=True)
    tgg = torch.autograd.grad(sum((a * a).sum() for a in tg), [*theirs, tgy], allow_unused=True)
    for got, want in zip([y, *g, *gg], [ty, *tg, *tgg], strict=True):
        assert (got is None) == (want is None)
        if got is not None:
            want = want.detach().numpy()
            assert got.dtype == want.dtype and got.shape == want.shape
            np.testing.assert_allclose(got.detach().array, want, rtol=rtol, atol=rtol * max(1, abs(want).max()))


def draw(*shapes, dtype=np.float64):
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("stride, padding, dilation, groups", GEOMETRIES)
def test_conv2d(stride, padding, dilation, groups, backend):
    with minidl.use_backend(backend):
        compare("conv2d", draw((3, 4, 8, 9), (6, 4 // groups, 3, 2), (6,)), stride, padding, dilation, groups)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width, outputs", [(8, 4), (35, 8)])
def test_depthwise(stride, width, outputs):
    compare("conv2d", draw((3, 4, 9, width), (outputs, 1, 5, 3), (outputs,)), stride, (2, 1), 1, 4)


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("stride, padding, dilation, groups", GEOMETRIES)
def test_conv_transpose2d(stride, padding, dilation, groups, backend):
    with minidl.use_backend(backend):
        for extra in (0, (0, 1), (0, 2)):
            if not isinstance(extra, int) and extra[1] >= max(np.ravel(stride)[-1], np.ravel(dilation)[-1]):
                continue
            compare("conv_transpose2d", draw((3, 4, 5, 4), (4, 3, 3, 2), (3 * groups,)), stride, padding, extra, groups, dilation)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel, dilation", list(itertools.product([(3, 5), (2, 4), (4, 3), (1, 1)], [1, (2, 1), (3, 2)])))
def test_named_paddings(kernel, dilation):
    for padding in ("same", "valid"):
        compare("conv2d", draw((2, 3, 10, 9), (4, 3, *kernel)), padding=padding, dilation=dilation)


@pytest.mark.parametrize("options", [dict(kernel_size=2), dict(kernel_size=(1, 3), stride=3, padding=2),
                                     dict(kernel_size=(3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1))])
def test_unfold_and_fold(options):
    for shape in ((2, 3, 7, 8), (3, 7, 8)):
        x = draw(shape)
        compare("unfold", x, **options)
        cols = conv.unfold(minidl.Tensor(x[0]), **options).array
        compare("fold", [cols], output_size=(7, 8), **options)


LAYERS = [((4, 1, 28, 28), (6, 1, 5, 5), 1, 2), ((4, 6, 14, 14), (16, 6, 5, 5), 1, 0), ((2, 3, 64, 65), (32, 3, 11, 11), 4, 2),
          ((2, 48, 13, 13), (64, 48, 3, 3), 1, 1), ((2, 96, 7, 7), (40, 96, 1, 1), 1, 0), ((2, 24, 28, 30), (40, 24, 3, 3), 2, 1)]


@pytest.mark.parametrize("x, w, stride, padding", LAYERS)
def test_layers_of_known_networks_in_float32(x, w, stride, padding):
    arrays = draw(x, w, w[:1], dtype=np.float32)
    arrays[1] /= np.sqrt(np.prod(w[1:]))  # as a trained layer has it; second derivatives sum over squares, hence the tolerance
    compare("conv2d", arrays, stride, padding, rtol=2e-5)


def test_weights_of_pytorch_layers_load_by_name():
    for name, args, shape in (("Conv2d", (4, 6, (3, 2), 2, 1, 1, 2), (2, 4, 7, 8)),
                              ("ConvTranspose2d", (4, 6, (3, 2), 2, 1, 1, 2), (2, 4, 7, 8))):
        ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
        assert repr(ours) == repr(theirs)
        ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
        x = draw(shape, dtype=np.float32)[0]
        want = theirs(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(ours(minidl.Tensor(x)).detach().array, want, atol=1e-6)
