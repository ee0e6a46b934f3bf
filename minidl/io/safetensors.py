"""The safetensors format, read as if every file were hostile.

    8 bytes: length of the header, little-endian | header: JSON, padded with spaces | the tensors' bytes, without gaps
    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [start, stop]}, ..., "__metadata__": {"key": "text"}}

Source: https://github.com/huggingface/safetensors. Nothing in a file is run, no size is believed before it has been compared
with the file's own, and what readers of this format disagree about (names that appear twice, blanks before the header) is
refused.
"""

import json
import math
import os
from pathlib import Path

import numpy as np

from minidl.dtypes import BFLOAT16, as_dtype, float16, float32, float64, int8, int16, int32, int64, uint8
from minidl.errors import CheckpointError
from minidl.io import strict_json

DTYPES = {"BOOL": np.dtype(bool), "U8": uint8, "I8": int8, "I16": int16, "I32": int32, "I64": int64,
          "F16": float16, "F32": float32, "F64": float64}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
BF16 = "BF16"  # beside them; its dtype needs a package
METADATA = "__metadata__"
ALIGNMENT = 8
HEADER_LIMIT = 16 << 20  # bytes; the header of 100,000 tensors takes 12 MB
MOST_DIMENSIONS = 64  # NumPy's own limit


def write(file, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Arrays by name into an open binary file. Their dtypes must be those that ``name_of`` knows, and no name ``__metadata__``.

    Raises ValueError for names and metadata so long that ``read`` would refuse them.
    """
    header: dict = {METADATA: metadata} if metadata else {}
    placed = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)  # wide ones first, so that all lie aligned
    end = 0
    for name, array in placed:
        start, end = end, end + array.nbytes
        header[name] = {"dtype": name_of(array.dtype), "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    if len(text) > HEADER_LIMIT:
        raise ValueError(f"save: names and structure take {len(text)} bytes, the limit is {HEADER_LIMIT}: "
                         "store long lists of numbers as arrays")
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for _, array in placed:
        file.write(array.reshape(-1).view(np.uint8))


def read(path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by name, and the metadata.

    Raises CheckpointError for anything but a whole and well-formed file, OSError for one that cannot be opened, and
    MissingDependencyError for bfloat16 without the package ml_dtypes.
    """
    with open(Path(path), "rb") as file:
        rest = os.fstat(file.fileno()).st_size - 8
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= rest:
            raise CheckpointError(f"truncated, or not a safetensors file: it announces a header of {size} bytes, "
                                  f"and {max(rest, 0)} follow")
        if size > HEADER_LIMIT:
            raise CheckpointError(f"its header takes {size} bytes, the limit is {HEADER_LIMIT}")
        header = _header(file.read(size))
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise CheckpointError("its metadata is no table of strings")
        spans = {name: _span(name, entry) for name, entry in header.items()}
        order = sorted(spans, key=spans.__getitem__)
        _check_cover([spans[name] for name in order], rest - size)
        arrays = {name: np.empty(0) for name in header}  # in the header's order, read in the file's
        for name in order:
            arrays[name] = _array(file, name, header[name])
    return arrays, metadata


def name_of(dtype: np.dtype) -> str | None:
    """The format's name of a dtype; None for one that cannot be stored."""
    return BF16 if dtype.name == BFLOAT16 else NAMES.get(dtype)


def _dtype(name: str) -> np.dtype | None:
    return as_dtype(BFLOAT16) if name == BF16 else DTYPES.get(name)


def parse_json(text: str | bytes):
    """JSON in which no key appears twice and every number is finite; raises CheckpointError for anything else."""
    try:
        return strict_json.parse(text)
    except ValueError as error:
        raise CheckpointError(f"its header is no valid JSON: {error}") from None


def _header(text: bytes) -> dict:
    if not text.startswith(b"{"):
        raise CheckpointError("not a safetensors file: its header is no JSON object")
    try:
        return parse_json(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CheckpointError(f"its header is no UTF-8: {error}") from None


def _span(name: str, entry) -> tuple[int, int]:
    """First and last byte of a tensor; as many as dtype and shape need."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"the entry of tensor {name!r} is malformed")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    found = _dtype(dtype) if isinstance(dtype, str) else None
    if found is None:
        raise CheckpointError(f"tensor {name!r} has dtype {dtype!r}; minidl reads {', '.join([*DTYPES, BF16])}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise CheckpointError(f"the shape or place of tensor {name!r} is malformed")
    needed = math.prod(shape) * found.itemsize
    if offsets[1] - offsets[0] != needed:
        raise CheckpointError(f"tensor {name!r} of dtype {dtype} and shape {shape} takes {needed} bytes, "
                              f"but has {offsets[1] - offsets[0]}")
    return offsets[0], offsets[1]


def _are_sizes(values) -> bool:
    """Whether this is a short list of plain non-negative ints (True is none), so that their product is quickly known."""
    return (isinstance(values, list) and len(values) <= MOST_DIMENSIONS
            and all(type(value) is int and 0 <= value < 1 << 63 for value in values))


def _check_cover(spans: list[tuple[int, int]], size: int) -> None:
    """Spans in order must fill the file from end to end."""
    end = 0
    for start, stop in spans:
        if start != end:
            raise CheckpointError("its tensors overlap or leave a gap")
        end = stop
    if end != size:
        raise CheckpointError(f"truncated or too long: its tensors take {end} bytes, and {size} follow the header")


def _array(file, name: str, entry: dict) -> np.ndarray:
    """The next tensor of the file, into memory of its own."""
    try:
        array = np.empty(entry["shape"], _dtype(entry["dtype"]))
    except (ValueError, MemoryError) as error:  # such as (0, 2**62), which takes no bytes and still is too large
        raise CheckpointError(f"tensor {name!r} of shape {entry['shape']} cannot be held: {error}") from None
    content = array.reshape(-1).view(np.uint8)
    if file.readinto(content) != content.nbytes:
        raise CheckpointError(f"truncated within tensor {name!r}")
    if entry["dtype"] == "BOOL" and content.size and content.max() > 1:
        raise CheckpointError(f"tensor {name!r} is boolean and has bytes other than 0 and 1")
    return array
