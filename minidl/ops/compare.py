"""Comparisons, logic and tests of elements. Their results are bools or integers and carry no gradient."""

from minidl.device import check_same_device
from minidl.dtypes import is_floating
from minidl.errors import DtypeError
from minidl.kernels import namespace
from minidl.ops.cast import promoted, together
from minidl.tensor import Tensor, astensor, method, wrap


def _applied(operator, x: Tensor, y: Tensor) -> Tensor:
    """A ufunc of two tensors."""
    try:
        return wrap(getattr(namespace(x.array), operator)(x.array, y.array))
    except Exception:
        if (moved := together(x, y)) is None:
            check_same_device(operator, x, y)
            raise
        return _applied(operator, *moved)


def _comparison(name, operator, doc):
    dunder = f"__{name}__"

    def compare(input, other) -> Tensor:
        if other is None or isinstance(other, str):
            return NotImplemented
        return _applied(operator, *promoted(input, other))

    compare.__name__, compare.__doc__ = name, doc
    return method(name, dunder)(compare)


eq = _comparison("eq", "equal", "input == other, element by element. NaN equals nothing.")
ne = _comparison("ne", "not_equal", "input != other, element by element.")
lt = _comparison("lt", "less", "input < other, element by element.")
le = _comparison("le", "less_equal", "input <= other, element by element.")
gt = _comparison("gt", "greater", "input > other, element by element.")
ge = _comparison("ge", "greater_equal", "input >= other, element by element.")


def _logic(name, operator, doc, *dunders):
    def combine(input, other) -> Tensor:
        x, y = promoted(input, other)
        if is_floating(x.array.dtype):
            raise DtypeError(f"{name} needs bool or integer tensors, got {x.dtype}")
        return _applied(operator, x, y)

    combine.__name__, combine.__doc__ = name, doc
    return method(name, *dunders)(combine)


bitwise_and = _logic("bitwise_and", "bitwise_and", "input & other.", "__and__", "__rand__")
bitwise_or = _logic("bitwise_or", "bitwise_or", "input | other.", "__or__", "__ror__")
bitwise_xor = _logic("bitwise_xor", "bitwise_xor", "input ^ other.", "__xor__", "__rxor__")


def _truth(name):
    def combine(input, other) -> Tensor:
        return _applied(name, astensor(input), astensor(other))

    combine.__name__, combine.__doc__ = name, f"{name.replace('_', ' ').capitalize()} of the elements' truth."
    return method(name)(combine)


logical_and, logical_or, logical_xor = map(_truth, ("logical_and", "logical_or", "logical_xor"))


@method("logical_not")
def logical_not(input) -> Tensor:
    """True where the element is 0."""
    x = astensor(input)
    return wrap(namespace(x.array).logical_not(x.array))


@method("__invert__", "bitwise_not")
def bitwise_not(input) -> Tensor:
    """~input, for bools and integers."""
    return wrap(~input.array)


def _test(name):
    def test(input) -> Tensor:
        x = astensor(input)
        return wrap(getattr(namespace(x.array), name)(x.array))

    test.__name__, test.__doc__ = name, f"{name}(x) for each element."
    return method(name)(test)


isnan, isinf, isfinite = map(_test, ("isnan", "isinf", "isfinite"))


def isclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False) -> Tensor:
    """Where |input - other| <= atol + rtol |other|."""
    x, y = promoted(input, other)
    check_same_device("isclose", x, y)
    return wrap(namespace(x.array).isclose(x.array, y.array, rtol, atol, equal_nan))


@method()
def allclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False) -> bool:
    """Whether all elements satisfy |input - other| <= atol + rtol |other|."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


@method()
def equal(input, other) -> bool:
    """Whether shapes and all elements are equal."""
    check_same_device("equal", input, other)
    return input.shape == other.shape and bool((input.array == other.array).all())
