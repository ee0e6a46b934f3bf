"""How a product of matrices is cut into tiles for gemm.cuh."""

from typing import NamedTuple

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import THREADS, launch, wide

ROWS, COLUMNS, DEPTH = (128, 64, 32), 128, 8  # of the tiles that there are, and of a step
BUSY = 132  # blocks: as many as an H100 has multiprocessors, of which each runs two
SHORTEST, LONGEST = 64, 8192  # sums of one block: below, it is not worth its while; above, float32 loses digits
LARGEST = (1 << 31) - 1024  # numbers of an array: kernels count them in int, and the last tile may reach beyond


class Plan(NamedTuple):
    """``rows`` of a tile, ``blocks``, and of the long sums the number of ``parts`` and the ``length`` of each."""

    rows: int
    blocks: int
    parts: int
    length: int


def plan(rows: int, columns: int, depth: int = 0, batches: int = 1) -> Plan:
    """Tiles for products (rows, depth) (depth, columns): the largest that leave no multiprocessor idle, cutting long sums where
    there are few; without ``depth`` sums stay whole. It depends on sizes alone, so that results do.

    >>> plan(512, 4608, 6272), plan(6, 25, 100352)
    (Plan(rows=128, blocks=144, parts=1, length=6272), Plan(rows=32, blocks=262, parts=262, length=384))
    """
    for size in ROWS:
        tiles = batches * -(-rows // size) * -(-columns // COLUMNS)
        if rows > size // 2 and tiles * max(1, -(-depth // SHORTEST)) >= BUSY:
            break
    parts, length = cut(depth, tiles)
    return Plan(size, tiles * parts, parts, length)


def cut(depth: int, tiles: int) -> tuple[int, int]:
    """Into how many parts of which length sums over ``depth`` are cut, where blocks compute ``tiles``.

    >>> cut(100352, 1), cut(100352, 1000)
    ((262, 384), (13, 7720))
    """
    wanted = min(depth // SHORTEST, 2 * BUSY // tiles) if 0 < tiles < BUSY else 1
    parts = max(1, wanted, -(-depth // LONGEST))
    length = -(-depth // (parts * DEPTH)) * DEPTH
    return (-(-depth // length) if depth else 1), length


def launch_in_parts(name: str, blocks: int, parts: int, length: int, out, *args, after=()) -> None:
    """Run kernel ``name`` with the arguments ``args, out, partial, length, after``, and add up the parts."""
    partial = namespace(out).empty((parts, *out.shape), wide(out.dtype)) if parts > 1 else None
    launch(name, blocks, *args, out, partial, length, *after, dtype=out.dtype, per_item=THREADS)
    if partial is not None:
        launch("parts.sum_parts", out.size, partial, parts, out, dtype=out.dtype)
