"""Archives of data sets, unpacked to where their readers look for them. What names in them say is taken for no path."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from minidl.data.tar import Member
from minidl.data.tar import stream as stream_tar
from minidl.data.zip import stream as stream_zip
from minidl.errors import DataError, DownloadError

MOST_IN_TAR = 60_000  # files; VOC2012 has 40,000
LARGEST = 1 << 30  # bytes of a file; COCO's annotations for training have 449 MB
CHUNK = 1 << 20
UNPACKING = ".unpacking-"  # how folders begin that are being filled
DEEPEST = 3  # names below a part: ImageSets/Main/train.txt
PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def unpack(archives: Sequence[Path], folder: Path, parts: tuple[str, ...]) -> None:
    """Write the files that lie in ``.../PART/`` in the archives, zip or tar, plain or gzipped, into ``folder/PART/``; up to two
    folders may be between.

    Names are kept where they are plain letters, digits, dots, dashes and underscores, and files of other names passed over; so
    nothing leaves the folder. Parts appear whole or not at all, and those that are there stay. Raises DataError for a damaged
    archive, DownloadError where nothing can be written.
    """
    parts = tuple(part for part in parts if not (folder / part).exists())
    for left in folder.glob(f"{UNPACKING}*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNPACKING) as work:
        for path in archives:
            with stream_zip(path) if path.suffix == ".zip" else stream_tar(path, MOST_IN_TAR) as files:
                for member, reader in files:
                    names = _wanted(member.path.parts, parts)
                    if names:
                        _write(Path(work, *names), member, reader)
        for part in parts:
            if not (Path(work) / part).is_dir():
                raise DataError(f"{archives[0]}: the archive holds nothing in {part}/")
        for part in parts:
            os.rename(Path(work) / part, folder / part)


def _wanted(path: tuple[str, ...], parts: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a file from its part on; none if it is in no part."""
    start = next((k for k, name in enumerate(path) if name in parts), len(path))
    names = path[start:]
    return names if 1 < len(names) <= DEEPEST + 1 and all(PLAIN.fullmatch(name) for name in names) else ()


def _write(place: Path, member: Member, reader) -> None:
    """The bytes of a member, to where it belongs; the first of a name counts."""
    if member.size > LARGEST:
        raise DataError(f"{member.name} has {member.size:,} bytes; the limit is {LARGEST:,}")
    left = 0 if place.exists() else member.size
    while left and (data := reader.read(min(CHUNK, left))):
        left -= len(data)
        _append(place, data)


def _append(place: Path, data: bytes) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "ab") as file:
            file.write(data)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
            raise DataError(f"a file in it cannot have the name {place.name[:40]!r}: {error.strerror}") from error
        raise DownloadError(f"{place.parent} cannot be written: {error.strerror or error}") from error
