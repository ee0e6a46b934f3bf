"""As much of MATLAB's file format as a table takes: an array of structures, whose fields are numbers or text.

Source: MathWorks, "MAT-File Format", version 5, little-endian. Nothing here calls itself, so no file can nest too deep; what is
compressed is unpacked up to a limit.
"""

import struct
import zlib

import numpy as np

from minidl.errors import DataError

MOST_BYTES = 16_000_000  # unpacked
COMPRESSED, MATRIX, STRUCTURES, TEXT = 15, 14, 2, 4
NUMBERS = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}


def read_table(data: bytes, name: str) -> list[dict]:
    """The rows of the array of structures ``name``; a field that is neither one number nor text is None.

    Raises DataError for a file that is damaged, has no such table, or unpacks to more than 16 MB.
    """
    try:
        for matrix in _matrices(data):
            parts = list(_elements(matrix))
            if parts[0][1][0] == STRUCTURES and parts[2][1] == name.encode():
                return _rows(parts[1][1], parts[3:])
    except (struct.error, zlib.error, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"not a MATLAB file that can be read: {error!r}") from None
    raise DataError(f"the MATLAB file has no table {name}")


def _matrices(data: bytes):
    """The variables of a file."""
    if len(data) < 128 or data[124:128] != b"\0\1IM":
        raise DataError("not a MATLAB file of version 5, little-endian")
    left = MOST_BYTES
    for kind, content in _elements(data, 128):
        if kind == COMPRESSED:
            content = zlib.decompressobj().decompress(content, left + 1)
            left -= len(content)
            if left < 0:
                raise DataError(f"the MATLAB file unpacks to more than {MOST_BYTES:,} bytes")
            kind, content = next(_elements(content), (0, b""))
        if kind == MATRIX:
            yield content


def _elements(data: bytes, at: int = 0):
    """Kind and content of one element after another; short ones have both in eight bytes."""
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        start, step = at + 8, -(-size // 8) * 8 + 8
        if kind >> 16:
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes is truncated")
        yield kind, data[start : start + size]
        at += size + 8 if kind == COMPRESSED else step


def _rows(shape: bytes, parts: list) -> list[dict]:
    count = 1
    for size in struct.unpack(f"<{len(shape) // 4}i", shape):
        count *= size
    width = struct.unpack("<i", parts[0][1])[0]
    names = [parts[1][1][k : k + width].rstrip(b"\0").decode("ascii") for k in range(0, len(parts[1][1]), width)]
    values = parts[2:]
    if not names or count < 0 or count * len(names) != len(values):
        raise ValueError(f"{count} rows of {len(names)} fields are announced, {len(values)} values are there")
    return [{name: _value(*values[row * len(names) + k]) for k, name in enumerate(names)} for row in range(count)]


def _value(kind: int, content: bytes):
    """A number, text, or None for anything else."""
    parts = list(_elements(content)) if kind == MATRIX else []
    if len(parts) < 4:
        return None
    of, data = parts[3]
    if parts[0][1][0] == TEXT and of in ENCODINGS:
        return data.decode(ENCODINGS[of])
    if parts[0][1][0] > TEXT and of in NUMBERS and len(data) == np.dtype(NUMBERS[of]).itemsize:
        return np.frombuffer(data, NUMBERS[of])[0].item()
    return None
