"""The pool: parts, errors, sleep, several callers at once, forks."""

import os
import sys
import threading
import time

import numpy as np
import pytest

import minidl
from minidl.kernels.cpu import threads
from minidl.kernels.cpu.compile import jit

MUCH = 10**9


@jit
def count(start, stop, seen, turns):
    for i in range(start, stop):
        for _ in range(turns):
            seen[i] += 1


@pytest.fixture(params=[1, 2, 3])
def pool(request):
    before = threads.get_num_threads()
    minidl.set_num_threads(request.param)
    assert minidl.get_num_threads() == request.param
    yield request.param
    minidl.set_num_threads(before)


@pytest.mark.parametrize("items", [0, 1, 2, 3, 7])
def test_every_item_once(pool, items):
    seen = np.zeros(items)
    for _ in range(200):
        threads.split(count, items, MUCH, seen, 1)
    assert (seen == 200).all()


@pytest.mark.parametrize("pause", [0, 0.0001, 0.003, 0.05])
def test_threads_wake_up_from_any_sleep(pool, pause):
    """Shorter and longer than their patience; kernels that end before and after the caller's part."""
    seen = np.zeros(5)
    for turns in (1, 10_000, 1_000_000):
        seen[:] = 0
        for _ in range(5):
            time.sleep(pause)
            threads.split(count, 5, MUCH, seen, turns)
        assert (seen == 5 * turns).all()


def test_the_first_error_is_raised_and_the_pool_goes_on(pool):
    def fail(start, stop):
        raise RuntimeError(f"items {start} to {stop}")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="items 0 to"):
            threads.split(fail, 6, MUCH)
        seen = np.zeros(6)
        threads.split(count, 6, MUCH, seen, 1)
        assert (seen == 1).all()


def test_an_error_of_another_thread_alone(pool):
    def fail_later(start, stop):
        if start:
            raise RuntimeError("not the caller's")

    if pool > 1:
        with pytest.raises(RuntimeError, match="not the caller's"):
            threads.split(fail_later, 6, MUCH)


def test_several_callers_at_once(pool):
    """One has the pool, the others compute alone; nobody's work is lost."""
    arrays = [np.zeros(16) for _ in range(4)]

    def run(array):
        for _ in range(300):
            threads.split(count, 16, MUCH, array, 10)

    callers = [threading.Thread(target=run, args=(array,)) for array in arrays]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert all((array == 3000).all() for array in arrays)


@pytest.mark.numpy
def test_models_run_in_several_threads():
    model = minidl.nn.Sequential(minidl.nn.Conv2d(8, 16, 3, padding=1), minidl.nn.ReLU(), minidl.nn.MaxPool2d(2))
    x = minidl.randn(4, 8, 30, 30)
    want, found = model(x).detach().numpy(), []

    def run():
        for _ in range(5):
            found.append(model(x).detach().numpy())

    callers = [threading.Thread(target=run) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert len(found) == 15 and all(np.array_equal(y, want) for y in found)


def test_an_interrupt_while_waiting_leaves_nothing_behind(monkeypatch):
    """Ctrl-C comes while the other thread still works: it is raised when that has left the arrays, and the pool goes on."""
    before = threads.get_num_threads()
    minidl.set_num_threads(2)
    take = threads._Worker._take

    def interrupted(self):
        monkeypatch.setattr(threads._Worker, "_take", take)
        raise KeyboardInterrupt

    seen = np.zeros(2)
    try:
        threads.split(count, 2, MUCH, seen, 1)
        monkeypatch.setattr(threads._Worker, "_take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.split(count, 2, MUCH, seen, 10_000_000)
        assert (seen == 10_000_001).all()
        for _ in range(100):
            threads.split(count, 2, MUCH, seen, 1)
        assert (seen == 10_000_101).all()
    finally:
        minidl.set_num_threads(before)


def test_a_pool_that_was_replaced_meanwhile_is_no_trap():
    """Another thread sets the number between this one's look at the pool and its use."""
    before, old = threads.get_num_threads(), threads._current()
    minidl.set_num_threads(before)
    assert not old.lock.acquire(blocking=False)
    seen = np.zeros(4)
    threads.split(count, 4, MUCH, seen, 1)
    assert (seen == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_keeps_the_number_of_threads():
    before = threads.get_num_threads()
    minidl.set_num_threads(3)
    child = os.fork()
    if not child:
        threads.split(count, 8, MUCH, np.zeros(8), 1)
        os._exit(threads.get_num_threads())
    minidl.set_num_threads(before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_threads_of_its_own():
    seen = np.zeros(8)
    threads.split(count, 8, MUCH, seen, 1)
    child = os.fork()
    if not child:
        threads.split(count, 8, MUCH, seen, 1)
        os._exit(int((seen != 2).any()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and (seen == 1).all()


def test_arrays_are_not_kept_alive():
    seen = np.zeros(8)
    threads.split(count, 8, MUCH, seen, 1)
    time.sleep(0.01)
    assert sys.getrefcount(seen) == 2


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", None, True])
def test_a_number_of_threads_is_a_positive_int(wrong):
    with pytest.raises(ValueError, match="positive int"):
        minidl.set_num_threads(wrong)
