"""Zip files from strangers: never extracted, only looked into. Names in them are labels, not paths.

The directory is parsed by Python's ``zipfile``, which checks each file's sum; how much may come out is checked here before.
"""

import contextlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from minidl.data.tar import ALWAYS, EXPANSION, Member, reported
from minidl.errors import DataError

MOST_MEMBERS = 200_000  # COCO has 118,288 for training
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1  # bit of a member's flags
DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OverflowError,
           IndexError)


@contextlib.contextmanager
def stream(path) -> Iterator[Iterator[tuple[Member, "zipfile.ZipExtFile"]]]:
    """The regular files of a zip archive in turn, as ``minidl.data.tar.stream`` gives those of a tar archive.

    Folders and links are passed over. In the ``with``, DataError is raised for an archive that is damaged or encrypted, and for
    one that would unfold to far more than it has bytes, be it that its files overlap.
    """
    with reported(path, "zip", DAMAGED), open(Path(path), "rb") as file, zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if _is_file(entry)]
        _check(entries, os.fstat(file.fileno()).st_size)
        yield ((Member(PurePosixPath(entry.filename), entry.header_offset, entry.file_size), reader)
               for entry in entries for reader in _opened(archive, entry))


def _is_file(entry: zipfile.ZipInfo) -> bool:
    """Neither a folder nor, by Unix's mode where there is one, anything but a regular file."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return not entry.is_dir() and kind in (0, stat.S_IFREG)


def _check(entries: list[zipfile.ZipInfo], size: int) -> None:
    if len(entries) > MOST_MEMBERS:
        raise DataError(f"the archive has more than {MOST_MEMBERS:,} members")
    if any(entry.flag_bits & ENCRYPTED or entry.compress_type not in READABLE for entry in entries):
        raise DataError("a file in it is encrypted, or compressed in another way than by deflate")
    if sum(entry.compress_size for entry in entries) > size:
        raise DataError("its files overlap")
    if sum(entry.file_size for entry in entries) > ALWAYS + EXPANSION * size:
        raise DataError("it unfolds to far more than an archive of pictures would; it may be a decompression bomb")


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[zipfile.ZipExtFile]:
    with archive.open(entry) as reader:
        yield reader
