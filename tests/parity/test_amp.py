"""bfloat16 and mixed precision against PyTorch on the CPU.

Autocast's lists are PyTorch's for CUDA; its list for the CPU is shorter, so dtypes are compared where the two agree.
"""

import itertools

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import functional as F

torch = pytest.importorskip("torch")
pytest.importorskip("ml_dtypes")

HALVES = ["float16", "bfloat16"]
EPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


def test_promotion():
    for a, b in itertools.product(NAMES, NAMES):
        expected = torch.promote_types(getattr(torch, a), getattr(torch, b))
        assert str(minidl.promote_types(*map(minidl.dtypes.as_dtype, (a, b)))) == str(expected).removeprefix("torch."), (a, b)
    for a, number in itertools.product(NAMES, (True, 2, 0.5)):
        expected = torch.result_type(torch.ones(2, dtype=getattr(torch, a)), number)
        assert str(minidl.result_type(minidl.ones(2, dtype=a), number)) == str(expected).removeprefix("torch."), (a, number)


def as_arrays(y, theirs):
    return y.detach().double().numpy(), theirs.detach().double().numpy()


ELEMENTWISE = ["exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "tanh", "sigmoid", "erf", "square"]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, dtype):
    x = np.random.default_rng(0).uniform(0.1, 4, 500).astype(np.float32)
    ours, theirs = as_arrays(getattr(minidl.tensor(x, dtype=dtype), name)(),
                             getattr(torch.tensor(x).to(getattr(torch, dtype)), name)())
    np.testing.assert_allclose(ours, theirs, rtol=2 * EPS[dtype])  # a number in the middle may be rounded either way


FUNCTIONS = {
    "softplus": lambda F, x: F.softplus(x, 1.7), "gelu": lambda F, x: F.gelu(x), "silu": lambda F, x: F.silu(x),
    "leaky_relu": lambda F, x: F.leaky_relu(x - 1, 0.3), "softmax": lambda F, x: F.softmax(x, 1),
    "log_softmax": lambda F, x: F.log_softmax(x, 1), "layer_norm": lambda F, x: F.layer_norm(x, (50,)),
    "sum": lambda F, x: x.sum(1), "mean": lambda F, x: x.mean(0), "cumsum": lambda F, x: x[:, :3].cumsum(1),
    "pow": lambda F, x: x**0.3, "mul": lambda F, x: x * 0.3, "smooth_l1_loss": lambda F, x: F.smooth_l1_loss(x, x * 0, beta=0.3),
    "avg_pool2d": lambda F, x: F.avg_pool2d(x.reshape(1, 10, 50), 3),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, dtype):
    x = np.random.default_rng(0).uniform(0.1, 2, (10, 50)).astype(np.float32)
    a, b = minidl.tensor(x, dtype=dtype), torch.tensor(x).to(getattr(torch, dtype))
    y, theirs = FUNCTIONS[name](F, a), FUNCTIONS[name](torch.nn.functional, b)
    assert str(theirs.dtype) == f"torch.{y.dtype}"
    ours, theirs = as_arrays(y, theirs)
    np.testing.assert_allclose(ours, theirs, rtol=4 * EPS[dtype], atol=EPS[dtype])  # PyTorch rounds between steps in some


DTYPES = {  # where PyTorch's lists for CPU and CUDA agree
    "matmul": lambda F, x: x @ x.T, "linear": lambda F, x: F.linear(x, x[:2], x[0, :2]),
    "conv2d": lambda F, x: F.conv2d(x.reshape(1, 1, 3, 5), x.reshape(1, 1, 3, 5), padding=1),
    "mse_loss": lambda F, x: F.mse_loss(x, x.detach() * 2), "l1_loss": lambda F, x: F.l1_loss(x, x.detach() * 2),
    "huber_loss": lambda F, x: F.huber_loss(x, x.detach() * 2), "kl_div": lambda F, x: F.kl_div(x, x, reduction="sum"),
    "prod": lambda F, x: x.prod(), "relu": lambda F, x: F.relu(x), "add": lambda F, x: x + x, "tanh": lambda F, x: x.tanh(),
    "max_pool2d": lambda F, x: F.max_pool2d(x.reshape(1, 3, 5), 2), "mean": lambda F, x: x.mean(), "mul": lambda F, x: x * 2.0,
    "binary_cross_entropy": lambda F, x: F.binary_cross_entropy(x, x.detach() * 0.5),
    "binary_cross_entropy_with_logits": lambda F, x: F.binary_cross_entropy_with_logits(x, x.detach() * 0.5),
}


@pytest.mark.parametrize("low", HALVES)
@pytest.mark.parametrize("given", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_under_autocast(name, given, low):
    x = np.random.default_rng(0).uniform(0.2, 0.8, (3, 5))
    a = minidl.tensor(x, dtype=given)
    b = torch.tensor(x).to(getattr(torch, given))
    with minidl.autocast("cpu", low), torch.autocast("cpu", getattr(torch, low)):
        y, theirs = DTYPES[name](F, a), DTYPES[name](torch.nn.functional, b)
    assert str(theirs.dtype) == f"torch.{y.dtype}"


@pytest.mark.parametrize("low", HALVES)
def test_a_network_under_autocast(low):
    minidl.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 25, 20), nn.Tanh(),
                         nn.Linear(20, 10))
    T = torch.nn
    theirs = T.Sequential(T.Conv2d(1, 6, 5), T.ReLU(), T.MaxPool2d(2), T.Flatten(), T.Linear(6 * 25, 20), T.Tanh(),
                          T.Linear(20, 10))
    theirs.load_state_dict({name: torch.tensor(p.numpy()) for name, p in ours.state_dict().items()})
    images = np.random.default_rng(0).normal(size=(8, 1, 14, 14)).astype(np.float32)
    labels = np.arange(8) % 10
    with minidl.autocast("cpu", low), torch.autocast("cpu", getattr(torch, low)):
        y, t = ours(minidl.tensor(images)), theirs(torch.tensor(images))
        a, b = F.cross_entropy(y, minidl.tensor(labels)), T.functional.cross_entropy(t, torch.tensor(labels))
    a.backward()
    b.backward()
    assert str(t.dtype) == f"torch.{y.dtype}" == f"torch.{low}" and a.dtype == minidl.float32 and b.dtype == torch.float32
    np.testing.assert_allclose(*as_arrays(y, t), atol=8 * EPS[low])  # logits near 1, after seven roundings
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert p.grad.dtype == np.float32 and q.grad.dtype == torch.float32
        g, e = as_arrays(p.grad, q.grad)
        assert np.linalg.norm(g - e) <= 8 * EPS[low] * np.linalg.norm(e), name


