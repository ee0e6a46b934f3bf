"""What reading a hostile file may take: 2 seconds, and 100 MB beyond twice the file."""

import time
import tracemalloc

MOST_SECONDS, MOST_BYTES = 2, 100_000_000


def read_within_limits(read, path):
    """``read(path)``, or the error it raised; fails if it took longer, or more memory, than a hostile file may cost.

    Time and memory are measured in two readings, since what counts memory slows down everything else.
    """
    size = path.stat().st_size
    start = time.perf_counter()
    _attempt(read, path)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    try:
        found = _attempt(read, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < MOST_SECONDS, f"{seconds:.1f} s"
    assert peak < MOST_BYTES + 2 * size, f"{peak:,} bytes for a file of {size:,}"
    return found


def _attempt(read, path):
    try:
        return read(path)
    except Exception as error:
        return error
