"""float16 and bfloat16: every op keeps the dtype, forward and backward, and computes as float32 does but for the rounding."""

import subprocess
import sys

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.errors import DtypeError
from minidl.nn import functional as F

pytest.importorskip("ml_dtypes")

HALVES = ["float16", "bfloat16"]
EPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # half the distance from 1 to the next number: one rounding
LABELS = minidl.tensor([1, 0, 4])
ROIS = minidl.tensor([[1, 0.3, 1.2, 3.4, 5.6], [0, 1.0, 2.0, 4.4, 4.1], [1, 2.1, 0.7, 2.9, 3.3]])
TARGET = minidl.tensor(np.random.default_rng(7).uniform(0.1, 0.9, (3, 5)))

OF_MATRICES = {  # x (3, 5), numbers from 0.1 to 0.9
    "add": lambda x: x + x * 2.0 + 0.7,
    "div": lambda x: 0.7 / x - x / 3,
    "remainder": lambda x: (x + 0.05) % 0.3,
    "floor_divide": lambda x: x // 0.3 + x,
    "pow": lambda x: x**0.3 + x**2 + x**-1.5 + 2**x + x**x,
    "roots": lambda x: x.sqrt() + x.rsqrt() + x.reciprocal(),
    "exponentials": lambda x: x.exp() + x.expm1(),
    "logarithms": lambda x: x.log() + x.log1p() + x.log2() + x.log10(),
    "trigonometry": lambda x: x.sin() + x.cos() + x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "erf": lambda x: x.erf(),
    "abs": lambda x: (x - 0.55).abs(),
    "rounding": lambda x: x.floor() + x.ceil() + x.round() + x.trunc() + x.sign(),
    "relu": lambda x: F.relu(x - 0.5),
    "add_relu": lambda x: minidl.add_relu(x, -x * x),
    "leaky_relu": lambda x: F.leaky_relu(x - 0.5, 0.3),
    "prelu": lambda x: F.prelu(x - 0.5, minidl.full((5,), 0.3, dtype=x.dtype)),
    "elu": lambda x: F.elu(x - 0.5, 0.3),
    "selu": lambda x: F.selu(x - 0.5),
    "gelu": lambda x: F.gelu(x) + F.gelu(x, approximate="tanh"),
    "silu": lambda x: F.silu(x),
    "softplus": lambda x: F.softplus(x, 1.7),
    "logsigmoid": lambda x: F.logsigmoid(x),
    "hardtanh": lambda x: F.hardtanh(x - 0.5, -0.2, 0.2),
    "hardswish": lambda x: F.hardswish(x) + F.hardsigmoid(x),
    "maximum": lambda x: minidl.maximum(x, 1 - x) + minidl.minimum(x, minidl.tensor(0.5)),
    "clamp": lambda x: x.clamp(0.2, 0.6),
    "where": lambda x: minidl.where(x > 0.5, x, 0.3),
    "sum": lambda x: x.sum(0) + x.mean(0),
    "var": lambda x: x.var(0) + x.std(0),
    "prod": lambda x: x.prod(1),
    "amax": lambda x: x.amax(1) + x.amin(1) + x.max(1).values,
    "norm": lambda x: x.norm(dim=1) + x.norm(1, 1) + x.norm(3, 1) + x.norm(float("inf"), 1),
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "logsumexp": lambda x: x.logsumexp(1),
    "sort": lambda x: x.sort(1).values + x.sort(1, descending=True).values,
    "topk": lambda x: x.topk(2, 1).values + x.kthvalue(2, 1, keepdim=True).values,
    "matmul": lambda x: x @ x.T,
    "linear": lambda x: F.linear(x, x[:2], x[0, :2]),
    "addmm": lambda x: minidl.addmm(x[:, 0], x, x.T, beta=0.3, alpha=0.7),
    "einsum": lambda x: minidl.einsum("ij,kj->ik", x, x),
    "outer": lambda x: minidl.outer(x[0], x[1]),
    "cat": lambda x: minidl.cat([x, x * 2]) + minidl.stack([x, x]).reshape(6, 5),
    "gather": lambda x: x.gather(1, minidl.tensor([[1, 1, 0, 4, 2]] * 3)),
    "scatter_add": lambda x: x.scatter_add(1, minidl.tensor([[1, 1, 0, 4, 2]] * 3), x),
    "embedding": lambda x: F.embedding(minidl.tensor([2, 0, 2, 2]), x),
    "masked_fill": lambda x: x.masked_fill(x > 0.5, 0.3),
    "shapes": lambda x: x.T.flip(0).repeat(2, 1).roll(1, 0)[1:, ::2].tril(),
    "pad": lambda x: F.pad(x, (1, 2), value=0.3),
    "layer_norm": lambda x: F.layer_norm(x, (5,), minidl.full((5,), 1.5, dtype=x.dtype)),
    "normalize": lambda x: F.normalize(x),
    "dropout": lambda x: F.dropout(x, 0.3, generator=minidl.Generator().manual_seed(0)),
    "mse_loss": lambda x: F.mse_loss(x, TARGET.to(x.dtype), reduction="none"),
    "l1_loss": lambda x: F.l1_loss(x, TARGET.to(x.dtype)),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, TARGET.to(x.dtype), beta=0.3),
    "huber_loss": lambda x: F.huber_loss(x, TARGET.to(x.dtype), delta=0.3),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(x, TARGET.to(x.dtype)),
    "binary_cross_entropy_with_logits": lambda x: F.binary_cross_entropy_with_logits(x, TARGET.to(x.dtype)),
    "kl_div": lambda x: F.kl_div(x.log(), TARGET.to(x.dtype)),
    "cross_entropy": lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.1),
    "nll_loss": lambda x: F.nll_loss(x, LABELS, weight=minidl.arange(1.0, 6.0).to(x.dtype)),
    "multi_margin_loss": lambda x: F.multi_margin_loss(x, LABELS),
    "hinge_embedding_loss": lambda x: F.hinge_embedding_loss(x, minidl.where(TARGET > 0.5, 1, -1)),
}
OF_IMAGES = {  # x (2, 4, 6, 5)
    "conv2d": lambda x: F.conv2d(x, x[:, :2, :3, :2], x[0, 0, 0, :2], stride=(2, 1), padding=1, groups=2),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, x[0, :, :3, :2].unsqueeze(1), stride=2),
    "unfold": lambda x: F.unfold(x, 2),
    "fold": lambda x: F.fold(F.unfold(x, 2), (6, 5), 2),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 1) + F.adaptive_max_pool2d(x, (4, 3)),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 1) + F.adaptive_avg_pool2d(x, (4, 3)),
    "max_unpool2d": lambda x: F.max_unpool2d(*F.max_pool2d(x[:, :, :, :4], 2, return_indices=True), 2),
    "roi_pool": lambda x: F.roi_pool(x, ROIS, (2, 3)) + F.roi_pool(x, [ROIS[:2, 1:].round().to(x.dtype), ROIS[:1, 1:]], (2, 3)),
    "roi_align": lambda x: F.roi_align(x, ROIS, (2, 3)) + F.roi_align(x, ROIS, (2, 3), 1.3, 2, True),
    "ps_roi_pool": lambda x: F.ps_roi_pool(x, ROIS, 2),
    "interpolate": lambda x: F.interpolate(x, (4, 7), mode="bilinear") + F.interpolate(x, (4, 7)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, minidl.full((4,), 1.5, dtype=x.dtype), training=True),
    "fixed batch_norm": lambda x: F.batch_norm(x, minidl.full((4,), 0.3), minidl.full((4,), 0.7)),
    "group_norm": lambda x: F.group_norm(x, 2),
    "local_response_norm": lambda x: F.local_response_norm(x, 3, 0.5),
    "dropout2d": lambda x: F.dropout2d(x, 0.3, generator=minidl.Generator().manual_seed(0)),
}
CASES = ([(name, f, (3, 5)) for name, f in OF_MATRICES.items()] + [(name, f, (2, 4, 6, 5)) for name, f in OF_IMAGES.items()])


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("name", "function", "shape"), CASES, ids=[name for name, *_ in CASES])
def test_every_op(name, function, shape, dtype):
    numbers = np.random.default_rng(len(name)).permutation(np.linspace(0.1, 0.9, int(np.prod(shape)))).reshape(shape)
    x = minidl.tensor(numbers, dtype=dtype, requires_grad=True)
    wide = x.detach().float().requires_grad_()
    y, expected = function(x), function(wide)
    assert y.dtype == x.dtype and expected.dtype == minidl.float32 and y.shape == expected.shape
    assert_rounded(y, expected, dtype)
    weights = minidl.tensor(np.random.default_rng(1).uniform(0.5, 1, y.shape), dtype=dtype)
    y.backward(weights)
    expected.backward(weights.float())
    assert x.grad.dtype == x.dtype
    assert_rounded(x.grad, wide.grad, dtype)
    assert x.array.dtype == x.dtype and x.detach().float().tolist() == wide.tolist()


