"""GradScaler: what it does to losses, gradients and steps, how the scale moves, and the order of calls."""

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.amp import GradScaler
from minidl.errors import CheckpointError, DeviceError, DtypeError, GraphError, UsageError
from minidl.kernels import kernel
from minidl.nn import functional as F
from tests.checks import DEVICE

INF, NAN = float("inf"), float("nan")


def step(scaler, w, optimizer, gradient):
    """One iteration whose unscaled gradient is given."""
    optimizer.zero_grad()
    scaler.scale((w * minidl.tensor(gradient)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def pair(**options):
    w = minidl.tensor([1.0, 2.0], requires_grad=True)
    return w, optim.SGD([w], 0.5), GradScaler(DEVICE, **options)


def test_a_step_is_that_of_the_unscaled_loss():
    w, optimizer, scaler = pair(init_scale=2.0**10)
    step(scaler, w, optimizer, [0.5, -1.0])
    assert w.tolist() == [0.75, 2.5] and w.grad.tolist() == [0.5, -1.0]


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
def test_a_step_along_an_infinite_gradient_is_left_out(bad):
    w, optimizer, scaler = pair(init_scale=4.0)
    step(scaler, w, optimizer, [0.5, bad])
    assert w.tolist() == [1.0, 2.0] and scaler.get_scale() == 2.0
    step(scaler, w, optimizer, [0.5, 1.0])
    assert w.tolist() == [0.75, 1.5] and scaler.get_scale() == 2.0


def test_overflow_of_the_scaled_gradient_alone():
    w, optimizer, scaler = pair(init_scale=2.0**120)
    step(scaler, w, optimizer, [2.0**10, 0.0])
    assert w.tolist() == [1.0, 2.0] and scaler.get_scale() == 2.0**119


def test_the_scale_grows_after_good_steps_in_a_row():
    w, optimizer, scaler = pair(init_scale=8.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=3)
    scales = []
    for gradient in (1.0, 1.0, 1.0, 1.0, INF, 1.0, 1.0, 1.0):
        step(scaler, w, optimizer, [gradient, 0.0])
        scales.append(scaler.get_scale())
    assert scales == [8, 8, 32, 32, 8, 8, 8, 32]


def test_the_scale_never_becomes_infinite():
    w, optimizer, scaler = pair(init_scale=2.0**127, growth_interval=1)
    step(scaler, w, optimizer, [2.0**-126, 0.0])
    assert scaler.get_scale() == 2.0**127 and w[0].item() == np.float32(1.0)


def test_a_scale_whose_inverse_is_denormal():
    w, optimizer, scaler = pair(init_scale=2.0**127)
    scaler.scale((w * 2.0**-120).sum()).backward()
    scaler.unscale_(optimizer)
    assert w.grad.tolist() == [2.0**-120] * 2


def test_unscaled_gradients_can_be_clipped():
    w, optimizer, scaler = pair()
    scaler.scale((w * minidl.tensor([3.0, 4.0])).sum()).backward()
    scaler.unscale_(optimizer)
    assert w.grad.tolist() == [3.0, 4.0]
    nn.utils.clip_grad_norm_([w], 1.0)
    scaler.step(optimizer)
    np.testing.assert_allclose(w.tolist(), [1 - 0.3, 2 - 0.4], rtol=1e-6)


def test_several_optimizers_share_one_scale():
    a, b = minidl.tensor([1.0], requires_grad=True), minidl.tensor([1.0], requires_grad=True)
    first, second, scaler = optim.SGD([a], 1.0), optim.SGD([b], 1.0), GradScaler(DEVICE, init_scale=16.0)
    scaler.scale((a * 0.25 + b * INF).sum()).backward()
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert a.tolist() == [0.75] and b.tolist() == [1.0] and scaler.get_scale() == 8.0


def test_several_losses_in_lists_and_tuples():
    scaler = GradScaler(DEVICE, init_scale=2.0)
    x = minidl.tensor(3.0)
    assert scaler.scale([x, (x, x * 2)]) == [6.0, (6.0, 12.0)]
    assert [y.item() for y in scaler.scale(y for y in (x, x))] == [6.0, 6.0]
    with pytest.raises(TypeError, match="takes tensors"):
        scaler.scale(3.0)


def test_a_half_precision_loss_is_scaled_in_float32():
    loss = minidl.tensor(3.0, dtype="float16", requires_grad=True)
    scaled = GradScaler(DEVICE).scale(loss)
    assert scaled.dtype == minidl.float32 and scaled.item() == 3 * 2.0**16


def test_disabled():
    w = minidl.tensor([1.0], requires_grad=True)
    optimizer, scaler = optim.SGD([w], 0.5), GradScaler(enabled=False)
    loss = w.sum()
    assert scaler.scale(loss) is loss and not scaler.is_enabled() and scaler.get_scale() == 1.0 and scaler.state_dict() == {}
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    scaler.load_state_dict({})
    assert w.tolist() == [0.5]


def test_the_result_of_step_is_the_optimizers():
    class Counting(optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            return 7.0

    w = minidl.tensor([1.0], requires_grad=True)
    optimizer, scaler = Counting([w], 0.5), GradScaler(DEVICE)
    scaler.scale(w.sum()).backward()
    assert scaler.step(optimizer) == 7.0
    scaler.update()
    w.grad = minidl.tensor([INF])
    assert scaler.step(optimizer) is None


# Order


def test_nothing_scaled_yet():
    _, optimizer, scaler = pair()
    for call in (lambda: scaler.unscale_(optimizer), lambda: scaler.step(optimizer), scaler.update):
        with pytest.raises(GraphError, match="nothing was scaled"):
            call()


def test_wrong_order():
    w, optimizer, scaler = pair()
    scaler.scale(w.sum()).backward()
    with pytest.raises(GraphError, match=r"call step\(optimizer\) first"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(GraphError, match="was unscaled before"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(GraphError, match="was stepped before"):
        scaler.unscale_(optimizer)
    with pytest.raises(GraphError, match="was stepped before"):
        scaler.step(optimizer)
    scaler.update()
    scaler.scale(w.sum()).backward()
    scaler.step(optimizer)


def test_no_gradients():
    w, optimizer, scaler = pair()
    scaler.scale(w.sum())
    with pytest.raises(GraphError, match="no parameter"):
        scaler.step(optimizer)


def test_float16_parameters_are_refused():
    w = minidl.tensor([1.0], dtype="float16", requires_grad=True)
    optimizer, scaler = optim.SGD([w], 0.5), GradScaler(DEVICE, init_scale=2.0)
    scaler.scale(w.sum()).backward()
    with pytest.raises(DtypeError, match="float32"):
        scaler.unscale_(optimizer)


@pytest.mark.parametrize("options", [{"growth_factor": 1.0}, {"growth_factor": NAN}, {"backoff_factor": 1.0},
                                     {"backoff_factor": 0.0}])
def test_odd_factors(options):
    with pytest.raises(UsageError, match="factor"):
        GradScaler(DEVICE, **options)


@pytest.mark.parametrize(("build", "error", "message"), [
    (lambda: GradScaler(1024.0), UsageError, "first argument is a device, got 1024.0: write init_scale=1024.0"),
    (lambda: GradScaler("gpu"), DeviceError, "unknown device 'gpu'"),
    (lambda: GradScaler(init_scale=-1), UsageError, "scale must be positive and finite, got -1"),
    (lambda: GradScaler(init_scale=INF), UsageError, "scale must be positive"),
    (lambda: GradScaler(init_scale=NAN), UsageError, "scale must be positive"),
    (lambda: GradScaler(growth_interval=0), UsageError, "interval must be a positive whole number, got 0"),
    (lambda: GradScaler(growth_interval=2.5), UsageError, "interval must be a positive whole number, got 2.5"),
    (lambda: GradScaler().load_state_dict({"scale": 2.0, "growth_factor": 2.0}), CheckpointError,
     "state, of scale, growth_factor, lacks backoff_factor, growth_interval, _growth_tracker"),
])
def test_odd_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_an_odd_scale_by_hand_changes_nothing():
    w, optimizer, scaler = pair(init_scale=8.0)
    scaler.scale(w.sum()).backward()
    with pytest.raises(UsageError, match="scale must be positive"):
        scaler.update(0.0)
    assert scaler.get_scale() == 8.0


def test_closures_are_refused():
    w, optimizer, scaler = pair()
    scaler.scale(w.sum()).backward()
    for call in (lambda: scaler.step(optimizer, closure=w.sum), lambda: scaler.step(optimizer, w.sum)):
        with pytest.raises(UsageError, match="closure"):
            call()


# State


def test_state_continues():
    w, optimizer, scaler = pair(init_scale=8.0, growth_interval=3)
    step(scaler, w, optimizer, [1.0, 1.0])
    state = scaler.state_dict()
    assert state == {"scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 3, "_growth_tracker": 1}
    for used in (False, True):
        other = GradScaler(DEVICE)
        if used:
            step(other, w, optimizer, [1.0, 1.0])
        other.load_state_dict(state)
        assert other.state_dict() == state
        for expected in (8.0, 16.0):
            step(other, w, optimizer, [1.0, 1.0])
            assert other.get_scale() == expected


@pytest.mark.parametrize(("name", "value", "message"), [
    ("scale", "x", "scale must be positive and finite, got x"), ("scale", NAN, "scale must be"), ("scale", -1.0, "scale must be"),
    ("growth_factor", "x", "growth factor must be greater than 1, got x"), ("growth_factor", 0.5, "growth factor"),
    ("backoff_factor", None, "backoff factor must lie between 0 and 1, got None"), ("growth_interval", 0, "interval must be"),
    ("_growth_tracker", "x", "count of good steps must be a whole number from 0 on, got"), ("_growth_tracker", -1, "good steps")])
def test_an_odd_state_changes_nothing(name, value, message):
    w, optimizer, scaler = pair(init_scale=8.0, growth_interval=3)
    for _ in range(2):  # unused and used
        before = scaler.state_dict()
        other = {"scale": 4.0, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 5, "_growth_tracker": 2}
        with pytest.raises(UsageError, match=message):
            scaler.load_state_dict({**other, name: value})
        assert scaler.state_dict() == before
        step(scaler, w, optimizer, [1.0, 1.0])


def test_a_scale_that_fell_to_zero_can_be_saved():
    w, optimizer, scaler = pair(init_scale=1e-45)
    step(scaler, w, optimizer, [INF, 1.0])
    state = scaler.state_dict()
    other = GradScaler(DEVICE)
    other.load_state_dict(state)
    assert other.state_dict() == state and state["scale"] == 0.0


def test_a_scale_may_be_a_tensor_and_becomes_a_number():
    assert type(GradScaler(DEVICE, init_scale=minidl.tensor(8.0)).state_dict()["scale"]) is float


def test_state_of_one_that_was_not_enabled():
    with pytest.raises(CheckpointError, match="empty"):
        GradScaler(DEVICE).load_state_dict(GradScaler(enabled=False).state_dict())


def test_setters_and_a_scale_by_hand():
    w, optimizer, scaler = pair()
    scaler.set_growth_factor(3.0)
    scaler.set_backoff_factor(0.1)
    scaler.set_growth_interval(1)
    assert (scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()) == (3.0, 0.1, 1)
    scaler.scale(w.sum()).backward()
    for value in (4.0, minidl.tensor(4.0), minidl.tensor([4.0])):
        scaler.update(value)
        assert scaler.get_scale() == 4.0 and scaler._scale.shape == ()
    step(scaler, w, optimizer, [1.0, 1.0])
    assert scaler.get_scale() == 12.0


def test_scale_counter_and_findings_stay_in_arrays():
    """What a captured step needs: the same buffers all along, and one look at them in each step."""
    w, optimizer, scaler = pair(init_scale=8.0, growth_interval=1)
    step(scaler, w, optimizer, [1.0, 1.0])
    scale, tracker = scaler._scale.array, scaler._growth_tracker.array
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    (found,) = scaler._progress[id(optimizer)].found_inf.values()
    assert found.shape == () and found.dtype == np.float32 and found == 0
    scaler.step(optimizer)
    scaler.update()
    assert scaler._scale.array is scale and scaler._growth_tracker.array is tracker and scale == 32.0


# Kernels


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
def test_unscale(shape, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    wide = np.zeros([2 * n for n in shape], minidl.dtypes.as_dtype(dtype))
    g = wide[(*[slice(None, None, 2)] * len(shape), ...)]
    g[...] = np.arange(g.size).reshape(shape)
    expected = g.astype(np.float64) / 4
    found = np.zeros((), np.float32)
    kernel("unscale_each", g)([g], np.array(4, np.float32), found)
    np.testing.assert_array_equal(g.astype(np.float64), expected)
    assert found == 0 and (wide[1::2] == 0).all() if shape else found == 0
    if g.size:
        for bad in (INF, -INF, NAN):
            g[...], found[...] = 1, 0
            g[(-1,) * g.ndim] = bad
            kernel("unscale_each", g)([g], np.array(4, np.float32), found)
            assert found == 1
        g[...] = 1
        kernel("unscale_each", g)([g], np.array(4, np.float32), found)
        assert found == 1  # as it was found before


def test_update_scale():
    random = np.random.default_rng(0)
    scale, tracker = np.array(2.0**120, np.float32), np.array(0, np.int32)
    expected, count = 2.0**120, 0
    for found in random.random(300) < 0.1:
        kernel("update_scale", scale)(scale, tracker, np.array(2.0 * found, np.float32), 4.0, 0.5, 3)  # 2: in two optimizers
        if found:
            expected, count = expected / 2, 0
        else:
            count += 1
            if count == 3:
                expected, count = expected * 4 if expected * 4 < 2.0**128 else expected, 0
        assert scale == expected and tracker == count


def test_small_gradients_survive():
    """A gradient of 2^-30 is 0 in float16, and is not if the loss was multiplied by 2^16."""
    x, scaler = minidl.tensor([[2.0**-15]]), GradScaler(DEVICE)
    found = []
    for scale in (lambda y: y, scaler.scale):
        w = minidl.tensor([[1.0]], requires_grad=True)
        with minidl.autocast(DEVICE, "float16"):
            y = F.linear(x, w)
        scale((y.float() * 2.0**-15).sum()).backward()
        found.append(w.grad.item())
    assert found == [0.0, 2.0**-14]
