"""Writing files whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path) -> Iterator:
    """A binary file to write into, which takes the place of ``path`` when the block ends without an error.

    Temporary file in the same folder, fsync, rename, fsync of the folder: whatever happens, ``path`` holds the old content or
    the new, and a failure leaves no debris.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "x") as file:
    ...         _ = file.write(b"all of it")
    ...     (Path(folder) / "x").read_bytes()
    b'all of it'
    """
    path = Path(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text: str) -> None:
    """A text file, atomically, in UTF-8."""
    with atomic_write(path) as file:
        file.write(text.encode())
