"""Arrays that will not change, and what kernels have made of them: the weights of a network that only infers.

Whoever owns an array promises with ``constant`` that it keeps its values, and breaks the promise with ``changed``;
``unchanging`` promises it for a while. A kernel that packs or transforms an operand asks ``derived`` for the result, which is
kept for as long as array and promise last.

What a step makes while it is recorded is filled at its replays, and never if the recording fails. So its own ``unchanging``
blocks make it at every replay; what follows from an array that is ``constant`` is made ahead of the first replay, and again when
the promise was broken.

>>> import numpy as np
>>> w = np.array([1.0, 2.0])
>>> constant(w)
>>> doubled = derived(w, "doubled", lambda: 2 * w)
>>> derived(w, "doubled", lambda: 2 * w) is doubled
True
>>> changed(w)
>>> derived(w, "doubled", lambda: 2 * w) is doubled
False
"""

import contextlib
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.kernels.recording import Recording, current

Key = tuple[int, Recording | None]  # an array's id, and the recording inside which the promise was made

_kept: dict[Key, dict] = {}  # what was made of each constant array


def constant(array) -> None:
    """Promise that ``array`` keeps its values until it is gone or ``changed`` is called for it. A view is left alone: what lies
    below it may change under another name.
    """
    key = id(array), None
    if array.base is None and key not in _kept:
        _kept[key] = {}
        weakref.finalize(array, _kept.pop, key, None).atexit = False


def changed(array) -> None:
    """Take the promise back: what was made of the array is let go."""
    if _kept:
        _kept.pop((id(array), None), None)
        _kept.pop((id(array), current()), None)


@contextlib.contextmanager
def unchanging(array):
    """Promise that ``array`` keeps its values inside the block.

    >>> import numpy as np
    >>> gy = np.ones(2)
    >>> with unchanging(gy):
    ...     doubled = derived(gy, "doubled", lambda: 2 * gy)
    ...     print(derived(gy, "doubled", lambda: 2 * gy) is doubled)
    True
    >>> derived(gy, "doubled", lambda: 2 * gy) is doubled
    False
    """
    key = id(array), current()
    if array.base is not None or key in _kept:
        yield
        return
    _kept[key] = {}
    try:
        yield
    finally:
        _kept.pop(key, None)


def derived(array, name, make: Callable[[], Any]):
    """The result of ``make()``, which depends on ``array`` alone: the one that was kept under ``name``, or a new one.

    On a GPU it is kept for one stream, as another would not wait for it. What shares the array's memory is not kept: it would
    keep the array alive.
    """
    recording = current()
    found = _kept.get((id(array), recording))
    if found is None:
        return _ahead_of_replays(array, make, recording) if (id(array), None) in _kept else make()
    if not isinstance(array, np.ndarray):
        name = name, sys.modules["cupy"].cuda.get_current_stream().ptr
    if name not in found:
        made = make()
        if _shares_memory(made, array):
            return made
        found[name] = made
    return found[name]


def _ahead_of_replays(array, make, recording):
    """The result of ``make()``, in memory that is filled before a replay, unless it was since ``array`` was promised to stay."""
    with recording.beside():  # for the memory; what the array holds, another stream may still be writing
        made = make()
    if _shares_memory(made, array):
        return made
    filled_for = None

    def fill():
        nonlocal filled_for
        promise = _kept.get((id(array), None))
        if promise is None or promise is not filled_for:
            made[...] = make()
            filled_for = promise

    recording.before_replay(fill)
    return made


def _shares_memory(made, array) -> bool:
    return made is array or getattr(made, "base", None) is array
