"""``minidl.save`` and ``minidl.load``: nested structures of tensors in one safetensors file.

The tensors are numbered; the structure around them is JSON in the file's metadata. Loading runs no code from the file and
trusts none of its sizes: the header is checked here, more strictly than the format asks, before the library reads the rest.
"""

import json
import math
from pathlib import Path

import numpy as np

from minidl.dtypes import float16, float32, float64, int8, int16, int32, int64, uint8
from minidl.errors import CheckpointError, require
from minidl.io.atomic import atomic_write
from minidl.tensor import Tensor

KEY = "minidl"
DEPTH = 32
HEADER_LIMIT = 100 << 20
_NAMES = {"BOOL": np.dtype(bool), "U8": uint8, "I8": int8, "I16": int16, "I32": int32, "I64": int64,
          "F16": float16, "F32": float32, "F64": float64}


def save(obj, path) -> None:
    """Store dicts, lists and tuples of tensors, arrays, numbers, strings, bools and None; atomically.

    A file written from a plain dict of tensors is an ordinary safetensors file with those names. Raises TypeError for
    anything else inside.

    >>> import minidl, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"epoch": 3, "weights": [minidl.ones(2)]}, folder + "/x.safetensors")
    ...     load(folder + "/x.safetensors")
    {'epoch': 3, 'weights': [tensor([1., 1.])]}
    """
    writer = require("safetensors.numpy", extra="train")
    arrays: dict[str, np.ndarray] = {}
    structure = _pack(obj, arrays, "", 0)
    content = writer.save(arrays, metadata={KEY: json.dumps(structure)})
    with atomic_write(path) as file:
        file.write(content)


def load(path):
    """What ``save`` stored, or the dict of tensors in any other safetensors file.

    Raises CheckpointError, naming the file and what is wrong, for a file that is missing, truncated, damaged or hostile.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        header = _header(content)
        arrays = require("safetensors.numpy", extra="train").load(content)
        tensors = {name: Tensor(array.copy()) for name, array in arrays.items()}
        structure = header.get("__metadata__", {}).get(KEY)
        return tensors if structure is None else _unpack(_json(structure), tensors, 0)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:
        if isinstance(error, ImportError):
            raise
        raise CheckpointError(f"{path}: not a safetensors file that can be read: {error}") from None


def _pack(value, arrays, name, depth):
    """The structure as JSON: containers as {"dict": [[key, value]]} and so on, tensors as {"tensor": name}."""
    if depth > DEPTH:
        raise TypeError(f"save: nested deeper than {DEPTH} levels")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        array = np.ascontiguousarray(value.detach().cpu().array if isinstance(value, Tensor) else value)
        if array.dtype not in _NAMES.values():
            raise TypeError(f"save: arrays of {array.dtype} cannot be stored")
        arrays[name] = array.reshape(np.shape(value))
        return {"tensor": name}
    if isinstance(value, dict):
        if not all(isinstance(key, (str, int)) for key in value):
            raise TypeError("save: dict keys must be strings or ints")
        return {"dict": [[k, _pack(v, arrays, f"{name}.{k}" if name else str(k), depth + 1)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(v, arrays, f"{name}.{i}" if name else str(i), depth + 1) for i, v in enumerate(value)]}
    raise TypeError(f"save: cannot store {type(value).__name__}")


def _unpack(node, tensors, depth):
    if depth > DEPTH:
        raise CheckpointError(f"its structure is nested deeper than {DEPTH} levels")
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    kind, content = next(iter(node.items())) if isinstance(node, dict) and len(node) == 1 else (None, None)
    if kind == "tensor" and isinstance(content, str) and content in tensors:
        return tensors[content]
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind in ("list", "tuple") and isinstance(content, list):
        items = [_unpack(item, tensors, depth + 1) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict" and isinstance(content, list) and all(
            isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], (str, int)) for pair in content):
        return {key: _unpack(item, tensors, depth + 1) for key, item in content}
    raise CheckpointError("its structure holds something that minidl does not write")


def _header(content: bytes) -> dict:
    """The header, checked: sizes, names, dtypes, shapes, and that the tensors fill the file without gap or overlap."""
    if len(content) < 8:
        raise CheckpointError(f"truncated: {len(content)} bytes")
    size = int.from_bytes(content[:8], "little")
    if size > min(HEADER_LIMIT, len(content) - 8):
        raise CheckpointError(f"truncated or damaged: it announces a header of {size} bytes and has {len(content) - 8}")
    if content[8:9] != b"{":
        raise CheckpointError("not a safetensors file: its header is no JSON object")
    header = _json(content[8 : 8 + size].decode("utf-8"))
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
                raise CheckpointError("its metadata is not a table of strings")
        else:
            spans.append(_span(name, entry))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise CheckpointError("its tensors overlap or leave a gap")
        end = stop
    if end != len(content) - 8 - size:
        raise CheckpointError(f"truncated or too long: its tensors take {end} bytes, the file has {len(content) - 8 - size}")
    return header


def _span(name: str, entry) -> tuple[int, int]:
    """Where a tensor lies; its size must be what dtype and shape say."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"the entry of tensor {name!r} is malformed")
    dtype = _NAMES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise CheckpointError(f"tensor {name!r} has dtype {entry['dtype']!r}, which is not read")
    numbers = [entry["shape"], entry["data_offsets"]]
    if not all(isinstance(n, list) and all(type(k) is int and k >= 0 for k in n) for n in numbers) or len(numbers[1]) != 2:
        raise CheckpointError(f"tensor {name!r} has a malformed shape or place")
    start, stop = entry["data_offsets"]
    if stop - start != math.prod(entry["shape"]) * dtype.itemsize:
        raise CheckpointError(f"tensor {name!r} of shape {entry['shape']} does not take {stop - start} bytes")
    return start, stop


def _json(text: str):
    """JSON without duplicate keys, NaN or infinities."""

    def table(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise CheckpointError("its header names a key twice")
        return found

    def constant(name):
        raise CheckpointError(f"its header holds {name}")

    try:
        return json.loads(text, object_pairs_hook=table, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"its header is no valid JSON: {error}") from None
