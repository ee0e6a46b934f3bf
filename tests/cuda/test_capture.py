"""Captured steps against the same steps without: the same bits. On a GPU or the stand-in for one: ``pytest --device pretend``."""

import dataclasses
import functools
import gc
import weakref

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.amp import GradScaler
from minidl.cuda.graph import _Block
from minidl.errors import CaptureError, DeviceError, UsageError
from minidl.kernels import precision, recording
from minidl.kernels.constants import changed, constant, derived, unchanging
from minidl.kernels.cuda import conv_tensor
from minidl.random import default_generator

pytestmark = pytest.mark.skipif(not minidl.cuda.is_available(), reason="run with --device pretend, or cuda")
CLASSES, SHAPE = 3, (4, 1, 6, 7)
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1), "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True), "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5), "Adadelta": lambda p: optim.Adadelta(p),
}


def on_gpu(array):
    return minidl.tensor(array, device="cuda")


def images(seed, shape=SHAPE):
    random = np.random.default_rng(seed)
    return on_gpu(random.standard_normal(shape, np.float32)), on_gpu(random.integers(0, CLASSES, shape[0]))


def network():
    """A small LeNet with dropout."""
    minidl.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.4),
                         nn.Linear(2 * 2 * 2, CLASSES)).to("cuda")


