"""A model layer by layer: shapes, parameters, multiply-adds, bytes kept for backward, receptive field."""

from math import prod
from typing import NamedTuple

import numpy as np

from minidl import nn
from minidl.kernels.shapes import pair
from minidl.nn.utils import preserved
from minidl.op import FusedOp
from minidl.ops.create import zeros
from minidl.tape import enable_grad
from minidl.tensor import Tensor


class Row(NamedTuple):
    """One layer. ``receptive_field``: side of the square of input pixels that one output element sees; None after flattening."""

    name: str
    layer: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    saved_bytes: int
    receptive_field: int | None


def summarize(model: nn.Module, input_shape: tuple[int, ...]) -> list[Row]:
    """One row for each layer without children, in the order they run, for an input of shape (N, C, H, W).

    Multiply-adds are those of convolutions and linear layers, biases not counted. Bytes kept are those of arrays that the
    layer's ops save for backward in training, parameters aside, each counted where it is first saved. The receptive field
    follows the layers as a chain. The model is left as it was.

    >>> from minidl.models import LeNet5
    >>> rows = summarize(LeNet5(), (1, 1, 28, 28))
    >>> sum(r.parameters for r in rows), sum(r.multiply_adds for r in rows)
    (61706, 416520)
    """
    rows: list[Row] = []
    names = {module: name for name, module in model.named_modules()}
    known = {id(_owner(p.array)) for p in model.parameters()}
    field, jump = 1, 1

    def record(module, inputs, output):
        nonlocal field, jump
        if field is not None:
            field, jump = _receptive_field(module, field, jump)
        rows.append(Row(names[module], type(module).__name__, tuple(output.shape), sum(p.numel() for p in module.parameters()),
                        _multiply_adds(module, output), _saved_bytes(output, inputs, known), field))

    handles = [m.register_forward_hook(record) for m in model.modules() if not list(m.children())]
    try:
        with preserved(model), enable_grad():
            model.train()(zeros(*input_shape, requires_grad=True))
    finally:
        for handle in handles:
            handle.remove()
    return rows


def _multiply_adds(module, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return output.numel() * prod(module.weight.shape[1:])
    return output.numel() * module.in_features if isinstance(module, nn.Linear) else 0


def _receptive_field(module, field: int, jump: int):
    """Araujo et al. 2019, "Computing receptive fields": each window of k adds (k - 1) times the stride so far."""
    if isinstance(module, (nn.Flatten, nn.Linear, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
        return None, jump
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return field, jump
    kernel = pair(module.kernel_size)[0]
    stride = kernel if module.stride is None else pair(module.stride)[0]
    dilation = pair(getattr(module, "dilation", 1))[0]
    return field + (kernel - 1) * dilation * jump, jump * stride


def _saved_bytes(output: Tensor, inputs, known: set[int]) -> int:
    """Bytes of the buffers that the ops between inputs and output save; ``known`` ones are not counted, new ones join them."""
    edge = {x.op for x in inputs if x.op is not None}
    stack, seen, total = [output.op], set(edge), 0
    while stack:
        op = stack.pop()
        if op is None or op in seen or isinstance(op, Tensor):  # an edge ends at an op, or at a leaf
            continue
        seen.add(op)
        entries = [*(op._saved or ()), *((op.inputs or ()) if isinstance(op, FusedOp) else ())]
        arrays = [entry[1] if isinstance(entry, tuple) else entry.array  # a saved output is (index, array)
                  for entry in entries if entry is not None]
        for buffer in map(_owner, arrays):
            if id(buffer) not in known:
                known.add(id(buffer))
                total += buffer.nbytes
        stack += [edge[0] for edge in op.edges if edge is not None]
    return total


def _owner(array: np.ndarray) -> np.ndarray:
    """The array that holds the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
