"""Autocast: which dtype comes out of each function, what gradients have, the state and its nesting, the cache of casts."""

import threading

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import DeviceError, DtypeError
from minidl.nn import functional as F
from minidl.tensor import mode
from minidl.utils.checkpoint import checkpoint
from tests.checks import DEVICE

pytest.importorskip("ml_dtypes")

OTHER = "cpu" if DEVICE == "cuda" else "cuda"
DEFAULTS = {"cuda": "float16", "cpu": "bfloat16"}
LABELS, TARGET = minidl.tensor([1, 0, 4]), minidl.full((3, 5), 0.3)

LOW = {  # of x (3, 5)
    "matmul": lambda x: x @ x.T, "mm": lambda x: minidl.mm(x, x.T), "mv": lambda x: minidl.mv(x, x[0]),
    "bmm": lambda x: minidl.bmm(x.unsqueeze(0), x.T.unsqueeze(0)), "rmatmul": lambda x: x.T.__rmatmul__(x),
    "addmm": lambda x: minidl.addmm(x[:, :3], x, x.T), "linear": lambda x: F.linear(x, x[:2], x[0, :2]),
    "module": lambda x: nn.Linear(5, 2)(x), "einsum": lambda x: minidl.einsum("ij,kj->ik", x, x),
    "prelu": lambda x: F.prelu(x, minidl.full((5,), 0.3)),
    "conv2d": lambda x: F.conv2d(x.reshape(1, 1, 3, 5), x.reshape(1, 1, 3, 5), x[0, :1], padding=1),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x.reshape(1, 1, 3, 5), x.reshape(1, 1, 3, 5)),
}
FULL = {
    "pow": lambda x: x**2, "power of tensors": lambda x: x**x, "rpow": lambda x: 2**x, "square": lambda x: x.square(),
    "rdiv": lambda x: 1 / x, "reciprocal": lambda x: x.reciprocal(), "rsqrt": lambda x: x.rsqrt(),
    "exp": lambda x: x.exp(), "expm1": lambda x: x.expm1(), "log": lambda x: x.log(), "log1p": lambda x: x.log1p(),
    "log2": lambda x: x.log2(), "log10": lambda x: x.log10(), "softplus": lambda x: F.softplus(x),
    "sum": lambda x: x.sum(), "prod": lambda x: x.prod(), "norm": lambda x: x.norm(), "cumsum": lambda x: x.cumsum(0),
    "cumprod": lambda x: x.cumprod(0), "softmax": lambda x: x.softmax(1), "log_softmax": lambda x: x.log_softmax(1),
    "logsumexp": lambda x: x.logsumexp(1), "layer_norm": lambda x: F.layer_norm(x, (5,), minidl.ones(5), minidl.zeros(5)),
    "group_norm": lambda x: F.group_norm(x.reshape(1, 3, 5), 3, minidl.ones(3)), "normalize": lambda x: F.normalize(x),
    "interpolate": lambda x: F.interpolate(x.reshape(1, 1, 3, 5), (2, 2)),
    "mse_loss": lambda x: F.mse_loss(x, TARGET), "l1_loss": lambda x: F.l1_loss(x, TARGET),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, TARGET), "huber_loss": lambda x: F.huber_loss(x, TARGET),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(x, TARGET),
    "binary_cross_entropy_with_logits": lambda x: F.binary_cross_entropy_with_logits(x, TARGET),
    "hinge_embedding_loss": lambda x: F.hinge_embedding_loss(x, minidl.where(TARGET > 0.5, 1, -1)),
    "kl_div": lambda x: F.kl_div(x, TARGET), "cross_entropy": lambda x: F.cross_entropy(x, LABELS),
    "nll_loss": lambda x: F.nll_loss(x, LABELS), "multi_margin_loss": lambda x: F.multi_margin_loss(x, LABELS),
}
AS_GIVEN = {
    "add": lambda x: x + x, "mul": lambda x: x * 2.0, "div": lambda x: x / 3, "sqrt": lambda x: x.sqrt(), "relu": F.relu,
    "tanh": lambda x: x.tanh(), "sigmoid": lambda x: x.sigmoid(), "gelu": F.gelu, "silu": F.silu, "mean": lambda x: x.mean(),
    "var": lambda x: x.var(), "max": lambda x: x.max(1).values, "max_pool2d": lambda x: F.max_pool2d(x.reshape(1, 3, 5), 2),
    "avg_pool2d": lambda x: F.avg_pool2d(x.reshape(1, 3, 5), 2), "dropout": F.dropout,
    "outer": lambda x: minidl.outer(x[0], x[1]),
    "batch_norm": lambda x: F.batch_norm(x, minidl.zeros(5), minidl.ones(5), minidl.ones(5), training=True),
    "local_response_norm": lambda x: F.local_response_norm(x.reshape(1, 3, 5), 2),
    "cat": lambda x: minidl.cat([x, x]), "dot": lambda x: minidl.dot(x[0], x[1]),
    "scatter_add": lambda x: x.scatter_add(0, minidl.tensor([[0] * 5]), x),
}
CASES = [(name, f, rule) for rule, table in (("low", LOW), ("full", FULL), ("given", AS_GIVEN)) for name, f in table.items()]