def training(model, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def trained(build, wrap, steps=5):
    """Losses, parameters, step counts and the place in the random stream after some steps, with another rate at each."""
    model = network()
    optimizer = build(model.parameters())
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    step = wrap(training(model, optimizer))
    losses = []
    for seed in range(steps):
        losses.append(step(*images(seed)).item())
        schedule.step()
    counts = [state.get("step") for state in optimizer.state.values()]
    return losses, [p.cpu().tolist() for p in model.parameters()], counts, minidl.get_rng_state()


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_is_the_same_to_the_last_bit(build):
    captured, plain = trained(build, minidl.capture), trained(build, recording.recordable())
    assert captured == plain
    assert len(set(plain[0])) == len(plain[0]), "steps that differ"


def test_masks_of_dropout_are_those_of_the_cpu():
    x = np.ones((5, 7), np.float32)

    def masks(x, step):
        minidl.manual_seed(11)
        found = [step(x).cpu().tolist() for _ in range(3)]
        minidl.manual_seed(11)  # also between replays
        return [*found, step(x).cpu().tolist()], minidl.get_rng_state()

    def step(x):
        return nn.functional.dropout(x, 0.5) + minidl.rand_like(x)

    on_cpu = masks(minidl.tensor(x, device="cpu"), step)
    assert masks(on_gpu(x), step) == on_cpu
    captured = minidl.capture(step)
    assert masks(on_gpu(x), captured) == on_cpu
    assert masks(on_gpu(x), captured) == on_cpu, "all from the recording"
    assert on_cpu[0][0] == on_cpu[0][3] != on_cpu[0][1]


def test_options_that_are_set_by_hand_are_followed():
    p = on_gpu(np.zeros(3, np.float32)).requires_grad_()
    optimizer = optim.SGD([p], lr=1.0, weight_decay=0.0)

    @minidl.capture
    def step(g):
        p.grad = g * 1
        optimizer.step()

    for lr, maximize in ((1.0, False), (1.0, False), (0.5, False), (4.0, True)):
        optimizer.param_groups[0].update(lr=lr, maximize=maximize)
        assert step(on_gpu(np.ones(3, np.float32))) is None
    assert p.tolist() == [-1 - 1 - 0.5 + 4] * 3


def test_steps_are_left_out_by_a_number_on_the_device():
    p = on_gpu(np.zeros(2, np.float32)).requires_grad_()
    optimizer = optim.Adam([p], lr=1.0)

    @minidl.capture
    def step(g, found_inf):
        p.grad, optimizer.found_inf = g * 1, found_inf.array
        optimizer.step()

    seen = []
    for found_inf in (0, 0, 1, 0):
        step(on_gpu(np.ones(2, np.float32)), on_gpu(np.float32(found_inf)))
        seen.append(round(p.tolist()[0], 3))
    assert seen == [-1, -2, -2, seen[3]] and seen[3] < -2.5


def test_the_loss_scale_lives_on_the_device():
    def run(wrap):
        w = on_gpu(np.ones(3, np.float32)).requires_grad_()
        optimizer, scaler = optim.SGD([w], lr=0.1, momentum=0.9), GradScaler(init_scale=4.0, growth_interval=2)

        @wrap
        def step(x):
            optimizer.zero_grad()
            scaler.scale((w * x).sum()).backward()
            scaler.step(optimizer)
            scaler.update()

        seen = []
        for value in (1.0, 2.0, np.inf, 0.5, 1.5, np.nan, 1.0, 1.0):
            step(on_gpu(np.full(3, value, np.float32)))
            seen.append((w.tolist(), scaler.get_scale()))
        return seen

    captured = run(minidl.capture)
    assert captured == run(lambda step: step)
    assert captured[2][0] == captured[1][0] and [scale for _, scale in captured] == [4, 8, 4, 4, 8, 4, 4, 8]


def test_other_shapes_and_values_have_recordings_of_their_own():
    calls = []

    @minidl.capture
    def step(x, factor=2, *, shift=0):
        calls.append(x.shape)
        return x * factor + shift

    for _ in range(3):
        for n in (2, 5):
            for factor in (2, 3):
                x = np.arange(n, dtype=np.float32)
                assert step(on_gpu(x), factor, shift=1).tolist() == (x * factor + 1).tolist()
    assert len(calls) == 2 * 4  # twice for each: a first call and a recording
    assert step(on_gpu(np.arange(2)), 2, shift=1).dtype == minidl.int64


def test_results_keep_their_form_and_share_the_memory_of_the_recording():
    step = minidl.capture(lambda x: {"double": x * 2, "pair": (x + 1, [x - 1]), "name": "x"})
    for value in (1.0, 2.0, 3.0, 4.0):
        found = step(on_gpu(np.full(2, value, np.float32)))
        assert found["double"].tolist() == [2 * value] * 2 and found["pair"][0].tolist() == [value + 1] * 2
        assert found["pair"][1][0].tolist() == [value - 1] * 2 and found["name"] == "x"
        if value == 3:
            before = found["double"]
    assert before.tolist() == [8, 8] and before.array is found["double"].array


def test_results_are_detached_on_both_devices():
    w = on_gpu(np.ones(2, np.float32)).requires_grad_()
    v = minidl.ones(2, device="cpu", requires_grad=True)
    assert not minidl.capture(lambda x: x * w)(on_gpu(np.ones(2, np.float32))).requires_grad
    assert not minidl.capture(lambda x: x * v)(minidl.ones(2, device="cpu")).requires_grad


def test_on_the_cpu_every_call_runs_as_it_is():
    calls = []
    step = minidl.capture(lambda x: calls.append(x.sum().item()))
    for n in range(3):
        step(minidl.ones(n, device="cpu"))
    assert calls == [0, 1, 2]
    assert minidl.capture(lambda: 7)() == 7


def test_a_captured_step_within_another_is_part_of_it():
    double = minidl.capture(lambda x: x * 2)
    step = minidl.capture(lambda x: double(x) + 1)
    for value in (1.0, 2.0, 3.0):
        assert step(on_gpu(np.array([value]))).tolist() == [2 * value + 1]


def host_number(x):
    return x * x.sum().item()


def host_branch(x):
    return x if (x > 0).all() else -x


def host_mask(x):
    return x[x > 0]


def moved(x):
    return x + minidl.ones(2, device="cpu").to("cuda")


def pinned_and_sent(x):
    return x + minidl.ones(2, device="cpu").pin_memory().to("cuda", non_blocking=True)


@functools.cache
def pinned():
    return minidl.ones(2, device="cpu").pin_memory()


def sent_from_pinned_memory(x):
    return x + pinned().to("cuda", non_blocking=True)


def waits(x):
    minidl.cuda.load.load_cupy().cuda.get_current_stream().synchronize()
    return x


def reads_once_more(x):
    try:
        waits(x)
    except RuntimeError:
        return x * x.sum().item()


def drawn_on_cpu(x):
    return x + default_generator.uniform()


def reseeded(x):
    minidl.manual_seed(0)
    return x


def multiplied_by_cublas(x):
    matrix = x.array[:, None] + x.array  # of two vectors CuPy makes a sum instead
    return minidl.Tensor(matrix @ matrix)


def result_on_cpu(x):
    return minidl.ones(2, device="cpu")


@pytest.mark.parametrize("function, message", [
    (host_number, r"test_capture.py:\d+: `return x \* x.sum\(\).item\(\)` cannot be recorded: it waits for the GPU"),
    (host_branch, r"`return x if \(x > 0\).all\(\) else -x` cannot be recorded: it waits for the GPU"),
    (host_mask, r"`return x\[x > 0\]` cannot be recorded: it waits for the GPU"),
    (moved, r"`return x \+ minidl.ones\(.*\)`, in the op Move, cannot be recorded: memory of the CPU is copied"),
    (pinned_and_sent, r"pin_memory\(\).*` cannot be recorded: memory of the CPU is copied"),
    (sent_from_pinned_memory, r"pinned\(\).*, in the op Move, cannot be recorded: memory of the CPU is copied"),
    (waits, r"synchronize\(\)` cannot be recorded: it waits for the GPU"),
    (reads_once_more, r"`return x \* x.sum\(\).item\(\)`, in the op Sum, cannot be recorded: it waits for the GPU"),
    (drawn_on_cpu, "cannot be recorded: random numbers on the CPU are drawn once"),
    (reseeded, "cannot be recorded: setting the state of a generator"),
    (multiplied_by_cublas, "cannot be recorded: it uses a library that CuPy cannot record .*cuBLAS"),
    (result_on_cpu, "cannot be recorded: a result on the CPU is computed once"),
])
def test_what_cannot_be_recorded_says_where_and_why(function, message):
    step = minidl.capture(function)
    x = on_gpu(np.ones(2, np.float32))
    step(x)
    state = minidl.get_rng_state()
    with pytest.raises(CaptureError, match=message):
        step(x)
    assert minidl.get_rng_state() == state and recording.current() is None
    assert (x + 1).tolist() == [2, 2]
    again = minidl.capture(lambda x: x + minidl.rand_like(x) * 0)
    assert [again(x).tolist() for _ in range(3)] == [[1, 1]] * 3


def test_other_errors_come_out_as_they_are():
    @minidl.capture
    def step(x):
        calls.append(x)
        if len(calls) > 1:
            raise error

    for error in (NotImplementedError("mine"), RuntimeError("mine")):
        calls, x = [], on_gpu(np.ones(2))
        step(x)
        with pytest.raises(type(error), match="^mine$"):
            step(x)
        step._graphs.clear()


def test_a_schedule_belongs_outside():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    train = training(model, optimizer)

    @minidl.capture
    def step(x, y):
        train(x, y)
        schedule.step()

    step(*images(0))
    with pytest.raises(CaptureError, match=r"`schedule.step\(\)` cannot be recorded: a schedule's step"):
        step(*images(0))
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_the_users_own_exception_comes_out_and_nothing_has_happened():
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    train, fail = training(model, optimizer), [False, True, False, False, False]

    @minidl.capture
    def step(x, y):
        loss = train(x, y)
        if fail.pop(0):
            raise KeyError("mine")
        return loss

    step(*images(0))
    before, state = [p.tolist() for p in model.parameters()], minidl.get_rng_state()
    with pytest.raises(KeyError, match="mine"):
        step(*images(1))
    assert [p.tolist() for p in model.parameters()] == before and minidl.get_rng_state() == state
    assert {s["step"] for s in optimizer.state.values()} == {1}
    assert all(np.isfinite(step(*images(seed)).item()) for seed in range(3)) and len(fail) == 2  # recorded in the first of them
    assert {s["step"] for s in optimizer.state.values()} == {4}


def test_state_of_an_optimizer_must_not_be_made_at_every_replay():
    p, late = (on_gpu(np.ones(2, np.float32)).requires_grad_() for _ in range(2))
    optimizer, calls = optim.Adam([p, late]), []

    @minidl.capture
    def step(x):
        calls.append(x)
        for q in (p, late)[: len(calls)]:
            q.grad = x * 1
        optimizer.step()

    step(on_gpu(np.ones(2, np.float32)))
    with pytest.raises(CaptureError, match="`optimizer.step\\(\\)` cannot be recorded: an optimizer makes its state"):
        step(on_gpu(np.ones(2, np.float32)))


def test_an_optimizer_in_python_would_not_follow_its_options():
    class SignDescent(optim.Optimizer):
        def update(self, p, g, group, state):
            p -= group["lr"] * (g > 0)

    p = on_gpu(np.ones(2, np.float32)).requires_grad_()
    optimizer = SignDescent([p], {"lr": 0.5})

    @minidl.capture
    def step(x):
        p.grad = x * 1
        optimizer.step()

    step(on_gpu(np.ones(2, np.float32)))
    with pytest.raises(CaptureError, match="SignDescent changes parameters in Python, with options that would not change"):
        step(on_gpu(np.ones(2, np.float32)))
    assert p.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("replace", [
    lambda model, optimizer: optimizer.load_state_dict(optimizer.state_dict()),
    lambda model, optimizer: setattr(model[0].weight, "data", model[0].weight.data.clone()),
])
def test_parameters_or_state_that_were_replaced_since(replace):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = minidl.capture(training(model, optimizer))
    for seed in range(3):
        step(*images(seed))
    replace(model, optimizer)
    before, state = [p.tolist() for p in model.parameters()], minidl.get_rng_state()
    with pytest.raises(CaptureError, match="capture the step again"):
        step(*images(3))
    assert [p.tolist() for p in model.parameters()] == before and minidl.get_rng_state() == state
    model.load_state_dict(model.state_dict())  # copies in place
    step = minidl.capture(training(model, optimizer))
    for seed in range(3):
        step(*images(seed))


def test_arguments_on_two_devices_with_gradients_or_without_a_hash():
    step, x = minidl.capture(lambda *args: None), on_gpu(np.ones(2))
    with pytest.raises(DeviceError, match=r"shape \(2,\) on cuda:0 and one of shape \(3,\) on cpu"):
        step(x, minidl.ones(3, device="cpu"))
    with pytest.raises(UsageError, match="argument 1 of a captured step requires a gradient"):
        step(x, on_gpu(np.ones(2)).requires_grad_())
    with pytest.raises(UsageError, match="unhashable type: 'set'"):
        step(x, [1, {2}])
    on_cpu = minidl.ones(3, device="cpu")
    with pytest.raises(UsageError, match="argument b of a captured step requires a gradient"):
        step(on_cpu, b={"weights": (minidl.ones(2, device="cpu", requires_grad=True),)})
    with pytest.raises(UsageError, match="unhashable type: 'set'"):
        step(on_cpu, {2})


def test_tensors_within_tuples_lists_and_dicts_are_fed():
    calls = []

    @minidl.capture
    def step(batch, *, scale=None):
        calls.append(batch)
        (x, [y, shift]), options = batch
        return x * scale["by"] + y * options["factor"] + shift

    for value in (1.0, 2.0, 3.0, 4.0):
        x, y, by = (on_gpu(np.full(2, value + i, np.float32)) for i in range(3))
        found = step(((x, [y, 10]), {"factor": 2}), scale={"by": by})
        assert found.tolist() == [value * (value + 2) + (value + 1) * 2 + 10] * 2
    assert len(calls) == 2 and len(step._graphs) == 1
    assert step(((x, [y, 11]), {"factor": 2}), scale={"by": by}).tolist() == [4 * 6 + 5 * 2 + 11] * 2
    assert len(step._graphs) == 2


def test_without_gradients_or_in_another_precision_it_is_another_recording():
    w, seen = on_gpu(np.ones((2, 2), np.float32)).requires_grad_(), []

    @minidl.capture
    def step(x):
        y = x @ w
        seen.append((y.requires_grad, y.dtype.name))
        return y

    x = on_gpu(np.ones((3, 2), np.float32))
    for _ in range(3):
        assert step(x).dtype == np.float32
        with minidl.no_grad():
            assert step(x).dtype == np.float32
        with minidl.amp.autocast("cuda", "float16"):
            assert step(x).dtype == np.float16
    assert seen == [(True, "float32"), (False, "float32"), (True, "float16")] * 2


def test_another_precision_of_float32_products_is_another_recording(monkeypatch):
    monkeypatch.setattr(precision, "_precision", ["highest"])
    seen = []

    @minidl.capture
    def step(x):
        seen.append(minidl.get_float32_matmul_precision())
        return x * 1

    x = on_gpu(np.ones(2, np.float32))
    for asked in ("highest", "high", "highest", "high", "highest"):
        minidl.set_float32_matmul_precision(asked)
        step(x)
    assert seen == ["highest", "high"] * 2


def test_what_autocast_has_cast_outside_is_cast_anew_at_every_replay():
    w = on_gpu(np.ones((2, 2), np.float32)).requires_grad_()
    step = minidl.capture(lambda x: x @ w)
    x = on_gpu(np.ones((3, 2), np.float32))
    with minidl.amp.autocast("cuda", "float16"):
        step(x), step(x)
    for value in (2.0, 3.0):
        w.data.fill_(value)
        with minidl.amp.autocast("cuda", "float16"):
            assert step(x).tolist() == [[2 * value] * 2] * 3


class Scale:
    def __init__(self, factor):
        self.factor, self.calls = on_gpu(np.float32(factor)), 0

    @minidl.capture
    def step(self, x):
        self.calls += 1
        return x * self.factor


def test_a_method_is_captured_for_each_object():
    x, objects = on_gpu(np.ones(2, np.float32)), [Scale(2), Scale(3)]
    for _ in range(3):
        assert [each.step(x).tolist() for each in objects] == [[2, 2], [3, 3]]
    assert [each.calls for each in objects] == [2, 2] and Scale(4).step(x).tolist() == [4, 4]
    assert len(Scale.step._graphs_of) == 2
    del objects
    gc.collect()
    assert not Scale.step._graphs_of and Scale.step(Scale(5), x).tolist() == [5, 5]
    model = nn.Linear(2, 3).to("cuda")
    assert type("Holder", (), {"step": minidl.capture(model)})().step(x).tolist() == model(x).tolist()


@pytest.mark.parametrize("options", [{"frozen": True}, {}], ids=["equal", "without a hash"])
def test_objects_that_are_equal_have_recordings_of_their_own(options):
    @dataclasses.dataclass(**options)
    class Named:
        name: str

        @minidl.capture
        def step(self, x):
            return x * self.factor.pop() if self.factor else x

    x, objects = on_gpu(np.ones(2, np.float32)), [Named("a"), Named("a")]
    for each, factor in zip(objects, (2, 3), strict=True):
        object.__setattr__(each, "factor", [factor, factor])
    for _ in range(3):
        assert [each.step(x).tolist() for each in objects] == [[2, 2], [3, 3]]


def test_attributes_of_the_function_are_not_those_of_the_step():
    def step(x):
        """A step."""
        return x * 2

    step.function = step._graphs = None
    captured = minidl.capture(step)
    for _ in range(3):
        assert captured(on_gpu(np.ones(2, np.float32))).tolist() == [2, 2]
    assert captured.__doc__ == "A step." and captured.__wrapped__ is step


def test_the_memory_of_a_recording_goes_with_it_but_for_gradients_that_are_held():
    model = network()
    step = minidl.capture(training(model, optim.SGD(model.parameters(), lr=0.1)))
    for seed in range(3):
        step(*images(seed))
    (graph,) = step._graphs.values()
    recorded, pool = weakref.ref(graph), graph._pool
    grads = [p.grad.tolist() for p in model.parameters()]
    del graph, step
    gc.collect()
    assert recorded() is None and pool in _Block.pools and pool.used_bytes() > 0
    assert [p.grad.tolist() for p in model.parameters()] == grads
    model.zero_grad()
    gc.collect()
    assert pool not in _Block.pools and pool.total_bytes() == 0


class InCycle:
    def __init__(self):
        self.step = minidl.capture(self.double_and_sum)

    def double_and_sum(self, x):
        return x * 2, x.sum() * x


@pytest.mark.parametrize("made", [lambda: minidl.capture(lambda x: (x * 2, x.sum() * x)), lambda: InCycle().step],
                         ids=["alone", "in a cycle of references"])
def test_the_gpu_gets_the_memory_of_a_recording_back(made):
    def use():
        step = made()
        for _ in range(3):
            step(x)

    def free():
        gc.collect()
        minidl.cuda.empty_cache()
        return minidl.cuda.mem_get_info()[0]

    x = minidl.ones(1 << 20, device="cuda")
    use()  # kernels and constants are there
    before = free()
    use()
    assert free() == before


def test_what_a_recording_reads_is_kept_when_caches_forget_it():
    model = network()
    step = minidl.capture(training(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)))
    for seed in range(2):
        step(*images(seed))
    recording._uploaded.cache_clear()
    gc.collect()
    assert np.isfinite(step(*images(2)).item())