def assert_rounded(y, expected, dtype):
    """Cases are made of up to a dozen functions, each of which rounds; errors of a sum are those of its largest term."""
    y, expected = y.detach().float().numpy(), expected.detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=12 * EPS[dtype], atol=12 * EPS[dtype] * abs(expected).max())


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("name", "function", "shape"), CASES, ids=[name for name, *_ in CASES])
def test_second_derivatives_keep_the_dtype(name, function, shape, dtype):
    x = minidl.tensor(np.random.default_rng(0).uniform(0.1, 0.9, shape), dtype=dtype, requires_grad=True)
    (g,) = minidl.autograd.grad(function(x).sum(), x, create_graph=True)
    assert g.dtype == x.dtype
    if g.requires_grad:
        (g * g).sum().backward()
        assert x.grad.dtype == x.dtype


@pytest.mark.parametrize(("name", "function", "shape"), CASES, ids=[name for name, *_ in CASES])
def test_portable_kernels_on_any_device(name, function, shape):
    with minidl.use_backend("portable"):
        test_every_op(name, function, shape, "bfloat16")


@pytest.mark.parametrize(("a", "b", "expected"), [
    ("bfloat16", "bfloat16", "bfloat16"), ("bfloat16", "float16", "float32"), ("float16", "bfloat16", "float32"),
    ("bfloat16", "float32", "float32"), ("float64", "bfloat16", "float64"), ("int64", "bfloat16", "bfloat16"),
    ("bfloat16", "uint8", "bfloat16"), ("bool", "bfloat16", "bfloat16")])