@pytest.mark.parametrize("low", ["float16", "bfloat16"])
@pytest.mark.parametrize("given", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(("name", "function", "rule"), CASES, ids=[name for name, *_ in CASES])
def test_dtypes(name, function, rule, given, low):
    x = minidl.tensor(np.random.default_rng(0).uniform(0.2, 0.8, (3, 5)), dtype=given)
    with minidl.autocast(DEVICE, low):
        y = function(x)
    assert y.dtype.name == {"low": low, "full": "float32", "given": given}[rule]
    assert function(x.float()).dtype == minidl.float32  # outside nothing is cast


def test_widest():
    half, brain, single = (minidl.ones(3, dtype=dtype) for dtype in ("float16", "bfloat16", "float32"))
    with minidl.autocast(DEVICE, "float16"):
        assert minidl.dot(half, single).dtype == minidl.dot(half, brain).dtype == minidl.float32
        assert half.scatter_add(0, minidl.tensor([1]), single).dtype == minidl.float32
        assert minidl.cat([half, single]).dtype == minidl.stack([brain, single]).dtype == (half + single).dtype == minidl.float32


def test_doubles_and_integers_are_left_alone():
    x, n = minidl.ones(2, 2, dtype="float64"), minidl.ones(2, 2, dtype="int64")
    with minidl.autocast(DEVICE, "float16"):
        assert (x @ x).dtype == x.exp().dtype == minidl.float64 and n.sum().dtype == (n @ n).dtype == minidl.int64


def test_another_device_is_left_alone():
    with minidl.autocast(OTHER, "float16"):
        assert (minidl.ones(2, 2) @ minidl.ones(2, 2)).dtype == minidl.float32


def test_keywords_are_cast_too():
    with minidl.autocast(DEVICE, "bfloat16"):
        assert F.linear(input=minidl.ones(2, 3), weight=minidl.ones(4, 3), bias=minidl.ones(4)).dtype == minidl.bfloat16
        assert minidl.cross_entropy(input=minidl.ones(1, 3).half(), target=minidl.tensor([1])).dtype == minidl.float32


def net():
    minidl.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 20),
                         nn.LayerNorm(20), nn.Softplus(), nn.Linear(20, 5))


def gradients(model, x, labels, **options):
    model.zero_grad()
    with minidl.autocast(DEVICE, **options):
        loss = F.cross_entropy(model(x), labels)
    loss.backward()
    return loss.item(), [p.grad.numpy().copy() for p in model.parameters()]


