"""Optimizer updates against their papers' rules, written number by number, with every combination of options."""

import inspect
import itertools
import math

import numpy as np
import pytest

from minidl.kernels import use_backend
from minidl.kernels.cuda.optim import CHUNK
from minidl.kernels.portable import optim as portable
from tests.kernels.cuda import cuda_runs, kernel

STEPS = 3
BACKENDS = ["portable", None, pytest.param("cuda", marks=cuda_runs)]


def grid(**options):
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def naive_sgd(p, gs, lr, momentum, dampening, weight_decay, nesterov, maximize):
    buffer = 0.0
    for t, g in enumerate(gs):
        g = (-g if maximize else g) + weight_decay * p
        if momentum:
            buffer = g if t == 0 else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p -= lr * g
    return p, (buffer,)


def naive_adam(p, gs, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad):
    mean = square = largest = 0.0
    for t, g in enumerate(gs, 1):
        g = -g if maximize else g
        if decoupled:
            p -= lr * weight_decay * p
        else:
            g += weight_decay * p
        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * g**2
        largest = max(largest, square)
        used = largest if amsgrad else square
        p -= lr * (mean / (1 - beta1**t)) / (math.sqrt(used / (1 - beta2**t)) + eps)
    return p, (mean, square, largest)


def naive_rmsprop(p, gs, lr, alpha, eps, weight_decay, momentum, maximize, centered):
    square = mean = buffer = 0.0
    for g in gs:
        g = (-g if maximize else g) + weight_decay * p
        square = alpha * square + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        change = g / (math.sqrt(square - mean**2 if centered else square) + eps)
        buffer = momentum * buffer + change
        p -= lr * (buffer if momentum else change)
    return p, (square, mean, buffer)


def naive_adadelta(p, gs, lr, rho, eps, weight_decay, maximize):
    square = delta = 0.0
    for g in gs:
        g = (-g if maximize else g) + weight_decay * p
        square = rho * square + (1 - rho) * g**2
        change = math.sqrt((delta + eps) / (square + eps)) * g
        delta = rho * delta + (1 - rho) * change**2
        p -= lr * change
    return p, (square, delta)


def run_sgd(p, gs, momentum, **options):
    states = zero_states(p, momentum)
    for t, g in enumerate(gs):
        update("sgd_update", [(p, g, *states)], momentum=momentum, first=t == 0, **options)
    return states


def run_adam(p, gs, amsgrad, **options):
    states = zero_states(p, True, True, amsgrad)
    for t, g in enumerate(gs, 1):
        update("adam_update", [(p, g, *states)], step=t, **options)
    return states


def run_rmsprop(p, gs, centered, momentum, **options):
    states = zero_states(p, True, centered, momentum)
    for g in gs:
        update("rmsprop_update", [(p, g, *states)], momentum=momentum, **options)
    return states


def run_adadelta(p, gs, **options):
    states = zero_states(p, True, True)
    for g in gs:
        update("adadelta_update", [(p, g, *states)], **options)
    return states


def zero_states(p, *wanted):
    return tuple(np.zeros(p.shape, np.float32 if p.dtype == np.float16 else p.dtype) if want else None for want in wanted)


def update(rule, arrays, **options):
    """One step of the parameters in ``arrays``, with options by their names in the portable kernel."""
    names = list(inspect.signature(getattr(portable, rule)).parameters)[len(arrays[0]) :]
    kernel("update_each", arrays[0][0])(rule, arrays, lambda: [options[name] for name in names])


CASES = [
    *((run_sgd, naive_sgd, options) for options in
      grid(lr=[0.1], momentum=[0, 0.9], dampening=[0, 0.3], weight_decay=[0, 0.1], nesterov=[False, True],
           maximize=[False, True])),
    *((run_adam, naive_adam, options) for options in
      grid(lr=[0.1], beta1=[0.8], beta2=[0.95], eps=[1e-3], weight_decay=[0, 0.1], decoupled=[False, True],
           maximize=[False, True], amsgrad=[False, True])),
    *((run_rmsprop, naive_rmsprop, options) for options in
      grid(lr=[0.1], alpha=[0.9], eps=[1e-3], weight_decay=[0, 0.1], momentum=[0, 0.5], maximize=[False, True],
           centered=[False, True])),
    *((run_adadelta, naive_adadelta, options) for options in
      grid(lr=[0.5], rho=[0.8], eps=[1e-3], weight_decay=[0, 0.1], maximize=[False, True])),
]
# One full set of options for each rule.
RULES = [
    (run_sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "nesterov": False, "maximize": True}),
    (run_adam, {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1, "decoupled": True,
                "maximize": True, "amsgrad": True}),
    (run_rmsprop, {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.5, "maximize": True,
                   "centered": True}),
    (run_adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
]


