"""Tar files from strangers: never extracted, only looked into. Names in them are labels, not paths."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from minidl.errors import DataError

ALWAYS, EXPANSION = 1 << 26, 100  # bytes that any archive may unfold to, and how many more for each of its own


class Member(NamedTuple):
    """A regular file in an uncompressed archive: its last folder and its name, and where its bytes lie."""

    folder: str
    name: str
    start: int
    size: int


def stream(path) -> Iterator[tuple[str, str, int, "tarfile.ExFileObject"]]:
    """Each regular file of a tar archive, plain or gzipped, in turn: (folder, name, size, file to read now).

    Links and devices are passed over. Raises DataError for an archive that is damaged or unfolds without end.
    """
    try:
        with open(Path(path), "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            most = ALWAYS + EXPANSION * os.fstat(raw.fileno()).st_size
            source = _Limited(gzip.GzipFile(fileobj=raw) if zipped else raw, most)
            with tarfile.open(fileobj=source, mode="r|") as archive:
                for entry in _regular(archive):
                    yield *_names(entry), entry.size, archive.extractfile(entry)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: not a tar archive that can be read: {error}") from None


def read_members(path, names: set[str], most: int) -> dict[str, bytes]:
    """The bytes of those regular files of a tar archive, plain or gzipped, that have one of the names, whatever their folder.

    Raises DataError for a damaged archive, for two files of a name, and for one of more than ``most`` bytes.
    """
    found = {}
    for _, name, size, file in stream(path):
        if name in names:
            if name in found or size > most:
                raise DataError(f"{path}: {name} is there twice, or has {size:,} bytes, more than {most:,}")
            found[name] = file.read()
    return found


def members(file, start: int = 0, size: int | None = None) -> list[Member]:
    """The regular files in an uncompressed tar archive: all of an open file, or the part of it that begins at ``start``.

    Nothing but the headers is read. Raises DataError for a damaged archive.
    """
    window = _Window(file, start, os.fstat(file.fileno()).st_size - start if size is None else size)
    try:
        with tarfile.open(fileobj=window, mode="r:") as archive:
            found = [Member(*_names(entry), start + entry.offset_data, entry.size) for entry in _regular(archive)]
    except (OSError, EOFError, tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"not a tar archive that can be read: {error}") from None
    for member in found:
        if member.start + member.size > start + window.size:
            raise DataError(f"{member.name} is truncated: {member.size:,} bytes announced")
    return found


def _regular(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The regular files; raises DataError when the archive leads backwards, where Python's reader would go round for ever."""
    last = -1
    for entry in archive:
        if entry.size < 0 or entry.offset <= last:
            raise DataError("the archive has a member of negative size")
        last = entry.offset
        archive.members = []  # or a list of all members grows in memory
        if entry.isreg() and not entry.issparse():
            yield entry


def _names(entry: tarfile.TarInfo) -> tuple[str, str]:
    path = PurePosixPath(entry.name)
    return path.parent.name, path.name


class _Limited:
    """Bytes read from a stream, up to a limit."""

    def __init__(self, stream, most: int):
        self.stream, self.left = stream, most

    def read(self, count: int) -> bytes:
        data = self.stream.read(count)
        self.left -= len(data)
        if self.left < 0 or count < 0:
            raise DataError("it unfolds to far more than an archive of pictures would; it may be a decompression bomb")
        return data


class _Window:
    """A part of an open file, as a file."""

    def __init__(self, file, start: int, size: int):
        self.file, self.start, self.size, self.at = file, start, size, 0

    def tell(self) -> int:
        return self.at

    def seek(self, at: int, whence: int = 0) -> int:
        if whence or at < 0:
            raise ValueError("the archive leads to before its beginning")
        self.at = at
        return at

    def read(self, count: int) -> bytes:
        self.file.seek(self.start + self.at)
        data = self.file.read(max(0, min(count, self.size - self.at)))
        self.at += len(data)
        return data