def test_promotion(a, b, expected):
    x, y = minidl.ones(2, dtype=a), minidl.ones(2, dtype=b)
    assert (x + y).dtype.name == minidl.promote_types(x.dtype, y.dtype).name == expected
    assert minidl.cat([x, y]).dtype.name == expected


def test_numbers_and_0d_tensors_widen_nothing():
    x = minidl.ones(2, dtype="bfloat16")
    for other in (2, 0.5, True, minidl.tensor(0.5), minidl.tensor(0.5, dtype="float64"), minidl.tensor(3)):
        assert (x * other).dtype == (other * x).dtype == minidl.bfloat16
    assert (minidl.tensor([1, 2]) * minidl.tensor(0.5, dtype="bfloat16")).dtype == minidl.bfloat16


def test_names():
    assert minidl.bfloat16 is minidl.dtypes.as_dtype("bfloat16") is minidl.dtypes.as_dtype(minidl.bfloat16.type)
    assert minidl.dtypes.as_dtype(minidl.bfloat16) is minidl.ones(2).bfloat16().dtype is minidl.bfloat16
    assert minidl.bfloat16.itemsize == 2 and minidl.ones(2, dtype=minidl.bfloat16).is_floating_point()
    with pytest.raises(DtypeError, match="bfloat16"):
        minidl.zeros(2, dtype="bfloat17")
    with pytest.raises(AttributeError):
        _ = minidl.bfloat17


@pytest.mark.numpy
def test_display_rounds_nothing_off():
    assert repr(minidl.tensor([1.5, 1 / 3], dtype="bfloat16")) == "tensor([1.5  , 0.334], dtype=bfloat16)"


def test_loaded_only_when_asked_for():
    code = "import minidl, sys; a = 'ml_dtypes' in sys.modules; minidl.bfloat16; print(a, 'ml_dtypes' in sys.modules)"
    assert _run(code) == "False True"


@pytest.mark.parametrize("use", ["minidl.bfloat16", "minidl.ones(2, dtype='bfloat16')", "minidl.ones(2).bfloat16()"])
def test_without_the_package(use):
    code = f"import sys; sys.modules['ml_dtypes'] = None; import minidl; {use}"
    assert 'this needs the package ml_dtypes: pip install "minidl[amp]"' in _run(code).splitlines()[-1]