def test_grad_scaler_step_by_step():
    options = {"init_scale": 64.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2}
    w, v = minidl.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 2.0], requires_grad=True)
    mine, their = minidl.optim.SGD([w], 0.1, momentum=0.9), torch.optim.SGD([v], 0.1, momentum=0.9)
    ours, theirs = minidl.amp.GradScaler("cpu", **options), torch.amp.GradScaler("cpu", **options)
    random = np.random.default_rng(0)
    for number in range(12):
        gradient = random.normal(size=2).astype(np.float32)
        if number in (2, 3, 8):
            gradient[number % 2] = [np.inf, np.nan][number % 2]
        for x, library, optimizer, scaler in ((w, minidl, mine, ours), (v, torch, their, theirs)):
            optimizer.zero_grad()
            scaler.scale((x * library.tensor(gradient)).sum()).backward()
            if number % 3 == 0:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        assert ours.state_dict() == theirs.state_dict()
        np.testing.assert_allclose(w.detach().numpy(), v.detach().numpy(), rtol=1e-6)
        np.testing.assert_allclose(w.grad.numpy(), v.grad.numpy(), rtol=1e-6)


def test_the_state_of_pytorchs_scaler_can_be_loaded():
    theirs, ours = torch.amp.GradScaler("cpu", init_scale=32.0), minidl.amp.GradScaler("cpu")
    ours.load_state_dict(theirs.state_dict())
    assert ours.state_dict() == theirs.state_dict()
    theirs.load_state_dict(ours.state_dict())
