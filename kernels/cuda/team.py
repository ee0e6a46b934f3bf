"""How a sum is shared out among threads: see team.cuh."""

import functools
from typing import NamedTuple

from minidl.kernels.cuda.launch import THREADS, lanes

WARP, BLOCK, COLUMN = range(3)
WARP_SIZE = 32
FEW = 2048  # numbers that a warp adds up alone
BLOCKS = 1024  # that keep a large GPU busy
STEPS = 8  # a thread takes, at least, before a channel is cut into parts
MOST = 1 << 30  # numbers in a part, which are counted in 32 bits


class Layout(NamedTuple):
    """An array seen as (batch, outer, kept, inner), to be summed over outer and inner."""

    batch: int
    outer: int
    kept: int
    inner: int

    @property
    def channels(self) -> int:
        """How many sums there are."""
        return self.batch * self.kept


class Plan(NamedTuple):
    """The arguments of a kernel that begin with ``team``, and those of its launch."""

    arguments: tuple[int, int, int, int, int]
    items: int
    per_item: int

    @property
    def parts(self) -> int:
        """How many parts each channel is cut into."""
        return self.arguments[-1]


@functools.lru_cache(4096)
def plan(layout: Layout, dtype) -> Plan:
    """By shapes alone, so that every GPU adds up in the same order."""
    batch, outer, kept, inner = layout
    count = outer * inner
    column = inner == 1 and kept > 1
    if count <= FEW and not column:
        return Plan((WARP, outer, kept, inner, 1), layout.channels, WARP_SIZE)
    teams = batch * -(-kept // WARP_SIZE) if column else layout.channels
    members = THREADS // WARP_SIZE if column else THREADS
    enough = count // (members * STEPS * (1 if column else lanes(dtype)))
    parts = max(1, min(-(-BLOCKS // max(teams, 1)), enough), -(-count // MOST))
    return Plan((COLUMN if column else BLOCK, outer, kept, inner, parts), teams * parts, THREADS)
