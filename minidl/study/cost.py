"""What an op costs: multiply-adds, and the bytes it keeps for backward."""

import functools
from math import prod

from minidl.op import FusedOp, Op
from minidl.ops.conv import Conv2d, Conv2dInputGrad
from minidl.ops.matmul import Linear, MatMul


@functools.singledispatch
def multiply_adds(op: Op, inputs, output) -> int:
    """The products that are summed up by one application of an op to arrays, biases not counted; 0 for elementwise ops.

    >>> import numpy as np
    >>> multiply_adds(Linear(), (np.ones((2, 3)), np.ones((4, 3))), np.ones((2, 4)))
    24
    """
    return 0


@multiply_adds.register
def _(op: Conv2d, inputs, output):
    return output.size * prod(inputs[1].shape[1:])


@multiply_adds.register
def _(op: Conv2dInputGrad, inputs, output):
    return inputs[0].size * prod(inputs[1].shape[1:])


@multiply_adds.register(Linear)
@multiply_adds.register(MatMul)
def _(op, inputs, output):
    return output.size * inputs[0].shape[-1]


def kept_bytes(op: Op, known: set[int]) -> int:
    """Bytes of the buffers that an op saves for backward. Those in ``known`` are not counted; new ones join it."""
    entries = [*(op._saved or ()), *((op.inputs or ()) if isinstance(op, FusedOp) else ())]
    total = 0
    for entry in entries:
        if entry is None:
            continue
        buffer = owner(entry[1] if isinstance(entry, tuple) else entry.array)  # a saved output is (index, array)
        if id(buffer) not in known:
            known.add(id(buffer))
            total += buffer.nbytes
    return total


def owner(array):
    """The array that holds the memory of a view."""
    while isinstance(array.base, type(array)):
        array = array.base
    return array
