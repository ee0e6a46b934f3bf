"""Gradient checks: what they must catch, what they must let pass, and what they say."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.autograd import GradcheckError, gradcheck, gradgradcheck
from minidl.testing import check_vjp, examine
from tests.checks import leaf
from tests.testing.draws import false_alarms
from tests.testing.planted import BUGS, FAMILIES, passes


@pytest.mark.parametrize("fast_mode", [False, True], ids=["full", "fast"])
@pytest.mark.parametrize("name, bug", BUGS)
def test_a_planted_bug_is_caught(name, bug, fast_mode):
    assert not passes(name, bug, fast_mode)


@pytest.mark.parametrize("fast_mode", [False, True], ids=["full", "fast"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_right_gradient_passes(name, fast_mode):
    assert passes(name, None, fast_mode)


def test_at_least_forty_bugs():
    assert len(set(BUGS)) >= 40


def test_no_false_alarm_in_300_draws():
    assert not false_alarms(300)


@pytest.mark.slow
def test_no_false_alarm_in_10000_draws():
    assert not false_alarms(10_000)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_the_error_names_input_element_and_values(fast_mode):
    def forward(x, w):
        return x.sum(), x @ w

    def vjp(g0, g1, x, w):
        gw = x.T @ g1
        gw[2, 1] *= 2
        return g0 + g1 @ w.T, gw

    x, w = np.arange(1.0, 7).reshape(2, 3), np.ones((3, 2))
    with pytest.raises(GradcheckError, match=r"d output 1\[., 1\] / d input 1\[2, 1\]: analytic (6|12), numeric (3|6)") as caught:
        check_vjp(forward, vjp, (x, w), fast_mode=fast_mode)
    entry = caught.value.report.failures[0]
    assert (entry.input, entry.input_element, entry.output, entry.output_element[1]) == (1, (2, 1), 1, 1)
    assert entry.analytic == pytest.approx(2 * entry.numeric)


def test_false_instead_of_an_exception():
    assert gradcheck(lambda x: x * x.detach(), leaf(3), raise_exception=False) is False
    assert gradcheck(lambda x: x * x, leaf(3)) is True


def test_kinks_are_reported_and_do_not_fail():
    x = minidl.tensor([[-1.0, 0.0, 2e-7, 3.0]], dtype=minidl.float64, requires_grad=True)
    report = examine(lambda x: x.relu(), x)
    assert report and report.kinks == [(0, (0, 1)), (0, (0, 2))]
    tie = minidl.tensor([[2.0, 5.0, 5.0 + 1e-7]], dtype=minidl.float64, requires_grad=True)
    report = examine(lambda x: x.max(1)[0], tie)
    assert report and report.kinks == [(0, (0, 1)), (0, (0, 2))]


@pytest.mark.parametrize("fast_mode", [False, True])
def test_kinks_to_both_sides(fast_mode):
    """Between two kinks closer than the step both slopes agree, and both are wrong."""
    x = minidl.tensor([0.0, 1.0], dtype=minidl.float64, requires_grad=True)
    report = examine(lambda x: x.clamp(-2e-7, 2e-7), x, fast_mode=fast_mode)
    assert report and report.kinks == [(0, (0,))]
    assert not examine(lambda x: x.clamp(-2e-7, 2e-7) + 0.5 * (x - x.detach()), x, fast_mode=fast_mode)


def test_curvature_is_not_a_kink():
    x = minidl.tensor([0.0, 1e-7], dtype=minidl.float64, requires_grad=True)
    report = examine(lambda x: 1e3 * x * x, x)
    assert report and not report.kinks
    assert not gradcheck(lambda x: 1e3 * x * x + 0.1 * (x - x.detach()), x, raise_exception=False)


def test_a_wrong_gradient_at_a_kink_fails():
    x = np.array([0.0, 1.0])
    assert check_vjp(abs, lambda g, x: g * np.sign(x), x)
    assert not check_vjp(abs, lambda g, x: g * np.where(x == 0, 1.5, 1), x, raise_exception=False)


def test_unused_and_overlapping_inputs():
    x, unused = leaf(3), leaf(2)
    assert gradcheck(lambda x, _: x.exp(), (x, unused))
    assert gradcheck(lambda x, y: x * y.exp(), (x, x))
    base = leaf(4)
    view = minidl.Tensor(base.array[1:], requires_grad=True)
    assert gradcheck(lambda x, y: x[1:] * y, (base, view))
    stretched = minidl.Tensor(np.broadcast_to(np.array([1.0, 2.0]), (3, 2)), requires_grad=True)
    assert gradcheck(lambda x: x.prod(0), stretched)
    assert gradgradcheck(lambda x: x.prod(0), stretched)


def test_several_outputs_and_outputs_without_gradient():
    assert gradcheck(lambda x: (x.exp(), x.detach(), x.sum(0), x > 0), leaf(2, 3))
    assert gradcheck(lambda x: x.sort(0), leaf(4))


@pytest.mark.parametrize("fast_mode", [False, True])
def test_inputs_of_no_elements(fast_mode):
    assert gradcheck(lambda x, y: x.sum() + y.exp().sum(), (leaf(0, 3), leaf(2)), fast_mode=fast_mode)
    assert gradcheck(lambda x: x * 2, leaf(0), fast_mode=fast_mode)


def test_parameters_reached_through_a_closure():
    layer = nn.Linear(3, 2).to(minidl.float64)
    x = leaf(4, 3)
    before = [p.numpy().copy() for p in map(minidl.Tensor.detach, layer.parameters())]
    assert gradcheck(lambda *_: layer(x), tuple(layer.parameters()))
    assert all(np.array_equal(a, p.detach().numpy()) for a, p in zip(before, layer.parameters(), strict=True))
    assert not gradcheck(lambda *_: layer(x) * layer.weight.detach().sum(), tuple(layer.parameters()), raise_exception=False)


def test_inputs_are_restored_when_the_function_raises():
    x = leaf(2)
    before, calls = x.detach().numpy().copy(), []

    def function(x):
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("enough")
        return x * 2

    with pytest.raises(RuntimeError, match="enough"):
        gradcheck(function, x)
    assert np.array_equal(x.detach().numpy(), before)


def test_randomness_is_named():
    with pytest.raises(GradcheckError, match="output 0 changes from call to call by .* more than nondet_tol = 0"):
        gradcheck(lambda x: x * minidl.rand(3, dtype=minidl.float64), leaf(3))
    assert gradcheck(lambda x: x * (1 + 1e-13 * minidl.rand(3, dtype=minidl.float64)), leaf(3), nondet_tol=1e-6)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_complex_step_is_exact(fast_mode):
    options = dict(complex_step=True, atol=1e-12, rtol=1e-12, fast_mode=fast_mode)
    assert gradcheck(lambda x, y: (x * y).exp().sum(0) / y, (leaf(3, 2), leaf(2, low=1.0)), **options)
    assert gradgradcheck(lambda x, w: (x @ w).tanh().mean(1) ** 3, (leaf(3, 2), leaf(2, 4)), **options)
    assert not gradcheck(lambda x: x.exp() + 1e-9 * (x - x.detach()), leaf(3), **options, raise_exception=False)
    with pytest.raises(TypeError, match="real values for complex inputs"):
        check_vjp(abs, lambda g, x: g * np.sign(x), np.array([1.0]), complex_step=True)


def test_a_layer_with_state_needs_no_tensor():
    class Scale:
        def forward(self, x):
            self.x = x
            return 3 * x**2

        def backward(self, gy):
            return 6 * self.x * gy

    layer = Scale()
    assert check_vjp(layer.forward, lambda gy, x: layer.backward(gy), np.arange(3.0))


def test_wrong_calls_of_check_vjp():
    with pytest.raises(ValueError, match="one gradient for each array: 2 expected, got 1"):
        check_vjp(np.add, lambda g, x, y: g, (np.ones(2), np.ones(2)))
    with pytest.raises(GradcheckError, match=r"the gradient of input 1 has shape \(3, 2\), the input \(2,\)"):
        check_vjp(np.add, lambda g, x, y: (g, g), (np.ones((3, 2)), np.ones(2)))


def test_wrong_calls_of_gradcheck():
    with pytest.raises(ValueError, match="at least one input that requires a gradient"):
        gradcheck(lambda x: x, minidl.ones(2))
    with pytest.raises(ValueError, match="input 1 is float32"):
        gradcheck(lambda x, y: x * y, (leaf(2), minidl.ones(2, requires_grad=True)))


def test_nan_gradients_are_wrong_unless_the_function_is_nan():
    assert not check_vjp(np.exp, lambda g, x: g * np.nan, np.ones(2), raise_exception=False)
    assert not check_vjp(np.exp, lambda g, x: g * np.nan, np.ones(2), raise_exception=False, fast_mode=True)
    assert not check_vjp(np.exp, lambda g, x: g * np.inf, np.ones(2), raise_exception=False, fast_mode=True)
