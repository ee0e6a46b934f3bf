"""A model layer by layer: shapes, parameters, multiply-adds, bytes kept for backward, receptive field."""

from typing import NamedTuple

from minidl import nn
from minidl.kernels.shapes import pair
from minidl.nn.utils import device_of, preserved
from minidl.ops.create import zeros
from minidl.study.record import record
from minidl.tape import enable_grad


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
    layer's ops save for backward in training, parameters aside, each counted where it is first saved. Where branches join, the
    receptive field is that of the one that sees most. The model is left as it was.

    >>> from minidl.models import LeNet5
    >>> rows = summarize(LeNet5(), (1, 1, 28, 28))
    >>> sum(r.parameters for r in rows), sum(r.multiply_adds for r in rows)
    (61706, 416520)
    """
    image = zeros(*input_shape, requires_grad=True, device=device_of(model))
    with preserved(model), enable_grad(), record(model) as seen:
        model.train()(image)
    fields, rows = _receptive_fields(seen, image), []
    for number, (path, module, shape) in enumerate(seen.calls):
        if list(module.children()):
            continue
        ops = [entry for entry in seen if entry.call == number]
        rows.append(Row(path, type(module).__name__, shape, sum(p.numel() for p in module.parameters()),
                        sum(op.multiply_adds for op in ops), sum(op.kept_bytes for op in ops), fields[number]))
    return rows


def _receptive_fields(seen, image) -> dict[int, int | None]:
    """The receptive field of each call's output, by the call's number; None after flattening."""
    of_array: dict[int, tuple[int | None, int]] = {id(image.array): (1, 1)}
    of_call: dict[int, int | None] = {}
    last: int | None = 1
    for entry in seen:
        known = [of_array[id(x)] for x in entry.inputs if id(x) in of_array]
        if not known:  # an op on weights alone
            continue
        field, jump = (None, 1) if any(field is None for field, _ in known) else max(known)
        first = entry.call not in of_call
        if first and entry.call is not None and field is not None:
            field, jump = _window(seen.calls[entry.call].module, field, jump)
        of_call[entry.call] = last = field
        of_array |= {id(y): (field, jump) for y in entry.outputs}
    return {number: of_call.get(number, last) for number in range(len(seen.calls))}


def _window(module, field: int, jump: int):
    """Araujo et al. 2019, "Computing receptive fields": each window of k adds (k - 1) times the stride so far."""
    if isinstance(module, (nn.Flatten, nn.Linear, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
        return None, jump
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return field, jump
    kernel = pair(module.kernel_size)[0]
    stride = kernel if module.stride is None else pair(module.stride)[0]
    dilation = pair(getattr(module, "dilation", 1))[0]
    return field + (kernel - 1) * dilation * jump, jump * stride