@pytest.mark.parametrize(("low", "tolerance"), [("float16", 0.01), ("bfloat16", 0.08)])
def test_gradients_are_those_of_float32_in_the_dtype_of_the_parameters(low, tolerance):
    model, x, labels = net(), minidl.randn(6, 1, 8, 8), minidl.tensor([0, 1, 2, 3, 4, 0])
    exact_loss, exact = gradients(model, x, labels, enabled=False)
    loss, found = gradients(model, x, labels, dtype=low)
    assert loss == pytest.approx(exact_loss, rel=tolerance) and loss != exact_loss
    assert all(g.dtype == np.float32 for g in found)
    found, exact = (np.concatenate([g.ravel() for g in gs]) for gs in (found, exact))
    assert 0 < np.linalg.norm(found - exact) <= tolerance * np.linalg.norm(exact)  # some ten roundings of 2^-11 or 2^-8


def test_backward_inside_computes_the_same_bits():
    model, x, labels = net(), minidl.randn(6, 1, 8, 8), minidl.tensor([0, 1, 2, 3, 4, 0])
    outside = gradients(model, x, labels)[1]
    model.zero_grad()
    with minidl.autocast(DEVICE):
        F.cross_entropy(model(x), labels).backward()
        assert minidl.is_autocast_enabled(DEVICE)
    for g, p in zip(outside, model.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), g)


def test_second_derivatives():
    w = minidl.tensor([[0.5, -0.3], [0.2, 0.7]], requires_grad=True)
    with minidl.autocast(DEVICE):
        loss = (w @ w).exp().sum()
        (g,) = minidl.autograd.grad(loss, w, create_graph=True)
        (h,) = minidl.autograd.grad((g * g).sum(), w)
    (exact,) = minidl.autograd.grad((w @ w).exp().sum(), w, create_graph=True)
    (second,) = minidl.autograd.grad((exact * exact).sum(), w)
    assert g.dtype == h.dtype == minidl.float32
    np.testing.assert_allclose(h.numpy(), second.numpy(), rtol=0.03)  # a few roundings of 2^-8


def test_nesting_and_defaults():
    x, default = minidl.ones(2, 2), DEFAULTS[DEVICE]
    other_than_default = "bfloat16" if default == "float16" else "float16"
    with minidl.autocast(DEVICE):
        assert (x @ x).dtype == minidl.get_autocast_dtype(DEVICE) == default
        with minidl.autocast(DEVICE, enabled=False):
            assert (x @ x).dtype == minidl.float32 and not minidl.is_autocast_enabled(DEVICE)
            with minidl.autocast(DEVICE, other_than_default):
                assert (x @ x).dtype == other_than_default
        with minidl.autocast(OTHER):
            assert minidl.is_autocast_enabled(OTHER) and minidl.get_autocast_dtype(OTHER) == DEFAULTS[OTHER]
            assert (x @ x).dtype == default
        assert not minidl.is_autocast_enabled(OTHER)
    assert mode.autocast is None and (x @ x).dtype == minidl.float32


def test_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), minidl.autocast(DEVICE):
        _ = 1 / 0
    assert mode.autocast is None


def test_one_object_within_itself():
    context = minidl.autocast(DEVICE, "float16")
    with context, context:
        pass
    assert mode.autocast is None


def test_decorator_recursion_and_threads():
    barrier, seen = threading.Barrier(2, timeout=60), []

    @minidl.autocast(DEVICE, "float16")
    def forward(depth):
        """Of this name."""
        if depth:
            return forward(depth - 1)
        barrier.wait()
        seen.append(minidl.is_autocast_enabled(DEVICE))
        barrier.wait()
        return (minidl.ones(2, 2) @ minidl.ones(2, 2)).dtype

    def run():
        seen.append(forward(2) == minidl.float16 and mode.autocast is None)

    assert forward.__doc__ == "Of this name."
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 4


def test_other_threads_are_left_alone():
    seen = []
    with minidl.autocast(DEVICE):
        thread = threading.Thread(target=lambda: seen.append((minidl.ones(2, 2) @ minidl.ones(2, 2)).dtype))
        thread.start()
        thread.join()
    assert seen == [minidl.float32]


