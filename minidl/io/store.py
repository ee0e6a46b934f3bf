"""``minidl.save`` and ``minidl.load``: nested structures of tensors in one safetensors file.

A dict of tensors is stored as it is, under its own names: an ordinary safetensors file. For anything else the structure goes
into the file's metadata as JSON, in which each tensor stands by name. Loading runs no code from the file.
"""

import json
import math
from pathlib import Path

import numpy as np

from minidl.device import Device
from minidl.dtypes import BFLOAT16
from minidl.errors import CheckpointError
from minidl.io import safetensors, torch_file
from minidl.io.atomic import atomic_write
from minidl.nested import mapped
from minidl.tensor import Tensor

KEY = "minidl"
DEPTH = 32
TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")  # how a zip archive and an old .pth begin; no safetensors header is so long


def save(obj, path) -> None:
    """Store tensors, arrays, numbers, strings, bools and None in dicts, lists and tuples, nested as you like; atomically.

    Keys are strings or ints. A tensor is stored detached; one on a GPU comes back on the CPU. NumPy's numbers come back as
    Python's. Raises TypeError for anything else, and OSError when the file cannot be written; an old one is then still there.

    >>> import minidl, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"epoch": 3, "weights": [minidl.ones(2)]}, folder + "/x.safetensors")
    ...     load(folder + "/x.safetensors")
    {'epoch': 3, 'weights': [tensor([1., 1.])]}
    """
    packer = _Packer()
    if isinstance(obj, dict) and all(_plain(key, value) for key, value in obj.items()):
        packer.arrays, metadata = {key: _array(value) for key, value in obj.items()}, {}
    else:
        metadata = {KEY: json.dumps(packer.pack(obj), allow_nan=False)}
    with atomic_write(path) as file:
        safetensors.write(file, packer.arrays, metadata)


def load(path, map_location=None):
    """What ``save`` stored, the dict of tensors in any other safetensors file, or what ``torch.save`` stored (``.pth``, ``.pt``).

    Tensors come to the CPU, wherever they were when they were saved, or to the device ``map_location``. The format is told from
    the file's first bytes. Neither PyTorch nor Python's unpickler takes part: see ``minidl.io.pickles``.

    Raises CheckpointError, naming the file and what is wrong, for a file that is missing, truncated, damaged or hostile.
    """
    device = None if map_location is None else Device.parse(map_location)
    path = Path(path)
    try:
        found = _read(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    return found if device is None else mapped(lambda x: x.to(device), found, Tensor)


def _read(path: Path):
    with open(path, "rb") as file:
        start = file.read(4)
    if start in TORCH:
        return torch_file.read(path)
    arrays, metadata = safetensors.read(path)
    if KEY not in metadata:
        return {name: Tensor(array) for name, array in arrays.items()}
    return _unpack(safetensors.parse_json(metadata[KEY]), arrays, 0)


def _plain(key, value) -> bool:
    return isinstance(key, str) and key != safetensors.METADATA and isinstance(value, Tensor)


def _array(value) -> np.ndarray:
    """A tensor or array as a contiguous array of a dtype that can be stored, 0-d ones included."""
    array = np.asarray(value.detach().cpu().array if isinstance(value, Tensor) else value, order="C")
    if safetensors.name_of(array.dtype) is None:
        raise TypeError(f"save: an array of dtype {array.dtype} cannot be stored; these can: "
                        f"{', '.join(map(str, [*safetensors.NAMES, BFLOAT16]))}")
    return array


class _Packer:
    """Writes a structure as JSON and gathers its arrays: {"dict": [[key, value], ...]}, {"tensor": name} and so on."""

    def __init__(self):
        self.arrays: dict[str, np.ndarray] = {}

    def pack(self, value, *path):
        if len(path) > DEPTH:
            raise TypeError(f"save: nested deeper than {DEPTH} levels")
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, (Tensor, np.ndarray)):
            return {"tensor" if isinstance(value, Tensor) else "array": self._named(value, path)}
        if isinstance(value, dict):
            if not all(type(key) in (str, int) for key in value):
                raise TypeError(f"save: dict keys must be strings or ints, got {', '.join(map(repr, value))}")
            return {"dict": [[key, self.pack(item, *path, key)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.pack(item, *path, number) for number, item in enumerate(value)]}
        raise TypeError(f"save: a {type(value).__name__} cannot be stored; tensors, arrays, numbers, strings, bools, None, "
                        "dicts, lists and tuples can")

    def _named(self, value, path) -> str:
        """Store an array under its path, or a name near it where {"a": {"b": ...}, "a.b": ...} would share one."""
        name = ".".join(map(str, path)) or "value"
        while name in self.arrays or name == safetensors.METADATA:
            name += "'"
        self.arrays[name] = _array(value)
        return name


def _unpack(node, arrays: dict[str, np.ndarray], depth: int):
    if depth > DEPTH:
        raise CheckpointError(f"its structure is nested deeper than {DEPTH} levels")
    if not isinstance(node, (dict, list)):
        return node
    kind, content = next(iter(node.items())) if isinstance(node, dict) and len(node) == 1 else (None, None)
    if kind in ("tensor", "array") and isinstance(content, str) and content in arrays:
        return Tensor(arrays[content]) if kind == "tensor" else arrays[content]
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind in ("list", "tuple") and isinstance(content, list):
        items = [_unpack(item, arrays, depth + 1) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict" and _are_pairs(content):
        return {key: _unpack(item, arrays, depth + 1) for key, item in content}
    raise CheckpointError("its structure holds something that minidl does not write")


def _are_pairs(content) -> bool:
    """Whether this is a list of [key, value] in which no key appears twice."""
    if not isinstance(content, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in content):
        return False
    keys = [key for key, _ in content]
    return all(type(key) in (str, int) for key in keys) and len(set(keys)) == len(keys)
