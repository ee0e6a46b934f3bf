"""Memory of the stand-in: pools that count bytes, by device, and what else gives out memory."""

import contextlib
import threading
import weakref
from collections import Counter

DEVICES = 2
ROUNDED = 512  # bytes: of this size are the pieces of CuPy's memory pool
hooks: dict[str, object] = {}
taken: Counter = Counter()  # bytes that pools have of each device


class Current(threading.local):
    """The device of this thread, its own allocator if it has one, and the pool that gave memory last."""

    device, allocator, pool = 0, None, None


current = Current()


class OutOfMemoryError(MemoryError):
    """As CuPy raises it."""

    def __init__(self, size, total, limit=0):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, limit set to: {limit:,}).")


class MemoryPool:
    """A pool as CuPy shows it: in C, so that there are no weak references to it."""

    __slots__ = ("_pool",)

    def __init__(self):
        self._pool = _Pool()

    def __getattr__(self, name):
        return getattr(self._pool, name)


class _Pool:
    """Keeps what it gets back, of any size, until ``free_all_blocks``. What it has when it dies is lost, as with CuPy's."""

    def __init__(self):
        self._used, self._total, self._limits = Counter(), Counter(), Counter()  # by device; 0 is no limit
        self.weakref = weakref.ref(self)  # kept here, so that it does not die with a cycle of references that has memory

    def malloc(self, size):
        device, size = current.device, -(-size // ROUNDED) * ROUNDED
        used, limit = self._used[device] + size, self._limits[device]
        if limit and used > limit:
            raise OutOfMemoryError(size, self._used[device], limit)
        self._used[device] = used
        self._resize(device, max(used, self._total[device]))
        for hook in hooks.values():
            hook.malloc_postprocess(device_id=device, size=size, mem_size=size, mem_ptr=1, pmem_id=1)
        current.pool = self
        return PooledMemory(self, device, size)

    def _free(self, device, size):
        self._used[device] -= size
        for hook in hooks.values():
            hook.free_postprocess(device_id=device, mem_size=size, mem_ptr=1, pmem_id=1)

    def _resize(self, device, total):
        taken[device] += total - self._total[device]
        self._total[device] = total

    def used_bytes(self):
        return self._used[current.device]

    def total_bytes(self):
        return self._total[current.device]

    def free_bytes(self):
        return self.total_bytes() - self.used_bytes()

    def free_all_blocks(self, stream=None):
        self._resize(current.device, self.used_bytes())

    def n_free_blocks(self):
        return int(self.free_bytes() > 0)

    def get_limit(self):
        return self._limits[current.device]

    def set_limit(self, size=None, fraction=None):
        self._limits[current.device] = size or 0


class PooledMemory:
    """What a pool gave. The pool gets it back when nobody holds it any more, if the pool is still there."""

    def __init__(self, pool, device, size):
        self.ptr, self.device_id, self._pool, self._size = id(self), device, pool.weakref, size

    def __del__(self):
        if (pool := self._pool()) is not None:
            pool._free(self.device_id, self._size)


class UnownedMemory:
    """Memory that lives as long as ``owner`` lives."""

    def __init__(self, ptr, size, owner, device_id=-1):
        self.owner = owner


class MemoryPointer:
    """A place in memory."""

    def __init__(self, mem, offset):
        self.mem = mem


class MemoryHook:
    """Is told of what pools give out and take back."""

    def __enter__(self):
        hooks[self.name] = self
        return self

    def __exit__(self, *_):
        del hooks[self.name]

    def malloc_postprocess(self, **_):
        pass

    free_postprocess = malloc_postprocess


default_pool = MemoryPool()
allocator = [default_pool.malloc]


def get_allocator():
    return current.allocator or allocator[0]


def set_allocator(found=None):
    allocator[0] = found


@contextlib.contextmanager
def using_allocator(allocator):
    """Arrays are made in memory from there."""
    before, current.allocator = current.allocator, allocator
    try:
        yield
    finally:
        current.allocator = before