def test_what_a_failed_recording_has_made_of_a_constant_is_not_kept():
    w, x = on_gpu(np.ones(2, np.float32)).array, on_gpu(np.ones(2, np.float32))

    def doubled():
        return derived(w, "doubled", lambda: w * 2)

    @minidl.capture
    def step(x):
        return minidl.Tensor(doubled()) * x.sum().item()

    step(x)
    constant(w)
    with pytest.raises(CaptureError, match="it waits for the GPU"):
        step(x)
    assert doubled().tolist() == [2, 2] and doubled() is doubled()


def test_a_recording_makes_its_own_of_constants_and_keeps_it_within_a_block():
    w, made = on_gpu(np.ones(2, np.float32)).array, []

    def doubled():
        return derived(w, "doubled", lambda: made.append(recording.current()) or w * 2)

    @minidl.capture
    def step(x):
        with unchanging(w):
            return x + minidl.Tensor(doubled()) + minidl.Tensor(doubled())

    constant(w)
    x = on_gpu(np.zeros(2, np.float32))
    assert [step(x).tolist() for _ in range(3)] == [[4, 4]] * 3
    assert len(made) == 2 and made[0] is None and made[1] is not None
    w *= 2  # without a word: eagerly it is the old one
    assert step(x).tolist() == [8, 8] and doubled().tolist() == [2, 2]


