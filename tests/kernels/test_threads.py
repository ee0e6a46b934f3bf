"""The pool: parts, errors, sleep, several callers at once, forks."""

import os
import signal
import sys
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest
from numba import types

import minidl
from minidl.kernels.cpu import calls, threads
from minidl.kernels.cpu.compile import jit

MUCH = 10**9
thread_number = types.ExternalFunction("pthread_self", types.uintp())


@jit
def count(start, stop, seen, turns):
    flat = seen.reshape(-1)
    for i in range(start, stop):
        for _ in range(turns):
            flat[i] += 1


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


@jit
def who(start, stop, seen, turns):
    for i in range(start, stop):
        for _ in range(turns):
            seen[i] = thread_number()


@pytest.mark.skipif(os.name != "posix", reason="asks the system who runs")
def test_parts_run_on_threads_of_their_own(pool):
    """Long parts, with threads awake: not all are left to the caller. (Of more threads than cores some may sleep.)"""
    seen = np.zeros(pool, np.uint64)
    for _ in range(100):  # of 0.1 s; on a busy machine a thread may come too late for its part
        minidl.set_num_threads(pool)  # new threads are awake
        threads.split(who, pool, MUCH, seen, 20_000_000)
        if len(set(seen.tolist())) >= min(pool, 2):
            break
    else:
        raise AssertionError("one thread computed everything")


@jit
def stumble(start, stop, seen, at):
    """Fails where item ``at`` is among the items."""
    for i in range(start, stop):
        if i == at:
            raise ValueError("stumbled")
        seen[i] += 1


@pytest.mark.parametrize("at", [0, 5])
def test_a_kernel_that_fails_is_an_error_and_the_pool_goes_on(pool, at):
    """In the caller's part or in that of another thread."""
    seen = np.zeros(6)
    with pytest.raises(RuntimeError if pool > 1 else ValueError, match="stumble failed" if pool > 1 else "stumbled"):
        threads.split(stumble, 6, MUCH, seen, at)
    seen[:] = 0
    threads.split(count, 6, MUCH, seen, 1)
    assert (seen == 1).all()


class Kind(NamedTuple):
    number: int
    sizes: tuple[int, ...]


@jit
def mix(start, stop, kind, x, nothing, flag, factor, y):
    if kind.number == 7 and nothing is None and flag:
        for i in range(start, stop):
            y[i] += x[i, kind.sizes[0], kind.sizes[1]] * factor


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arguments_of_all_kinds_arrive(pool, dtype):
    """Tuples with names and without, None, flags, scalars; also where memory is freed and taken again meanwhile."""
    x, y = np.arange(60, dtype=dtype).reshape(5, 4, 3), np.zeros(5, dtype)
    for turn in range(200):
        threads.split(mix, 5, MUCH, Kind(7, (turn % 4, turn % 3)), x.copy(), None, True, dtype(2), y)
    expected = sum(2 * x[:, turn % 4, turn % 3] for turn in range(200))
    np.testing.assert_array_equal(y, expected)


def test_arguments_that_take_too_much_room_are_refused(pool, monkeypatch):
    monkeypatch.setattr(calls, "ROOM", 64)
    seen = np.zeros((1,) * 7 + (4,))
    if pool > 1:
        with pytest.raises(Exception, match="more than 64 bytes"):
            threads.split(count, 4, MUCH, seen, 1)
    monkeypatch.undo()
    seen = np.zeros(4)
    threads.split(count, 4, MUCH, seen, 1)
    assert (seen == 1).all()


def test_a_part_that_nobody_has_begun_is_the_caller_s(pool, monkeypatch):
    """Threads that sleep and are not woken."""
    seen = np.zeros(5)
    threads.split(count, 5, MUCH, seen, 1)
    time.sleep(0.05)
    monkeypatch.setattr(threads._Worker, "rouse", lambda self: None)
    threads.split(count, 5, MUCH, seen, 1)
    assert (seen == 2).all()


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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer here")
def test_an_interrupt_leaves_nothing_behind(pool):
    """Ctrl-C comes while kernels run: it is raised when all threads have left the arrays, and the pool goes on."""
    seen, turns = np.zeros(4), 30_000_000
    threads.split(count, 4, MUCH, seen, 0)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        with pytest.raises(KeyboardInterrupt):
            threads.split(count, 4, MUCH, seen, turns)
            time.sleep(1)  # where it comes at last, should the kernel have been faster
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (seen == turns).all()
    threads.split(count, 4, MUCH, seen, 1)
    assert (seen == turns + 1).all()


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
