"""Arrays that will not change, and what kernels have made of them: the weights of a network that only infers.

Whoever owns an array promises with ``constant`` that it keeps its values, and breaks the promise with ``changed``;
``unchanging`` promises it for a while. A kernel that packs or transforms an operand asks ``derived`` for the result, which is
kept for as long as array and promise last.

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
import weakref
from collections.abc import Callable
from typing import Any

_kept: dict[int, dict] = {}  # what was made of each constant array, by the array's id


def constant(array) -> None:
    """Promise that ``array`` keeps its values until it is gone or ``changed`` is called for it. A view is left alone: what lies
    below it may change under another name.
    """
    key = id(array)
    if array.base is None and key not in _kept:
        _kept[key] = {}
        weakref.finalize(array, _kept.pop, key, None).atexit = False


def changed(array) -> None:
    """Take the promise back: what was made of the array is let go."""
    if _kept:
        _kept.pop(id(array), None)


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
    key = id(array)
    if array.base is not None or key in _kept:
        yield
        return
    _kept[key] = {}
    try:
        yield
    finally:
        _kept.pop(key, None)


def derived(array, name, make: Callable[[], Any]):
    """The result of ``make()``, which depends on ``array`` alone: the one that was kept under ``name``, or a new one."""
    found = _kept.get(id(array))
    if found is None:
        return make()
    if name not in found:
        found[name] = make()
    return found[name]
