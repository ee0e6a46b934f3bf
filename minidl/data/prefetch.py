"""Batches where they are computed: on a GPU the next one arrives while the current one is computed."""

from collections.abc import Iterable, Iterator

from minidl.cuda.load import load_cupy
from minidl.device import Device
from minidl.kernels.streams import side_stream
from minidl.nested import mapped
from minidl.tensor import Tensor


def prefetch(batches: Iterable, device) -> Iterator:
    """The batches, whose tensors may stand in tuples, lists and dicts, on ``device``.

    To a GPU, a batch is copied on a stream of its own while the one before is computed; so three of them take memory there, and
    one more has been taken from ``batches`` than was handed out.

    >>> import minidl
    >>> [(x.device.type, y) for x, y in prefetch([(minidl.ones(2), "a"), (minidl.ones(2), "b")], "cpu")]
    [('cpu', 'a'), ('cpu', 'b')]
    """
    device = Device.parse(device)
    return (_moved(batch, device) for batch in batches) if device.type == "cpu" else _ahead(batches, device)


def _moved(batch, device: Device):
    return mapped(lambda x: x.to(device, non_blocking=True), batch, Tensor)


def _ahead(batches: Iterable, device: Device) -> Iterator:
    cuda = load_cupy().cuda
    with cuda.Device(device.index):
        stream = side_stream()

    def send(batch):
        """The batch on its way, and the event that it has arrived."""
        with cuda.Device(device.index):
            stream.wait_event(cuda.get_current_stream().record())  # what was freed until now may still be computed with
            with stream:
                return _moved(batch, device), stream.record()

    before = None
    for batch in batches:
        after = send(batch)
        if before is not None:
            yield _arrived(*before)
        before = after
    if before is not None:
        yield _arrived(*before)


def _arrived(batch, event):
    """The batch, for which the stream that computes waits, and Python does not."""
    load_cupy().cuda.get_current_stream().wait_event(event)
    return batch
