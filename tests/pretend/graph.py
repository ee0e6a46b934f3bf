"""Streams of the stand-in that are recorded: what would run on the GPU is noted down, and done when the graph is launched.

As strict as CUDA and CuPy 14: what waits for the GPU, copies between it and the CPU or calls cuBLAS fails while its stream is
being recorded. CuPy refuses copies by itself; what CUDA refuses spoils the recording. Until the first launch results are garbage.
A launch fails if it touches memory that was given back meanwhile, since neither the array nor the pool that it came from is
alive: a GPU would take what lies there now.
"""

import threading
import weakref

import numpy as np

CUBLAS = {"matmul", "dot", "vdot", "inner", "tensordot", "einsum", "linalg.norm", "ndarray.dot"}
WAITING = {"ndarray.item", "ndarray.tolist", "ndarray.tobytes",
           "nonzero", "ndarray.nonzero", "argwhere", "flatnonzero", "unique", "extract", "compress", "ndarray.compress",
           "bincount"}  # for numbers, or for a shape
IN_PLACE = {"copyto", "place", "put", "putmask", "put_along_axis", "fill_diagonal", "ndarray.put", "ndarray.fill",
            "ndarray.sort"}


SPOILED = "operation failed due to a previous error during capture"


class CUDARuntimeError(RuntimeError):
    """What CUDA answers; ``status`` is its number."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Recorded:
    """What a stream takes down between ``begin_capture`` and ``end_capture``."""

    def __init__(self):
        self.work, self.memory, self.spoiled = [], [], False

    def add(self, work, arrays) -> None:
        """``work()`` is to be done at each launch; it touches the memory of these arrays."""
        if self.spoiled:
            raise CUDARuntimeError(901, f"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED: {SPOILED}")
        self.work.append(work)
        owners = [array if array.base is None else array.base for array in arrays]
        self.memory += [(weakref.ref(owner), owner.pool) for owner in owners]


class Graph:
    """A recording that can be launched."""

    def __init__(self, recorded: Recorded):
        self._recorded = recorded

    def launch(self, stream=None):
        refuse("a launch of another graph")
        if any(owner() is None and (pool is None or pool() is None) for owner, pool in self._recorded.memory):
            raise CUDARuntimeError(700, "cudaErrorIllegalAddress: a recorded kernel touches memory that was given back")
        for work in self._recorded.work:
            work()


class _State(threading.local):
    """What the current stream of this thread takes down."""

    recorded: Recorded | None = None


state = _State()


def finish() -> Graph:
    """The graph of what the current stream took down."""
    recorded = state.recorded
    if recorded.spoiled:
        raise CUDARuntimeError(901, f"cudaErrorStreamCaptureInvalidated: {SPOILED}")
    return Graph(recorded)


def refuse_copy(direction: str) -> None:
    """Fail as CuPy does if the current stream is being recorded; ``direction`` is H2D or D2H, between host and device."""
    if state.recorded is not None:
        if state.recorded.spoiled:
            raise RuntimeError("the stream was capturing, but an error has invalidated the capture sequence")
        raise RuntimeError(f"the current stream is capturing, so {direction} transfers are disallowed")


def refuse(what: str) -> None:
    """Fail as CUDA does if the current stream is being recorded."""
    if state.recorded is not None:
        state.recorded.spoiled = True
        text = "operation not permitted when stream is capturing"
        raise CUDARuntimeError(900, f"cudaErrorStreamCaptureUnsupported: {text}: {what}")


def change(work, arrays, result=None):
    """``work()``, which writes into some of these arrays, now or at each launch; ``result`` is what it would return."""
    if state.recorded is None:
        return work()
    state.recorded.add(work, arrays)
    return result


def compute(name: str, work, arrays):
    """What ``work()`` returns: host arrays, new ones or views of these device arrays. While the stream is being recorded new ones
    hold garbage, NaN or 0, until a launch.
    """
    if state.recorded is None:
        return work()
    if name in WAITING:
        refuse_copy("D2H")
    result = work()
    result = type(result)(map(np.asarray, result)) if isinstance(result, (tuple, list)) else np.asarray(result)
    if name in CUBLAS and (np.size(result) != 1 or name == "linalg.norm"):  # a product of one number is a sum
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    known = {id(owner(array._host)) for array in arrays}
    places = [out for out in _leaves(result) if id(owner(out)) not in known]
    if places:
        state.recorded.add(lambda: _fill(places, [out for out in _leaves(work()) if id(owner(out)) not in known]), arrays)
    for place in places:
        place[...] = np.nan if place.dtype.kind == "f" else 0
    return result


def owner(host):
    """The array whose memory this one is a view of."""
    while isinstance(getattr(host, "base", None), np.ndarray):
        host = host.base
    return host


def _leaves(result) -> list:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _fill(places, values) -> None:
    for place, value in zip(places, values, strict=True):
        place[...] = value
