"""The idx format of MNIST: a header of sizes, then bytes. Files come from outside, so every size is checked before it is used."""

import gzip
import os
import zlib
from math import prod
from pathlib import Path

import numpy as np

from minidl.errors import DataError

MAX_BYTES = 2**31  # more than any data set in this format has


def read_idx(path) -> np.ndarray:
    """The array in an idx file of unsigned bytes, plain or gzipped.

    Format: bytes 0 0 8 rank, then the size of each axis as a big-endian 32-bit integer, then the elements (LeCun, the MNIST
    page). Raises DataError, naming the file and what was found, for anything else: another type, truncated or surplus data,
    a damaged or overlong gzip stream.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "two-labels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 3]))
    ...     read_idx(path)
    array([7, 3], dtype=uint8)
    """
    path = Path(path)
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            most = MAX_BYTES
            if zipped:  # images shrink to a tenth or so, a bomb a thousandfold
                most = min(most, (1 << 26) + 100 * os.fstat(raw.fileno()).st_size)
            with gzip.GzipFile(fileobj=raw) if zipped else raw as stream:
                return _read(stream, path, most)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or unreadable: {error}") from error


def _read(stream, path: Path, most: int) -> np.ndarray:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(f"{path}: not an idx file: it starts with {start.hex(' ') or 'nothing'}, expected 00 00 08")
    if start[2] != 8:
        raise DataError(f"{path}: an idx file of type {start[2]:#04x}; only unsigned bytes (0x08) are read")
    rank = start[3]
    header = stream.read(4 * rank)
    if not 1 <= rank <= 4 or len(header) < 4 * rank:
        raise DataError(f"{path}: an idx header of {rank} axes that is truncated or has none or too many")
    shape = tuple(int.from_bytes(header[4 * i : 4 * i + 4], "big") for i in range(rank))
    if prod(max(n, 1) for n in shape) > most:  # NumPy counts an axis of 0 as 1 too
        raise DataError(f"{path}: the header announces {shape}; the limit for this file is {most} bytes")
    size = prod(shape)
    data = _read_up_to(stream, size + 1)  # one byte more, to see a surplus without reading all of it
    if len(data) != size:
        found = "more" if len(data) > size else f"only {len(data)}"
        raise DataError(f"{path}: the header {shape} announces {size} bytes, the file has {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_up_to(stream, count: int) -> bytearray:
    """At most ``count`` bytes, piece by piece: a header that lies about the size costs no memory."""
    data = bytearray()
    while len(data) < count and (piece := stream.read(min(1 << 20, count - len(data)))):
        data += piece
    return data