def test_without_the_package_there_is_no_such_attribute():
    assert _run("import sys; sys.modules['ml_dtypes'] = None; import minidl; print(hasattr(minidl, 'bfloat16'))") == "False"


def _run(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return (result.stdout + result.stderr).strip()


def test_stored_and_loaded(tmp_path):
    x = minidl.tensor([[1.5, -2.0, float("inf")]], dtype="bfloat16")
    minidl.save({"x": x}, tmp_path / "plain.safetensors")
    minidl.save({"deep": [x, 3]}, tmp_path / "nested.safetensors")
    for found in (minidl.load(tmp_path / "plain.safetensors")["x"], minidl.load(tmp_path / "nested.safetensors")["deep"][0]):
        assert found.dtype == minidl.bfloat16 and found.tolist() == x.tolist()
    from safetensors import safe_open
    with safe_open(tmp_path / "plain.safetensors", "np") as file:
        assert file.get_slice("x").get_dtype() == "BF16"


def test_random_numbers():
    minidl.manual_seed(0)
    x = minidl.rand(10_000, dtype="bfloat16")
    assert set((x.double() * 256 % 1).tolist()) == {0.0} and abs(x.double().mean().item() - 0.5) < 0.02
    y = minidl.randn(10_000, dtype="bfloat16")
    assert y.dtype == minidl.bfloat16 and abs(y.double().std().item() - 1) < 0.03
    assert abs(minidl.empty(10_000, dtype="bfloat16").normal_(3.0, 2.0).double().mean().item() - 3) < 0.1


def test_in_place():
    x = minidl.zeros(3, dtype="bfloat16")
    x += 1.5
    x *= minidl.tensor([1.0, 2.0, 3.0])
    x[2] = 0.3
    assert x.dtype == minidl.bfloat16 and x.tolist() == [1.5, 3.0, 0.30078125]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", [lambda p: optim.SGD(p, 0.1, momentum=0.9), optim.Adam, lambda p: optim.AdamW(p, 0.1),
                                  optim.RMSprop, optim.Adadelta])
def test_optimizers_keep_their_state_in_float32(kind, dtype):
    p = minidl.tensor([1.0, -2.0, 3.0], dtype=dtype, requires_grad=True)
    wide = p.detach().float().requires_grad_()
    for parameter in (p, wide):
        optimizer = kind([parameter])
        for _ in range(3):
            parameter.grad = minidl.tensor([0.5, 1.0, -0.25]).to(parameter.dtype)
            optimizer.step()
        arrays = [value for value in optimizer.state[parameter].values() if hasattr(value, "dtype")]
        assert arrays and all(value.dtype == np.float32 for value in arrays)
    assert p.dtype.name == dtype
    np.testing.assert_allclose(p.detach().float().numpy(), wide.detach().numpy(), rtol=3 * EPS[dtype])  # a rounding at each step


def test_a_module_in_bfloat16():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6 * 4, 2)).bfloat16()
    assert {p.dtype for p in model.parameters()} == {minidl.bfloat16}
    y = model(minidl.randn(5, 1, 8, 6).bfloat16())
    F.cross_entropy(y, minidl.tensor([0, 1, 0, 1, 1])).backward()
    assert y.dtype == minidl.bfloat16 and all(p.grad.dtype == minidl.bfloat16 for p in model.parameters())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with minidl.no_grad():
        model[0].weight.zero_()
    assert model.load_state_dict(state) == ([], []) and model[0].weight.tolist() == state["0.weight"].tolist()


def test_anomaly_mode_finds_nan_in_bfloat16():
    x = minidl.tensor([-1.0], dtype="bfloat16", requires_grad=True)
    with minidl.autograd.detect_anomaly(), pytest.raises(minidl.errors.AnomalyError):
        x.log()


def test_arrays_of_strategies():
    from minidl.testing.strategies import Array

    x = Array((3, 2), "bfloat16", "strided", 0).array()
    assert x.dtype == minidl.bfloat16 and not x.flags.c_contiguous and len(np.unique(x.astype(np.float32))) == 6
