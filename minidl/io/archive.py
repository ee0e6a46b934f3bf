"""Zip files from strangers: their members as bytes, with every size checked before it is used.

``.pth`` and ``.npz`` are zip files of uncompressed members. Compressed ones are refused, since a member of 1 MB may blow up to
gigabytes; so are two members of one name, of which different readers take different ones, and members that overlap.
"""

import os
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

from minidl.errors import DataError

MOST_MEMBERS = 100_000
HEADER = 30  # bytes of a member's own header, before its name


class StoredZip:
    """The uncompressed members of a zip file, by name: ``sizes`` in bytes, and ``read(name)``. Use it in a ``with``.

    Raises DataError, which does not name the file, for anything that is damaged or not as said in the module.
    """

    def __init__(self, path):
        self.file = open(Path(path), "rb")  # noqa: SIM115, closed in __exit__
        try:
            self.members = self._members()
        except BaseException:
            self.file.close()
            raise
        self.sizes = {name: size for name, (_, size) in self.members.items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def read(self, name: str) -> bytes:
        """The bytes of a member; raises DataError if there is none of this name."""
        return bytes(self.buffer(name))

    def buffer(self, name: str) -> bytearray:
        """The same in memory that can be written to."""
        if name not in self.members:
            raise DataError(f"the archive has no member {name!r}")
        start, size = self.members[name]
        self.file.seek(start)
        content = bytearray(size)
        if self.file.readinto(content) != size:
            raise DataError(f"the archive is truncated within {name!r}")
        return content

    def _members(self) -> dict[str, tuple[int, int]]:
        length = os.fstat(self.file.fileno()).st_size
        try:
            with zipfile.ZipFile(self.file) as archive:
                entries = archive.infolist()
        except Exception as error:  # of many types, for damaged files
            raise DataError(f"not a zip archive that can be read: {error}") from None
        if len(entries) > MOST_MEMBERS:
            raise DataError(f"the archive has {len(entries):,} members; the limit is {MOST_MEMBERS:,}")
        members, end = {}, 0
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise DataError(f"member {entry.filename!r} is compressed or encrypted; only plain ones are read")
            if entry.filename in members:
                raise DataError(f"the archive has two members {entry.filename!r}")
            if not 0 <= entry.header_offset <= length - HEADER:
                raise DataError(f"member {entry.filename!r} begins outside of the file")
            start = self._start(entry)
            if entry.header_offset < end or entry.compress_size != entry.file_size or start + entry.file_size > length:
                raise DataError(f"member {entry.filename!r} overlaps another, or is longer than the file")
            members[entry.filename], end = (start, entry.file_size), start + entry.file_size
        return members

    def _start(self, entry) -> int:
        """Where a member's bytes begin: its own header may be longer than what the directory says."""
        self.file.seek(entry.header_offset)
        header = self.file.read(HEADER)
        if len(header) < HEADER or header[:4] != b"PK\x03\x04":
            raise DataError(f"member {entry.filename!r} has no header where the directory says")
        name, extra = struct.unpack("<HH", header[26:])
        return entry.header_offset + HEADER + name + extra


def read_npz(path, names) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file by their names; never an array of Python objects.

    Raises DataError, which does not name the file, for an array that is missing, compressed, or of another size than it says.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(folder + "/x.npz", a=np.arange(3))
    ...     read_npz(folder + "/x.npz", ["a"])
    {'a': array([0, 1, 2])}
    """
    with StoredZip(path) as archive:
        return {name: _array(name, archive.read(f"{name}.npy")) for name in names}


def _array(name: str, data: bytes) -> np.ndarray:
    """The array in the bytes of a ``.npy`` file."""
    stream = BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream)
    except Exception as error:  # ValueError, KeyError, and what parsing a hostile header may raise
        raise DataError(f"array {name!r} has a header that cannot be read: {error}") from None
    if dtype.kind not in "biufU" or dtype.subdtype is not None or fortran:
        raise DataError(f"array {name!r} is of dtype {dtype}{', Fortran order' if fortran else ''}: numbers or strings are read")
    count = 1
    for size in shape:
        count *= size
    if len(shape) > 8 or not all(0 <= size < 2**40 for size in shape) or not dtype.itemsize \
            or count * dtype.itemsize != len(data) - stream.tell():
        raise DataError(f"array {name!r} is announced as {shape} of {dtype}, but has {len(data) - stream.tell():,} bytes")
    array = np.frombuffer(data, dtype, count, stream.tell()).reshape(shape)
    if dtype.kind == "U" and np.frombuffer(data, dtype.byteorder + "u4", -1, stream.tell()).max(initial=0) > 0x10FFFF:
        raise DataError(f"array {name!r} holds text that is no Unicode")
    return array
