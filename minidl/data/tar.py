"""Tar files from strangers: never extracted, only looked into. Names in them are labels, not paths.

Headers are parsed by Python's ``tarfile``; the way from one to the next is our own, since Python's follows sizes that lead
backwards or terabytes beyond the end. Extended headers, which hold long names, are passed over: what minidl looks for has short
ones.
"""

import contextlib
import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from minidl.errors import DataError, DownloadError

BLOCK = 512
CHUNK = 1 << 20
MOST_STREAMED, MOST_MEMBERS = 30_000, 100_000  # Imagenette has 13,394 pictures, ImageNet 50,000 for validation
ALWAYS, EXPANSION = 1 << 26, 100  # bytes that any archive may unfold to, and how many more for each of its own
WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError)


class Member(NamedTuple):
    """A regular file in an archive: the name that it has there, with its folders, and where its bytes lie."""

    path: PurePosixPath
    start: int
    size: int

    @property
    def name(self) -> str:
        """The name without its folders."""
        return self.path.name


@contextlib.contextmanager
def stream(path, most_members: int = MOST_STREAMED) -> Iterator[Iterator[tuple[Member, "Reader"]]]:
    """The regular files of a tar archive, plain or gzipped, in turn, each with a reader whose ``read(size)`` gives its bytes.

    Links and devices are passed over. In the ``with``, DataError is raised for an archive that is damaged or unfolds without end.
    """
    with reported(path, "tar", DAMAGED), open(Path(path), "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        most = ALWAYS + EXPANSION * os.fstat(raw.fileno()).st_size
        reader = Reader(gzip.GzipFile(fileobj=raw) if zipped else raw, most)
        yield ((member, reader) for member in _walk(reader, most_members))


@contextlib.contextmanager
def reported(path, kind: str, damaged: tuple[type[Exception], ...]) -> Iterator[None]:
    """Whatever is wrong with an archive of this kind, as a DataError that names it; ``damaged`` errors mean just this."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except DownloadError:  # what is made of it cannot be written
        raise
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except damaged as error:
        raise DataError(f"{path}: not a {kind} archive that can be read: {error}") from None


def read_members(path, names: set[str], most: int) -> dict[str, bytes]:
    """The bytes of those regular files of a tar archive, plain or gzipped, that have one of the names, whatever their folder.

    Raises DataError for a damaged archive, for two files of a name, and for one of more than ``most`` bytes.
    """
    found = {}
    with stream(path) as files:
        for member, reader in files:
            if member.name in names:
                if member.name in found or member.size > most:
                    raise DataError(f"{member.name} is there twice, or has {member.size:,} bytes, more than {most:,}")
                found[member.name] = reader.read(member.size)
    return found


def members(file, start: int = 0, size: int | None = None) -> list[Member]:
    """The regular files in an uncompressed tar archive: all of an open file, or the part of it that begins at ``start``.

    Nothing but the headers is read. Raises DataError for a damaged archive.
    """
    length = os.fstat(file.fileno()).st_size
    end = length if size is None else min(start + size, length)
    try:
        return list(_walk(_Seeker(file, start, end), MOST_MEMBERS))
    except DAMAGED as error:
        raise DataError(f"not a tar archive that can be read: {error}") from None


def _walk(source, most: int) -> Iterator[Member]:
    """The regular files of an archive, from one header to the next."""
    for _ in range(most):
        block = source.read(BLOCK)
        if not block.strip(b"\0"):
            return
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if entry.size < 0:
            raise DataError("the archive has a member of negative size")
        size = 0 if entry.type in WITHOUT_DATA else entry.size
        start = source.at
        if entry.isreg() and entry.type != tarfile.GNUTYPE_SPARSE:
            yield Member(PurePosixPath(entry.name), start, size)
        source.skip_to(start + size, start + -(-size // BLOCK) * BLOCK)
    raise DataError(f"the archive has more than {most:,} members")


class Reader:
    """A stream that is read once from its beginning to a limit; ``at`` is where it stands."""

    def __init__(self, file, most: int):
        self.file, self.most, self.at = file, most, 0

    def read(self, count: int) -> bytes:
        """The next bytes, fewer at the end of the stream."""
        data = self.file.read(min(count, self.most - self.at + 1))
        self.at += len(data)
        if self.at > self.most:
            raise DataError("it unfolds to far more than an archive of pictures would; it may be a decompression bomb")
        return data

    def skip_to(self, end: int, following: int) -> None:
        """Read on to where the next header begins; raises DataError if the stream stops before ``end``."""
        while self.at < following and self.read(min(CHUNK, following - self.at)):
            pass
        if self.at < end:
            raise DataError(f"truncated: a member should end at byte {end:,}, the archive does at {self.at:,}")


class _Seeker:
    """The same for a part of an open file, without reading what is skipped."""

    def __init__(self, file, start: int, end: int):
        self.file, self.at, self.end = file, start, end

    def read(self, count: int) -> bytes:
        self.file.seek(self.at)
        data = self.file.read(max(0, min(count, self.end - self.at)))
        self.at += len(data)
        return data

    def skip_to(self, end: int, following: int) -> None:
        if end > self.end:
            raise DataError(f"truncated: a member should end at byte {end:,}, the archive does at {self.end:,}")
        self.at = following
