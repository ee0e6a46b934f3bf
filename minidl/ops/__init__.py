"""Differentiable ops, one file per family. All public functions, under PyTorch's names."""

from minidl.ops.arithmetic import add, div, floor_divide, mul, neg, remainder, sub
from minidl.ops.choose import clamp, maximum, minimum, where
from minidl.ops.compare import (
    allclose,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    equal,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from minidl.ops.elementwise import (
    ceil,
    cos,
    erf,
    exp,
    expm1,
    floor,
    log,
    log1p,
    log2,
    log10,
    pow,
    reciprocal,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    tanh,
    trunc,
)
from minidl.ops.elementwise import abs_ as abs
from minidl.ops import inplace as _inplace  # attaches methods only
from minidl.ops.reduce import (
    amax,
    amin,
    argmax,
    argmin,
    count_nonzero,
    cumprod,
    cumsum,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)
from minidl.ops.reduce import all_ as all
from minidl.ops.reduce import any_ as any

# Every function imported above is public: `from minidl.ops import *` makes it `minidl.NAME`.
