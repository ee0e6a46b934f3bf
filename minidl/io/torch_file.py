"""Files that ``torch.save`` wrote, ``.pth`` and ``.pt``, read without PyTorch and without unpickling.

Two formats. Since PyTorch 1.6, a zip archive: ``NAME/data.pkl`` is a pickle of the structure, in which a tensor is a call of
``_rebuild_tensor_v2`` on a storage that is named by a persistent id, and ``NAME/data/KEY`` are the storages' bytes. Before, five
pickles one after another (a magic number, the protocol, the system, the structure, the keys of the storages), then, for each key,
the number of elements and the bytes.

Source: ``torch/serialization.py`` and ``torch/_utils.py`` of PyTorch, for the formats alone. See ``minidl.io.pickles`` for what
such a file can and cannot do.
"""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minidl.errors import CheckpointError, DataError
from minidl.io.archive import StoredZip
from minidl.io.pickles import COLLECTIONS, Function, Machine, plain
from minidl.tensor import Tensor

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
          "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
          "BFloat16Storage": "<u2"}  # whose bits are the upper half of a float32's
LARGEST_PICKLE = 64_000_000  # bytes; the structure of a model takes some thousand


class Storage:
    """The elements that one or several tensors look at; ``elements`` is filled when the bytes are read."""

    def __init__(self, kind: str, key: str, count: int):
        self.kind, self.key, self.count = kind, key, count
        self.elements: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.count * np.dtype(DTYPES[self.kind]).itemsize

    def fill(self, buffer: bytearray) -> None:
        """Take over the bytes of the file; bfloat16 becomes float32."""
        elements = np.frombuffer(buffer, DTYPES[self.kind])
        if self.kind == "BFloat16Storage":
            halves = np.zeros((self.count, 2), "<u2")
            halves[:, 1] = elements
            elements = halves.view("<f4")[:, 0]
        if self.kind == "BoolStorage" and elements.view(np.uint8).max(initial=0) > 1:
            raise CheckpointError(f"storage {self.key!r} is boolean and has bytes other than 0 and 1")
        self.elements = elements


class Rebuilt(NamedTuple):
    """A tensor: elements of a storage from an offset on, so many apart."""

    storage: Storage
    offset: int
    shape: tuple
    stride: tuple


def _rebuild(storage, offset, shape, stride, *_) -> Rebuilt:
    sizes = [*shape, *stride, offset]
    if len(shape) != len(stride) or len(shape) > 32 or not all(type(size) is int and 0 <= size < 2**62 for size in sizes):
        raise CheckpointError("a tensor has a shape, strides or an offset that are no such numbers")
    if math.prod(shape) > storage.count:
        raise CheckpointError(f"a tensor of shape {shape} and strides {stride} does not fit into {storage.count:,} elements")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if math.prod(shape) and last >= storage.count:
        raise CheckpointError(f"a tensor of shape {shape} ends at element {last:,} of a storage of {storage.count:,}")
    return Rebuilt(storage, offset, shape, tuple(0 if size <= 1 else step for size, step in zip(shape, stride, strict=True)))


_TENSOR = (Storage, int, tuple, tuple)
NAMES = COLLECTIONS | {("torch", name): name for name in DTYPES} | {
    ("torch._utils", "_rebuild_tensor_v2"): Function("_rebuild_tensor_v2", (*_TENSOR, bool, Any), _rebuild),
    ("torch._utils", "_rebuild_tensor"): Function("_rebuild_tensor", _TENSOR, _rebuild),
    ("torch._utils", "_rebuild_parameter"): Function("_rebuild_parameter", (Rebuilt, bool, Any), lambda data, *_: data),
}


def read(path):
    """What ``torch.save`` stored: tensors, numbers and strings in dicts, lists and tuples; an OrderedDict comes as a dict.

    Tensors that shared their memory share it again. bfloat16 comes as float32. Raises CheckpointError, which does not name the
    file, for one that is damaged, or holds anything else, as a whole pickled model does; OSError where it cannot be opened.
    """
    with open(Path(path), "rb") as file:
        start = file.read(4)
    found, storages, size = _read_zip(path) if start.startswith(b"PK") else _read_legacy(path)
    if any(storage.elements is None for storage in storages):
        raise CheckpointError("it refers to storages that it does not hold")
    return plain(found, _tensor, size)


