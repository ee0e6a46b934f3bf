"""The engine's contracts: the walk, saving, freeing, hooks, writes in place, higher derivatives."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import minidl
from minidl.errors import AnomalyError, DtypeError, GraphError, ShapeError
from minidl.op import FusedOp, Op
from tests.checks import check_gradients, leaf, share_memory


def test_chain_of_100000_ops():
    x = minidl.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(50_000):
        y = (y + 1) * 1.0
    y.backward(minidl.tensor([2.0]))
    assert x.grad.item() == 2
    del y  # and the chain dies without recursion


def test_shared_subgraphs_take_linear_time():
    x = minidl.tensor(1.0, dtype="float64", requires_grad=True)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def test_gradients_accumulate_and_never_alias():
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    y = minidl.tensor([3.0, 4.0], requires_grad=True)
    seed = minidl.tensor([1.0, 1.0])
    (x + y).backward(seed)
    assert not share_memory(x.grad.array, y.grad.array)
    assert not share_memory(x.grad.array, seed.array) and not share_memory(y.grad.array, seed.array)
    (x + y).backward(seed)
    assert x.grad.tolist() == [2, 2] and seed.tolist() == [1, 1]


def test_three_uses_do_not_change_each_other():
    x = leaf(3)
    a, b, c = x * 2, x * 3, x * 5
    captured = []
    a.register_hook(captured.append)
    (a + b + c + a).backward(minidl.tensor(np.ones(3)))
    assert x.grad.tolist() == [12, 12, 12] and captured[0].tolist() == [2, 2, 2]


def test_memory_is_flat_without_the_garbage_collector():
    w = minidl.tensor(np.ones((20, 20), np.float32), requires_grad=True)
    x = minidl.tensor(np.ones((10, 20), np.float32))

    def step():
        h = (x * w[:10] + 1).exp()
        loss = (h * h).sum()
        loss.backward()
        with minidl.no_grad():
            w.sub_(w.grad * 1e-9)
        w.grad = None

    gc.collect()
    gc.disable()
    try:
        for _ in range(2000):  # NumPy and Python fill small caches first
            step()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            step()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    finally:
        gc.enable()
    assert grown < 20_000


def test_graph_dies_with_its_output():
    x = leaf(3)
    y = x.exp()
    op = weakref.ref(y.op)
    gc.disable()
    try:
        z = y * 2
        del y, z
        assert op() is None
    finally:
        gc.enable()


def test_second_backward_needs_retain_graph():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(GraphError, match="retain_graph"):
        y.backward()
    assert np.allclose(x.grad, 4 * np.asarray(x))


def test_backward_errors():
    with pytest.raises(GraphError, match="does not require"):
        minidl.tensor(1.0).backward()
    with pytest.raises(ShapeError, match="one element"):
        leaf(3).backward()
    with pytest.raises(ShapeError, match="gradient must have"):
        leaf(3).exp().backward(minidl.tensor([1.0], dtype="float64"))
    with pytest.raises(DtypeError, match="floating"):
        minidl.tensor([1, 2], requires_grad=True)
    with pytest.raises(GraphError, match="detach"):
        leaf(2).numpy()


def test_backward_of_a_leaf():
    x = minidl.tensor(2.0, requires_grad=True)
    x.backward()
    assert x.grad.item() == 1


class Wrong(Op):
    def __init__(self, gradient):
        self.gradient = gradient

    def forward(self, x):
        return x * 1

    def backward(self, gy):
        return self.gradient


@pytest.mark.parametrize("gradient, message", [
    (minidl.tensor(np.ones(2)), "shape"),
    (minidl.tensor(np.ones(3, np.float32)), "float32"),
    ((minidl.tensor(np.ones(3)), None), "2 gradients for 1"),
])
def test_a_wrong_gradient_names_its_op(gradient, message):
    with pytest.raises(GraphError, match=f"Wrong.*{message}"):
        Wrong(gradient)(leaf(3)).backward(minidl.tensor(np.ones(3)))


def test_grad_of_intermediate_and_unused():
    x, unused = leaf(3), leaf(2)
    y = x * 2
    z = (y * y).sum()
    gy, gx = minidl.autograd.grad(z, [y, x], retain_graph=True)
    assert np.allclose(gy, 2 * np.asarray(y)) and np.allclose(gx, 4 * np.asarray(y))
    assert x.grad is None and y.grad is None
    with pytest.raises(GraphError, match="allow_unused"):
        minidl.autograd.grad(z, [unused], retain_graph=True)
    assert minidl.autograd.grad(z, [unused], allow_unused=True) == (None,)


def test_grad_visits_only_the_path():
    visited = []

    class Spy(Op):
        def forward(self, x):
            return x * 1

        def backward(self, gy):
            visited.append(self)
            return gy

    x, y = leaf(3), leaf(3)
    z = (Spy()(x) + y * 2).sum()
    minidl.autograd.grad(z, y)
    assert not visited


def test_backward_into_chosen_inputs():
    x, y = leaf(3), leaf(3)
    (x * y).sum().backward(inputs=[x])
    assert x.grad is not None and y.grad is None


def test_needs_skips_work():
    seen = []

    class Product(Op):
        def forward(self, x, y):
            seen.append(list(self.needs[:2]))
            self.save(x, y)
            return x * y

        def backward(self, gz):
            x, y = self.saved
            return gz * y if self.needs[0] else None, gz * x if self.needs[1] else None

    x = leaf(3)
    Product()(x, x.detach()).sum().backward()
    with minidl.no_grad():
        Product()(x, x)
    assert seen == [[True, False], [False, False]]


def test_modes():
    x = leaf(2)
    with minidl.no_grad():
        assert not (x * 2).requires_grad and not minidl.is_grad_enabled()
        with minidl.enable_grad():
            assert (x * 2).requires_grad
        assert not minidl.is_grad_enabled()
    with minidl.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert minidl.is_grad_enabled()

    @minidl.no_grad()
    def double(x):
        return x * 2

    assert not double(x).requires_grad and (x * 2).requires_grad
    minidl.set_grad_enabled(False)
    assert not minidl.is_grad_enabled()
    minidl.set_grad_enabled(True)


def test_hooks_and_retain_grad():
    x = leaf(3)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    handle = y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    z = y.sum()
    z.backward(retain_graph=True)
    assert y.grad.tolist() == [1, 1, 1] and x.grad.tolist() == [21, 21, 21]
    handle.remove()
    x.grad = None
    z.backward()
    assert x.grad.tolist() == [3, 3, 3]
    with pytest.raises(GraphError):
        x.detach().register_hook(print)


def test_writes_after_saving_are_noticed():
    x = leaf(3)
    y = x * x
    with minidl.no_grad():
        x.mul_(2)
    with pytest.raises(GraphError, match="Mul.*changed in place"):
        y.sum().backward()


def test_writes_through_views_are_noticed_and_others_are_not():
    x = leaf(3)
    unrelated = leaf(3, seed=1)
    y = x * x
    with minidl.no_grad():
        unrelated.mul_(2)
    y.sum().backward(retain_graph=True)
    view = x.detach()
    view += 1
    with pytest.raises(GraphError, match="changed in place"):
        y.sum().backward()


def test_in_place_on_a_recorded_leaf_is_refused():
    x = leaf(3)
    for change in (lambda: x.add_(1), lambda: x.zero_(), lambda: x.copy_(x.detach()), lambda: x.fill_(0)):
        with pytest.raises(GraphError, match="no_grad"):
            change()
    with pytest.raises(GraphError, match="no_grad"):
        x += 1


def test_augmented_assignment():
    x = leaf(3)
    h = x * 2
    before = h
    h += x  # inside the graph the name is bound anew
    assert h is not before and np.allclose(h, 3 * np.asarray(x))
    plain = minidl.tensor([1.0, 2.0])
    same = plain
    plain *= 3
    assert same is plain and same.tolist() == [3, 6]


@pytest.mark.parametrize("function", [lambda x: x**3, lambda x: x.exp().sin(), lambda x: (x * x).tanh() / (x * x + 1)])
def test_third_derivative(function):
    x = leaf(4, low=0.5, high=1.5)

    def second(x):
        (g,) = minidl.autograd.grad(function(x).sum(), x, create_graph=True)
        (gg,) = minidl.autograd.grad(g.sum(), x, create_graph=True)
        return gg

    check_gradients(second, x, second=False)


def test_create_graph_gives_gradients_that_can_be_differentiated():
    x = leaf(3)
    (x**3).sum().backward(create_graph=True)
    penalty = (x.grad**2).sum()
    (g,) = minidl.autograd.grad(penalty, x)
    assert np.allclose(g, 36 * np.asarray(x)**3)


class Softplus(FusedOp):
    """log(1 + e^x) y, to test the contract of fused ops."""

    def forward(self, x, y):
        self.save(x, y)
        return np.log1p(np.exp(x)) * y

    def fast_backward(self, gz):
        x, y = (t.array for t in self.saved)
        return minidl.Tensor(gz.array * y / (1 + np.exp(-x))), minidl.Tensor(gz.array * np.log1p(np.exp(x)))

    def composite(self, x, y):
        return (x.exp() + 1).log() * y


def test_fused_op_with_inputs_that_depend_on_each_other():
    check_gradients(lambda x, y: Softplus()(x, y), leaf(3), leaf(3, seed=1))
    check_gradients(lambda x: Softplus()(x, x.sin()), leaf(3))
    check_gradients(lambda x: Softplus()(x, x), leaf(3))


def test_fused_op_skips_what_needs_no_gradient():
    x = leaf(3)
    constant = leaf(3, seed=1).detach()
    check_gradients(lambda x: Softplus()(x, constant), x)


class Halves(Op):
    def forward(self, x):
        n = len(x) // 2
        return x[:n] * 1, x[n:] * 1, np.arange(n)

    def backward(self, ga, gb, _):
        return minidl.Tensor(np.concatenate([ga.array, gb.array]))


def test_several_outputs():
    x = leaf(4)
    a, b, indices = Halves()(x)
    assert not indices.requires_grad
    (b * 3).sum().backward()
    assert x.grad.tolist() == [0, 0, 3, 3]
    assert a.requires_grad


def test_saved_outputs_make_no_cycle():
    gc.collect()
    gc.disable()
    try:
        x = leaf(3)
        y = x.exp()
        array = weakref.ref(y.array)
        del y
        assert array() is None
    finally:
        gc.enable()


def test_anomaly_mode_names_op_and_line():
    x = minidl.tensor([-1.0, 4.0], requires_grad=True)
    with pytest.raises(AnomalyError, match=r"Log made a NaN.*test_engine\.py:\d+"), minidl.autograd.detect_anomaly():
        x.log()
    y = minidl.tensor([0.0], requires_grad=True)
    with pytest.raises(AnomalyError, match=r"backward of Mul.*|backward of Sqrt.*"), minidl.autograd.detect_anomaly():
        (y.sqrt() * 0.0).sum().backward()
    with minidl.autograd.detect_anomaly():
        (x * 2).sum().backward()


@pytest.mark.numpy
def test_anomaly_mode_sees_writes_through_numpy():
    x = minidl.tensor([1.0, 4.0], requires_grad=True)
    with pytest.raises(AnomalyError, match="saved was changed"), minidl.autograd.detect_anomaly():
        y = (x * x).sum()
        x.detach().numpy()[0] = 7
        y.backward()


def test_float32_stays_float32():
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    y = ((x * 2.0 + 1) / 3 - 0.5) ** 2 * minidl.tensor(2.0, dtype="float64")
    assert y.dtype == minidl.float32
    y.sum().backward()
    assert x.grad.dtype == minidl.float32


def test_promotion_casts_the_gradient_back():
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    y = x * minidl.tensor([1.0, 2.0], dtype="float64")
    assert y.dtype == minidl.float64
    y.sum().backward()
    assert x.grad.dtype == minidl.float32


def test_copies_and_pickles_of_leaves():
    import copy
    import pickle

    x = leaf(3)
    (x * 2).sum().backward()
    twin = copy.deepcopy(x)
    assert twin.requires_grad and not share_memory(twin.array, x.array) and twin.grad.tolist() == x.grad.tolist()
    assert pickle.loads(pickle.dumps(x)).tolist() == x.tolist()
    with pytest.raises(GraphError):
        copy.deepcopy(x * 2)


@pytest.mark.numpy
def test_tensor_makes_copies_and_from_numpy_shares():
    array = np.ones(3)
    assert not share_memory(minidl.tensor(array).array, array)
    assert share_memory(minidl.from_numpy(array).array, array)
    assert minidl.tensor([1, 2]).dtype == minidl.int64
    assert minidl.tensor([True]).dtype == minidl.bool
    assert minidl.tensor([np.float64(1)]).dtype == minidl.float64
    with pytest.raises(DtypeError):
        minidl.tensor("text")
    with pytest.raises(DtypeError):
        minidl.tensor([1], dtype="complex64")


@pytest.mark.numpy
def test_dlpack_round_trip():
    x = minidl.tensor([1.0, 2.0])
    assert share_memory(np.from_dlpack(x), x.array)


@pytest.mark.numpy
def test_numpy_on_the_left_gives_tensors():
    y = np.ones(2) * minidl.tensor([1.0, 2.0], dtype="float64")
    assert isinstance(y, minidl.Tensor)
    assert isinstance(np.float64(2) + minidl.tensor([1.0]), minidl.Tensor)


def test_hooks_make_no_cycles():
    gc.collect()
    gc.disable()
    try:
        class Watched:
            pass

        for register in (lambda x, hook: x.register_hook(hook), lambda x, hook: (x * 2).register_hook(hook),
                         lambda x, hook: minidl.nn.Linear(1, 1).register_forward_hook(hook)):
            watched = Watched()
            alive = weakref.ref(watched)
            handle = register(minidl.ones(2, requires_grad=True), lambda *_, held=watched: None)
            del handle, watched
            assert alive() is None
        y = minidl.ones(2, requires_grad=True) * 2
        y.retain_grad()
        alive = weakref.ref(y)
        del y
        assert alive() is None
    finally:
        gc.enable()


def test_switches_as_decorators():
    x = minidl.ones(1, requires_grad=True)

    @minidl.set_grad_enabled(False)
    def off(depth=0):
        return off(depth - 1) if depth else x * 2

    assert minidl.is_grad_enabled()
    for _ in range(2):
        assert not off(2).requires_grad and minidl.is_grad_enabled()
    with minidl.no_grad():
        on = minidl.set_grad_enabled(True)(lambda: x * 2)
        assert not minidl.is_grad_enabled() and on().requires_grad and not minidl.is_grad_enabled()

    @minidl.use_backend("portable")
    def studied(depth=0):
        return studied(depth - 1) if depth else str(minidl.explain(lambda: (x + 1).sum())[0])

    for _ in range(2):
        assert "use_backend" in studied(1) and "use_backend" not in str(minidl.explain(lambda: (x + 1).sum())[0])

    @minidl.autograd.detect_anomaly()
    def watched(depth):
        return watched(depth - 1) if depth else x * 2

    watched(3)
    (x.detach() - 2).sqrt()  # would raise if anomaly mode were still on


def test_anomaly_names_the_op_on_plain_data_too():
    with pytest.raises(AnomalyError, match="Sqrt made a NaN"), minidl.autograd.detect_anomaly():
        minidl.tensor([-1.0]).sqrt()


def test_gradients_never_share_memory():
    a, b = minidl.ones(2, requires_grad=True), minidl.ones(2, requires_grad=True)
    g = minidl.ones(2)
    first, second = minidl.autograd.grad(a + b, [a, b], g)
    assert not share_memory(first.numpy(), second.numpy()) and not share_memory(first.numpy(), g.numpy())
