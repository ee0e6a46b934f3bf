"""A GPU's stream beside the one that computes."""

import functools
import sys
import threading


def side_stream():
    """A stream of the current GPU's for this thread, always the same one: CuPy keeps memory apart for each stream, for ever.

    It does not wait for other streams, nor they for it, unless told to.
    """
    cupy = sys.modules["cupy"]
    return _stream(cupy, cupy.cuda.get_device_id(), threading.get_ident())


@functools.cache
def _stream(cupy, device, thread):
    return cupy.cuda.Stream(non_blocking=True)
