"""Memory of a GPU: how much is in use, and what to do when it runs out.

CuPy's pool keeps what is freed for the next array, which makes allocation cheap; so there is memory *allocated*, in tensors, and
memory *reserved*, which includes what the pool keeps.
"""

import gc
from collections import Counter

from minidl.errors import OutOfMemoryError


def explained(cupy, allocate):
    """CuPy's allocator ``allocate``, except that when memory runs out it gives back what the pool keeps, tries once more, and
    raises OutOfMemoryError.
    """
    def allocate_explained(size):
        try:
            return allocate(size)
        except cupy.cuda.memory.OutOfMemoryError:
            gc.collect()
            cupy.get_default_memory_pool().free_all_blocks()
        try:
            return allocate(size)
        except cupy.cuda.memory.OutOfMemoryError:
            raise OutOfMemoryError(_situation(cupy, size)) from None

    return allocate_explained


def _situation(cupy, size: int) -> str:
    device, pool = cupy.cuda.Device(), cupy.get_default_memory_pool()
    free, total = device.mem_info
    limit = f", of which the pool may take {as_text(pool.get_limit())}" if pool.get_limit() else ""
    return (f"the GPU cuda:{device.id} is out of memory: {as_text(size)} were asked for, and {as_text(free)} are free of "
            f"{as_text(total)}{limit}; tensors of this process hold {as_text(pool.used_bytes())}. Make the batch smaller (with "
            "gradients of several added up, if need be), compute in half precision (minidl.amp), or keep less for backward "
            "(minidl.utils.checkpoint)")


def as_text(size: float) -> str:
    """A number of bytes for people.

    >>> as_text(512), as_text(3 << 20), as_text(1.5 * 2**30)
    ('512 bytes', '3.0 MiB', '1.5 GiB')
    """
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


class Peaks:
    """Counts allocated bytes of each device, and their ``most`` so far, while it is open. It costs 1 us for each array."""

    def __init__(self, cupy):
        peaks = self

        class Hook(cupy.cuda.MemoryHook):
            name = "minidl.cuda.max_memory_allocated"

            def malloc_postprocess(self, *, device_id, mem_size, mem_ptr, **_):
                if mem_ptr:
                    peaks.add(device_id, mem_size)

            def free_postprocess(self, *, device_id, mem_size, **_):
                peaks.add(device_id, -mem_size)

        self.allocated, self.most = Counter(), Counter()
        Hook().__enter__()

    def add(self, device: int, size: int) -> None:
        """So many bytes more are in use, or fewer."""
        self.allocated[device] += size
        self.most[device] = max(self.most[device], self.allocated[device])

    def start(self, device: int, allocated: int) -> None:
        """Begin anew with what is in use now."""
        self.allocated[device] = self.most[device] = allocated