def test_errors():
    with pytest.raises(DeviceError, match="choose one of cuda, cpu"):
        minidl.autocast("tpu")
    for dtype in ("float32", "float64", "int16"):
        with pytest.raises(DtypeError, match="float16 or bfloat16"):
            minidl.autocast(DEVICE, dtype)


# The cache


def count_casts(function):
    from minidl.ops.cast import Cast

    made = []
    plain = Cast.forward

    def counting(self, x):
        made.append(x)
        return plain(self, x)

    Cast.forward = counting
    try:
        function()
    finally:
        Cast.forward = plain
    return len(made)


@pytest.mark.parametrize(("cache_enabled", "expected"), [(None, 1), (True, 1), (False, 3)])
def test_a_parameter_is_cast_once(cache_enabled, expected):
    x, w = minidl.ones(2, 3, dtype="float16"), minidl.ones(3, 4, requires_grad=True)

    def use():
        with minidl.autocast(DEVICE, "float16", cache_enabled=cache_enabled):
            total = sum((x @ w).float() for _ in range(3)).sum()
        total.backward()

    casts = count_casts(use) - 3 - expected  # those of .float(), and of the gradients of the casts
    np.testing.assert_array_equal(w.grad.numpy(), np.full((3, 4), 6.0))
    assert casts == 3 + expected


def test_casts_are_forgotten_afterwards_and_kept_in_nested_blocks():
    x, w = minidl.ones(2, 3, dtype="float16"), minidl.ones(3, 4, requires_grad=True)

    def use():
        with minidl.autocast(DEVICE, "float16"):
            _ = x @ w
            with minidl.autocast(DEVICE, "float16"):
                _ = x @ w
            with minidl.autocast(DEVICE, "float16", cache_enabled=False):
                _ = x @ w

    assert count_casts(use) == 2
    assert count_casts(use) == 2


@pytest.mark.parametrize("change", [lambda w: w.mul_(2.0), lambda w: setattr(w, "data", minidl.full((3, 4), 2.0))])
def test_a_changed_parameter_is_cast_again(change):
    x, w = minidl.ones(2, 3), minidl.ones(3, 4, requires_grad=True)
    with minidl.autocast(DEVICE, "float16"):
        before = (x @ w)[0, 0].item()
        with minidl.no_grad():
            change(w)
        after = (x @ w)[0, 0].item()
    assert (before, after) == (3.0, 6.0)


def test_what_was_cast_without_recording_is_cast_again_for_gradients():
    x, w = minidl.ones(2, 3), minidl.ones(3, 4, requires_grad=True)
    with minidl.autocast(DEVICE, "float16"):
        with minidl.no_grad():
            _ = x @ w
        y = (x @ w).sum()
    y.backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.full((3, 4), 2.0))


def test_two_dtypes_of_one_parameter():
    x, w = minidl.ones(2, 3), minidl.ones(3, 4, requires_grad=True)
    with minidl.autocast(DEVICE, "float16"):
        assert (x @ w).dtype == minidl.float16
        with minidl.autocast(DEVICE, "bfloat16"):
            assert (x @ w).dtype == minidl.bfloat16


def test_several_backward_passes_in_one_block():
    x, w = minidl.ones(2, 3), minidl.ones(3, 4, requires_grad=True)
    with minidl.autocast(DEVICE, "float16"):
        (x @ w).sum().backward()
        (x @ w).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.full((3, 4), 4.0))


def test_checkpointed_parts_run_again_in_the_same_precision():
    model, x, labels = net(), minidl.randn(6, 1, 8, 8), minidl.tensor([0, 1, 2, 3, 4, 0])
    plain = gradients(model, x, labels)

    def checkpointed(x):
        return checkpoint(model, x)

    model.zero_grad()
    with minidl.autocast(DEVICE):
        loss = F.cross_entropy(checkpointed(x), labels)
    loss.backward()
    assert loss.item() == plain[0] and mode.autocast is None
    for p, g in zip(model.parameters(), plain[1], strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), g)