def test_what_a_recording_makes_of_a_constant_lasts_as_long_as_the_promise():
    w, made = on_gpu(np.ones(2, np.float32)).array, []

    def doubled():
        return derived(w, "doubled", lambda: made.append(recording.current()) or w * 2)

    @minidl.capture
    def step(x):
        return x + minidl.Tensor(doubled())

    def double(tell=False):
        w.__imul__(2)
        if tell:
            changed(w)
        return step(x).tolist(), len(made)

    constant(w)
    x = on_gpu(np.zeros(2, np.float32))
    assert [(step(x).tolist(), len(made)) for _ in range(4)] == [([2, 2], 1)] + [([2, 2], 3)] * 3  # when called, recorded, filled
    assert made == [None] * 3
    assert double() == ([2, 2], 3)  # without a word: it is the old one, as eagerly
    assert double(tell=True) == ([8, 8], 4)
    assert double() == ([16, 16], 5) and double() == ([32, 32], 6)  # nobody has promised anything since
    constant(w)
    assert double() == ([64, 64], 7) and double() == ([64, 64], 7)


def test_weights_of_a_fused_network_are_packed_once_for_all_replays(monkeypatch):
    conv = nn.Conv2d(8, 6, 3)
    model = nn.Sequential(conv, nn.ReLU()).to("cuda").to(minidl.float16).eval().fuse()
    x, packed = on_gpu(np.ones((2, 8, 5, 4), np.float16)), []
    pack = conv_tensor.weights_last
    monkeypatch.setattr(conv_tensor, "weights_last", lambda w: packed.append(w) or pack(w))

    @minidl.capture
    @minidl.no_grad()
    def infer(x):
        return model(x)

    def packs():
        before = len(packed)
        y, now = infer(x), len(packed)
        assert y.tolist() == nn.functional.conv2d(x, conv.weight.detach().clone(), conv.bias).relu().tolist()
        return now - before

    assert [packs() for _ in range(4)] == [1, 2, 0, 0]  # the second is recorded and replayed
    with minidl.no_grad():
        conv.weight.mul_(2)
    assert packs() == packs() == 1
    model.fuse()
    assert [packs() for _ in range(2)] == [1, 0]