def _tensor(value):
    if not isinstance(value, Rebuilt):
        return None
    elements = value.storage.elements
    try:
        if not math.prod(value.shape):
            return Tensor(np.empty(value.shape, elements.dtype))
        strides = [elements.itemsize * step for step in value.stride]
        return Tensor(np.lib.stride_tricks.as_strided(elements[value.offset :], value.shape, strides))
    except (ValueError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"a tensor of shape {value.shape} cannot be held: {error}") from None


class _Storages:
    """The storages that a pickle names, by key."""

    def __init__(self):
        self.by_key: dict[str, Storage] = {}

    def __call__(self, name) -> Storage:
        """What a persistent id stands for: ("storage", type, key, device, count), and perhaps None for a view of another."""
        if type(name) is not tuple or len(name) not in (5, 6) or name[0] != "storage" or name[5:] not in ((), (None,)):
            raise CheckpointError("it refers to something outside of itself that is no storage of a tensor")
        kind, key, count = name[1], name[2], name[4]
        if (type(kind), type(key), type(count)) != (str, str, int) or kind not in DTYPES or not 0 <= count < 2**60:
            raise CheckpointError("a storage is described in an unknown way")
        storage = self.by_key.setdefault(key, Storage(kind, key, count))
        if (storage.kind, storage.count) != (kind, count):
            raise CheckpointError(f"the storage {key[:40]!r} is described in two ways")
        return storage


def _read_zip(path):
    storages = _Storages()
    try:
        with StoredZip(path) as archive:
            pickles = [name for name in archive.sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise CheckpointError("not a file of torch.save: it has no NAME/data.pkl")
            folder = pickles[0].partition("/")[0]
            if f"{folder}/constants.pkl" in archive.sizes:
                raise CheckpointError("it is a TorchScript program; save the state_dict() of the model in PyTorch instead")
            order = f"{folder}/byteorder"
            if order in archive.sizes and (archive.sizes[order] > 6 or archive.read(order) != b"little"):
                raise CheckpointError("its bytes are in big-endian order, which is not read")
            _check_pickle(archive.sizes[pickles[0]])
            data = archive.read(pickles[0])
            found, end = Machine(data, NAMES, storages).run()
            if end != len(data):
                raise CheckpointError(f"{len(data) - end} bytes follow the pickle")
            for key, storage in storages.by_key.items():
                name = f"{folder}/data/{key}"
                if archive.sizes.get(name) != storage.nbytes:
                    raise CheckpointError(f"the storage {key[:40]!r} should have {storage.nbytes:,} bytes, and has "
                                          f"{archive.sizes.get(name, 'none')}")
                storage.fill(archive.buffer(name))
    except DataError as error:
        raise CheckpointError(str(error)) from None
    return found, storages.by_key.values(), len(data)


def _read_legacy(path):
    with open(Path(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data, storages = file.read(min(size, LARGEST_PICKLE)), _Storages()
        magic, at = Machine(data, {}).run()
        if magic != MAGIC:
            raise CheckpointError("not a file of torch.save: it begins with another pickle")
        protocol, at = Machine(data, {}, start=at).run()
        system, at = Machine(data, {}, start=at).run()
        if protocol != PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
            raise CheckpointError("it is of an unknown version of the old format, or in big-endian order")
        found, end = Machine(data, NAMES, storages, at).run()
        keys, at = Machine(data, {}, start=end).run()
        if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages.by_key):
            raise CheckpointError("its list of storages is not the one that its tensors need")
        for key in keys:
            storage = storages.by_key[key]
            file.seek(at)
            count = int.from_bytes(file.read(8), "little")
            if count != storage.count or at + 8 + storage.nbytes > size:
                raise CheckpointError(f"the storage {key[:40]!r} should have {storage.count:,} elements; {count:,} are announced "
                                      f"and {max(size - at - 8, 0):,} bytes left")
            buffer = bytearray(storage.nbytes)
            file.readinto(buffer)
            storage.fill(buffer)
            at += 8 + storage.nbytes
    if at != size:
        raise CheckpointError(f"{size - at:,} bytes follow its storages")
    return found, storages.by_key.values(), end


def _check_pickle(size: int) -> None:
    if size > LARGEST_PICKLE:
        raise CheckpointError(f"its structure takes {size:,} bytes, the limit is {LARGEST_PICKLE:,}")
