"""Dtypes: names, defaults, and PyTorch's promotion table in one function.

Promotion differs from NumPy's in two ways: an integer with a float gives that float (int32 with float32 is float32, not
float64), and Python numbers and 0-d tensors only decide when they are of a higher kind (bool < integer < float) than every
tensor that has axes.

bfloat16 is not NumPy's own: the package ml_dtypes brings it, and is loaded when ``bfloat16`` is first asked for.
"""

import numpy as np

from minidl.errors import DtypeError, require
from minidl.kernels.half import REAL, is_half

bool_ = np.dtype(np.bool_)
uint8 = np.dtype(np.uint8)
int8, int16, int32, int64 = (np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64))
float16, float32, float64 = (np.dtype(t) for t in (np.float16, np.float32, np.float64))

_default = [float32]
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2, "c": 2}
FLOATING = REAL + "c"  # kinds; complex numbers occur only in the complex steps of gradcheck, never in a tensor with a gradient
_SUPPORTED = {t.name: t for t in (bool_, uint8, int8, int16, int32, int64, float16, float32, float64)}
BFLOAT16 = "bfloat16"
_ALIASES = {"half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
            bool: bool_, int: int64}


def get_default_dtype() -> np.dtype:
    """The dtype of floating-point tensors made without one; float32 unless set otherwise."""
    return _default[0]


def set_default_dtype(dtype) -> None:
    """Choose the dtype of floating-point tensors made without one.

    >>> set_default_dtype("float64"); get_default_dtype()
    dtype('float64')
    >>> set_default_dtype("float32")
    """
    dtype = as_dtype(dtype)
    if not is_floating(dtype):
        raise DtypeError(f"the default dtype must be floating point, got {dtype}")
    _default[0] = dtype


def as_dtype(dtype) -> np.dtype:
    """A NumPy dtype from a dtype, a name such as "float32" or a Python type. ``float`` is the default dtype.

    Raises DtypeError for any other, MissingDependencyError for bfloat16 without ml_dtypes.
    """
    if dtype is float:
        return _default[0]
    try:
        name = dtype if dtype == BFLOAT16 else np.dtype(dtype).name
        found = _ALIASES.get(dtype) or (_bfloat16() if name == BFLOAT16 else _SUPPORTED.get(name))
    except TypeError:
        found = None
    if found is None:
        raise DtypeError(f"unknown dtype {dtype!r}: choose one of {', '.join([*_SUPPORTED, BFLOAT16])}")
    return found


def _bfloat16() -> np.dtype:
    return np.dtype(require("ml_dtypes", extra="amp").bfloat16)


def is_floating(dtype: np.dtype) -> bool:
    """Whether numbers of this dtype have a fraction; complex ones count."""
    return dtype.kind in FLOATING


def default_for(kind: type) -> np.dtype:
    """The dtype of a Python number: bool, int64, or the default floating-point dtype."""
    return _default[0] if kind is float else bool_ if kind is bool else int64


def promote_types(a: np.dtype, b: np.dtype) -> np.dtype:
    """The dtype of an operation on tensors of dtypes ``a`` and ``b`` that both have axes.

    float16 with bfloat16 is float32, which holds both.

    >>> promote_types(int32, float32), promote_types(uint8, int8), promote_types(float16, float32)
    (dtype('float32'), dtype('int16'), dtype('float32'))
    """
    if a is b or a == b:
        return a
    if is_floating(a) != is_floating(b):
        return a if is_floating(a) else b
    return float32 if is_half(a) and is_half(b) else np.promote_types(a, b)


def result_type(*operands) -> np.dtype:
    """The dtype that an operation on these tensors, arrays and Python numbers has.

    >>> result_type(np.ones(2, np.float32), 2), result_type(np.ones(2, np.int64), 0.5), result_type(np.ones(2, np.uint8), 300)
    (dtype('float32'), dtype('float32'), dtype('uint8'))
    >>> result_type(np.ones(2, np.float32), np.array(1.0))
    dtype('float32')
    """
    levels: list[np.dtype | None] = [None, None, None]  # tensors with axes, 0-d tensors, Python numbers
    for operand in operands:
        level, dtype = (0 if operand.ndim else 1, operand.dtype) if hasattr(operand, "dtype") else (2, _of_number(operand))
        levels[level] = dtype if levels[level] is None else promote_types(levels[level], dtype)
    result = None
    for dtype in levels:
        if result is None or (dtype is not None and _RANK[dtype.kind] > _RANK[result.kind]):
            result = dtype
    return result


def _of_number(value) -> np.dtype:
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return default_for(kind)
    raise DtypeError(f"expected a tensor or a number, got {type(value).__name__}")
