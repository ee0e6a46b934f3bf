"""Writing files whole or not at all."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".tmp"


@contextlib.contextmanager
def atomic_write(path) -> Iterator[BinaryIO]:
    """A binary file to write into, which takes the place of ``path`` when the block ends without an error.

    Temporary file in the same folder, fsync, rename, fsync of the folder: whatever happens, ``path`` holds the old content or
    the new. A failure leaves nothing behind; a killed process at most a hidden ``.tmp`` file. Raises FileNotFoundError for a
    missing folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "x") as file:
    ...         _ = file.write(b"all of it")
    ...     (Path(folder) / "x").read_bytes()
    b'all of it'
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{SUFFIX}")
    with open(temporary, "xb") as file:  # x: a new file, never one that another process or a link put there
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()  # before the rename, or Windows refuses it
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):  # what is still buffered cannot be written either
                file.close()
            temporary.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


def write_text(path, text: str) -> None:
    """A text file, atomically, in UTF-8."""
    with atomic_write(path) as file:
        file.write(text.encode())


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
