"""``.pth`` files in both formats, written here byte by byte, so that any of them can be made wrong in one place."""

import io
import struct
import zipfile

import numpy as np

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}(X\x10\0\0\0protocol_versionM\xe9\x03X\r\0\0\0little_endian\x88u."


def text(value: str) -> bytes:
    """A string."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """An int of any size."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, what: str) -> bytes:
    """A global."""
    return f"c{module}\n{what}\n".encode()


def tuple_of(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def storage(key="0", count=6, kind="FloatStorage", legacy=False, what="storage") -> bytes:
    """A storage, by a persistent id."""
    last = b"N" if legacy else b""
    return tuple_of(text(what), name("torch", kind), text(key), text("cpu"), number(count), last) + b"Q"


def tensor(shape=(2, 3), stride=(3, 1), offset=0, place=None, legacy=False, **options) -> bytes:
    """A tensor."""
    place = storage(legacy=legacy, **options) if place is None else place
    sizes = (tuple_of(*map(number, values)) for values in (shape, stride))
    hooks = name("collections", "OrderedDict") + b")R"
    return name("torch._utils", "_rebuild_tensor_v2") + tuple_of(place, number(offset), *sizes, b"\x89", hooks) + b"R"


def pickle(body: bytes) -> bytes:
    """A whole pickle."""
    return b"\x80\x02" + body + b"."


def state(*items: bytes) -> bytes:
    """An OrderedDict of keys and values."""
    return pickle(name("collections", "OrderedDict") + b")R(" + b"".join(items) + b"u")


GOOD = np.arange(6, dtype="<f4").tobytes()


def zipped(data: bytes | None = None, files: dict | None = None, compress=zipfile.ZIP_STORED) -> bytes:
    """The format of today."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as archive:
        archive.writestr("x/data.pkl", state(text("w"), tensor()) if data is None else data)
        for path, content in ({"x/data/0": GOOD} if files is None else files).items():
            archive.writestr(path, content)
    return out.getvalue()


def legacy(data: bytes | None = None, keys=None, storages=None, start=MAGIC + PROTOCOL + SYSTEM) -> bytes:
    """The format of before PyTorch 1.6."""
    keys = pickle(b"](" + text("0") + b"e") if keys is None else keys
    storages = struct.pack("<q", 6) + GOOD if storages is None else storages
    return start + (state(text("w"), tensor(legacy=True)) if data is None else data) + keys + storages