def test_what_is_made_of_a_constant_belongs_to_one_stream():
    w = on_gpu(np.ones(2, np.float32)).array
    constant(w)
    here = derived(w, "doubled", lambda: w * 2)
    with minidl.cuda.load.load_cupy().cuda.Stream(non_blocking=True) as stream:
        there = derived(w, "doubled", lambda: w * 2)
        stream.synchronize()
    assert there is not here and there.tolist() == [2, 2] and derived(w, "doubled", lambda: w * 2) is here


def test_a_class_out_of_range_gives_nan_at_a_replay():
    step = minidl.capture(nn.functional.cross_entropy)
    x, y = on_gpu(np.zeros((2, 3), np.float32)), on_gpu(np.array([0, 2]))
    assert step(x, y).item() == step(x, y).item() == pytest.approx(np.log(3))
    for wrong in (3, -1, 2**62):
        assert np.isnan(step(x, on_gpu(np.array([0, wrong]))).item())
    assert step(x, on_gpu(np.array([0, -100]))).item() == pytest.approx(np.log(3))  # ignored


def test_numbers_that_change_have_a_limit():
    page = recording.Recording()
    page.live(lambda: [1.0], np.float64, recording.PAGE // 8)
    with pytest.raises(RuntimeError, match="room for 65536 bytes"):
        page.live(lambda: [1.0], np.float64, 1)


LAYERS = {
    "conv": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(4, 2, 2, stride=2),
    "batch_norm": lambda: nn.BatchNorm2d(4), "group_norm": lambda: nn.GroupNorm(2, 4), "layer_norm": lambda: nn.LayerNorm([5, 6]),
    "lrn": lambda: nn.LocalResponseNorm(3), "max_pool": lambda: nn.MaxPool2d(3, 2, 1), "avg_pool": lambda: nn.AvgPool2d(2),
    "adaptive_avg_pool": lambda: nn.AdaptiveAvgPool2d((2, 3)), "adaptive_max_pool": lambda: nn.AdaptiveMaxPool2d((2, 3)),
    "dropout2d": lambda: nn.Dropout2d(0.3), "upsample": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "gelu": nn.GELU, "silu": nn.SiLU, "softmax": lambda: nn.Softmax(1), "hardtanh": nn.Hardtanh, "leaky_relu": nn.LeakyReLU,
    "prelu": lambda: nn.PReLU(4), "elu": nn.ELU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus,
    "flatten_linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * 5 * 6, 3)),
}


@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_layers_can_be_recorded(build):
    minidl.manual_seed(5)
    layer = build().to("cuda")
    x = on_gpu(np.random.default_rng(0).standard_normal((3, 4, 5, 6), np.float32)).requires_grad_()

    def step(scale):
        x.grad = None
        layer.zero_grad()
        y = layer(x * scale)
        (y * y).mean().backward()
        return [y, x.grad, *(p.grad for p in layer.parameters()), *layer.buffers()]

    def three(step):
        minidl.manual_seed(7)
        if hasattr(layer, "reset_running_stats"):
            layer.reset_running_stats()
        return [[result.cpu().tolist() for result in step(on_gpu(np.float32(scale)))] for scale in (1, 2, 3)]

    captured = minidl.capture(step)
    assert three(captured) == three(recording.recordable()(step))
