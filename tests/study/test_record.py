"""Recording: what ran, where, how, and what it cost; and nothing when it is off."""

import gc
import threading
import weakref

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import GraphError
from minidl.models import LeNet5
from minidl.nn import functional as F
from minidl.op import Op
from minidl.study import record


@pytest.fixture
def seen():
    minidl.manual_seed(0)
    model, x = LeNet5(), minidl.randn(3, 1, 28, 28)
    with record(model) as record_:
        F.cross_entropy(model(x), minidl.tensor([3, 8, 1])).backward()
    record_.model, record_.x = model, x
    return record_


def test_ops_in_order_with_their_modules(seen):
    names = [(op.module, op.name) for op in seen]
    assert names[0] == ("features.0", "Conv2d") and names[-1] == ("", "CrossEntropy")
    assert ("classifier.1", "Linear") in names
    assert [op.number for op in seen] == list(range(len(seen)))
    assert [call.path for call in seen.calls[:3]] == ["", "features", "features.0"]
    assert seen.calls[2].output_shape == (3, 6, 28, 28)


def test_inputs_outputs_and_gradients(seen):
    first, second = seen[0], seen[1]
    assert first.inputs[0] is seen.x.array and first.inputs[1] is seen.model.features[0].weight.array
    assert second.inputs[0] is first.outputs[0]
    assert minidl.Tensor(first.input_gradients[1]).equal(seen.model.features[0].weight.grad)
    assert first.input_gradients[0] is None  # nobody asked for the image's
    assert minidl.Tensor(second.input_gradients[0]).equal(minidl.Tensor(first.output_gradients[0]))
    assert seen[-1].output_gradients[0].item() == 1.0


def test_costs(seen):
    conv = seen[0]
    assert conv.multiply_adds == 3 * 6 * 28 * 28 * 25
    assert conv.kept_bytes == 3 * 28 * 28 * 4  # the image; the weights are parameters
    assert seen[1].kept_bytes == 3 * 6 * 28 * 28 * 4
    assert sum(op.multiply_adds for op in seen) == 3 * 416_520
    assert all(op.seconds > 0 and op.backward_seconds > 0 for op in seen)


@pytest.mark.numpy
def test_kernels_and_why(seen):
    kinds = {choice.kernel: choice for choice in seen[0].kernels + seen[0].backward_kernels}
    assert kinds["conv2d"].backend == "cpu" and {"conv2d_weight_grad", "sum"} <= set(kinds)
    assert seen[0].columns is None
    model, x = LeNet5(), minidl.randn(2, 1, 28, 28)
    with minidl.use_backend("portable"), record(model) as studied:
        y = model(x)
    conv = studied[0]
    assert "use_backend('portable')" in str(conv.kernels[0]) and conv.columns.shape == (2, 25, 784)
    weight, bias = (p.detach().numpy() for p in model.features[0].parameters())
    assert np.allclose(weight.reshape(6, 25) @ conv.columns + bias[:, None], conv.outputs[0].reshape(2, 6, 784), atol=1e-5)
    assert y.shape == (2, 10)


def test_results_are_the_same_with_and_without():
    minidl.manual_seed(1)
    model, x, y = LeNet5(), minidl.randn(4, 1, 28, 28), minidl.tensor([1, 2, 3, 4])
    F.cross_entropy(model(x), y).backward()
    plain = [p.grad.numpy().copy() for p in model.parameters()]
    model.zero_grad()
    with record(model):
        F.cross_entropy(model(x), y).backward()
    assert all(np.array_equal(a, p.grad.numpy()) for a, p in zip(plain, model.parameters(), strict=True))


def test_higher_derivatives_inside_a_recording():
    x = minidl.tensor([0.5, -1.0], dtype=minidl.float64, requires_grad=True)
    with record(nn.Identity()) as seen:
        y = (x**3).sum()
        (g,) = minidl.autograd.grad(y, x, create_graph=True)
        g.sum().backward()
    assert np.allclose(x.grad.numpy(), 6 * x.detach().numpy())
    assert [op.name for op in seen] == ["PowScalar", "Sum", "Sum"]


def test_nothing_is_left_behind():
    before = Op.__call__
    model = LeNet5()
    with pytest.raises(RuntimeError, match="stop"), record(model):
        assert Op.__call__ is not before
        raise RuntimeError("stop")
    assert Op.__call__ is before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_failing_module_does_not_confuse_the_next():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    model = nn.Sequential(nn.Linear(2, 2), Broken())
    with record(model) as seen:
        with pytest.raises(ValueError, match="broken"):
            model(minidl.ones(1, 2))
        model[0](minidl.ones(1, 2))
    assert [op.module for op in seen] == ["0", "0"]


def test_recordings_nest_and_other_threads_do_not_show():
    inner_model, x = nn.Linear(2, 3), minidl.ones(1, 2)
    with record(nn.Identity()) as outer:
        thread = threading.Thread(target=lambda: x + 1)
        thread.start()
        thread.join()
        with record(inner_model) as inner:
            inner_model(x)
        x * 2
    assert [op.name for op in inner] == ["Linear"] and [op.name for op in outer] == ["Mul"]


def test_no_cycle_keeps_a_graph_alive():
    gc.collect()
    gc.disable()
    try:
        model, x = LeNet5(), minidl.randn(2, 1, 28, 28)
        with record(model) as seen:
            model(x).sum().backward()
        alive = weakref.ref(seen[0].op)
        del seen
        assert alive() is None
    finally:
        gc.enable()


def test_wrong_calls(seen):
    with pytest.raises(KeyError, match="no op ran in a module of path 'feature'"):
        seen.of("feature")
    with pytest.raises(IndexError, match=r"output 0 of Conv2d has shape \(3, 6, 28, 28\): \(0, 6, 0, 0\)"):
        seen[0].explain((0, 6, 0, 0))
    with pytest.raises(IndexError, match="gave no gradient to an input 0"):
        seen[0].explain_gradient((0, 0, 0, 0))
    with record(nn.Identity()) as other:
        minidl.ones(2, requires_grad=True) * 2
    with pytest.raises(GraphError, match=r"call backward\(\) inside the recording"):
        other[0].explain_gradient((0,))
    with pytest.raises(TypeError, match="Mul has no explanation"):
        other[0].explain((0,))