def inputs(shape, dtype, seed=0):
    random = np.random.default_rng(seed)
    p, *gs = (random.standard_normal(shape).astype(dtype) for _ in range(1 + STEPS))
    return p, gs


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_every_combination_of_options(backend, dtype, rtol):
    shape = (19,)  # a whole vector register and a rest
    for run, naive, options in CASES:
        p, gs = inputs(shape, dtype)
        before, gs_before = p.copy(), [g.copy() for g in gs]
        with use_backend(backend):
            states = run(p, gs, **options)
        for i in range(p.size):
            value, kept = naive(float(before[i]), [float(g[i]) for g in gs], **options)
            assert p[i] == pytest.approx(value, rel=rtol, abs=rtol), (run.__name__, options)
            for state, expected in zip(states, kept, strict=True):
                assert state is None or state[i] == pytest.approx(expected, rel=rtol, abs=rtol), (run.__name__, options)
        assert p.dtype == dtype and all(s is None or s.dtype == dtype for s in states)
        assert all(np.array_equal(g, kept) for g, kept in zip(gs, gs_before, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("run, options", RULES)
def test_layouts(run, options, backend):
    """Strided, transposed and one-element parameters, and strided gradients, as for contiguous ones."""
    p, gs = inputs((4, 6), np.float64)
    expected = p.copy()
    run(expected, gs, **options)
    wide = np.zeros((4, 12))
    strided = wide[:, ::2]
    for other in (strided, np.empty((6, 4)).T, np.frombuffer(bytearray(4 * 6 * 8 + 1), np.float64, offset=1, count=24)
                  .reshape(4, 6)):
        other[...] = p
        with use_backend(backend):
            run(other, [np.asfortranarray(g) for g in gs], **options)
        assert np.allclose(other, expected, rtol=1e-12)
    assert not wide[:, 1::2].any()


@pytest.mark.parametrize("run, options", RULES)
def test_large_parameters_on_all_threads(run, options):
    p, gs = inputs((900_001,), np.float64)
    portable = p.copy()
    with use_backend("portable"):
        run(portable, gs, **options)
    run(p, gs, **options)
    assert np.allclose(p, portable, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("run, options", RULES)
def test_nan_spreads_to_its_own_element_and_state(run, options, backend):
    p, gs = inputs((5,), np.float64)
    gs[0][2] = np.nan
    with use_backend(backend):
        states = run(p, gs, **options)
    for array in (p, *states):
        assert np.isnan(array).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("run, options", RULES)
def test_empty(run, options, backend):
    with use_backend(backend):
        run(np.zeros((0, 3)), [np.zeros((0, 3))], **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_parameters_at_once(dtype, backend):
    """Of all sizes around that of a block, empty ones first, between and last; as one by one, to the last digits."""
    shapes = [(0, 2), (1,), (CHUNK - 1,), (CHUNK,), (0,), (2, 3), (2, CHUNK), (CHUNK + 1,), (0,)]
    options = {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1, "decoupled": False, "maximize": False}
    made = [inputs(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    apart = [(p.copy(), *zero_states(p, True, True, True)) for p, _ in made]
    together = [(p.copy(), *zero_states(p, True, True, True)) for p, _ in made]
    for step in range(STEPS):
        grads = [gs[step] for _, gs in made]
        for (p, *states), g in zip(apart, grads, strict=True):
            with use_backend("portable"):
                update("adam_update", [(p, g, *states)], step=step + 1, **options)
        with use_backend(backend):
            update("adam_update", [(p, g, *states) for (p, *states), g in zip(together, grads, strict=True)], step=step + 1,
                   **options)
    for expected, found in zip(apart, together, strict=True):
        for a, b in zip(expected, found, strict=True):
            assert np.allclose(a, b, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_are_asked_for_once(backend):
    asked = []

    def numbers():
        asked.append(1)
        return 0.1, 0, 0, 0, False, False, False

    ps = [np.ones(3), np.ones(4)]
    with use_backend(backend):
        kernel("update_each", ps[0])("sgd_update", [(p, np.ones_like(p), None) for p in ps], numbers)
    assert len(asked) == 1 and all((p == 0.9).all() for p in ps)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_changes_after_an_overflow(backend):
    p, buffer = np.ones(3, np.float32), np.zeros(3, np.float32)
    options = 0.5, 0.9, 0, 0, False, False, False
    with use_backend(backend):
        for found, expected in ((1, 1), (0, 0.5), (np.nan, 0.5)):
            kernel("update_each", p)("sgd_update", [(p, np.ones_like(p), buffer)], lambda: options, np.array(found, np.float32))
            assert (p == expected).all() and (buffer == (1 if expected < 1 else 0)).all()


@cuda_runs
@pytest.mark.parametrize("run, options", RULES)
def test_half_precision_in_cuda(run, options):
    """With its states in float32, as the portable kernel. Each of three steps may round to the other neighbour."""
    p, gs = inputs((7,), np.float16)
    expected = p.copy()
    states = run(expected, gs, **options)
    with use_backend("cuda"):
        found = run(p, gs, **options)
    assert np.allclose(p, expected, rtol=2.0**-10, atol=2.0**-12)
    assert all(np.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(found, states, strict=True))


@pytest.mark.parametrize("run, options", RULES)
def test_half_precision_is_computed_in_float32(run, options):
    """Squares of 300 overflow float16, squares of 1e-4 vanish in it."""
    p, gs = inputs((7,), np.float16)
    gs = [(g * scale).astype(np.float16) for g, scale in zip(gs, (300, 1e-4, 1), strict=True)]
    wide = p.astype(np.float32)
    run(wide, [g.astype(np.float32) for g in gs], **options)
    run(p, gs, **options)
    assert p.dtype == np.float16
    # Each of three steps rounds the parameter to float16, by at most 2^-11 of its value.
    assert np.abs(p - wide).max() <= STEPS * 2.0**-11 * np.abs(wide).max()
