"""Values inside tuples, lists and dicts."""

from collections.abc import Callable


def mapped(function: Callable, value, kind: type):
    """``function`` of everything of this kind in a value; the rest stays as it is.

    >>> mapped(abs, {"a": (-1, "b")}, int)
    {'a': (1, 'b')}
    """
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, (tuple, list)):
        items = [mapped(function, item, kind) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: mapped(function, item, kind) for key, item in value.items()}
    return value
