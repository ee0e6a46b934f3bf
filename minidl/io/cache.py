"""Results that take long, kept in a folder: each is computed once, whatever happens in between."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minidl.errors import CheckpointError
from minidl.io.store import load, save

SUFFIX = ".safetensors"


class Cache:
    """A folder with one file for each result, a dict of arrays, under the name of what it was computed from.

    A file is written beside its place and renamed, so a killed process loses only what it was computing, and several may fill
    one folder. It holds a checksum: one that is damaged is computed anew, which a line on stderr says. Names are best made by
    ``fingerprint`` of all that a result depends on: then nothing that is found can be out of date.

    Raises OSError where the folder cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = Cache(folder)
    ...     name = fingerprint("squares", np.arange(3))
    ...     first = cache(name, lambda: {"squares": np.arange(3) ** 2})
    ...     cache(name, lambda: 1 / 0)["squares"]
    array([0, 1, 4])
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def __call__(self, name: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The result ``name``: what is in the folder, or else what ``compute()`` gives, which is kept."""
        path = self.path(name)
        if path.exists():
            try:
                return _read(path)
            except CheckpointError as error:
                print(f"note: {error}; it is computed anew", file=sys.stderr)
        result = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        save({"checksum": _checksum(result), "result": result}, path)
        return result

    def path(self, name: str) -> Path:
        """The file of a result."""
        return self.folder / f"{name}{SUFFIX}"

    @property
    def size(self) -> int:
        """Bytes of all results in the folder."""
        return sum(path.stat().st_size for path in self.folder.glob(f"*{SUFFIX}"))


def fingerprint(*values) -> str:
    """A name for what arrays, strings and numbers hold: 32 hexadecimal digits of their SHA-256.

    >>> fingerprint("fast", 20, np.zeros((2, 3)))
    '69be8b480d19d72fed87a13929a25652'
    """
    digest = hashlib.sha256()
    for value in values:
        array = value if isinstance(value, np.ndarray) else None
        head = repr(value) if array is None else f"{array.dtype}{array.shape}"
        digest.update(f"{len(head)} {head}".encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()[:32]


def _checksum(result: dict[str, np.ndarray]) -> str:
    return fingerprint(*(part for item in sorted(result.items()) for part in item))


def _read(path: Path) -> dict[str, np.ndarray]:
    """A result from its file; raises CheckpointError for one that is damaged."""
    found = load(path)
    result = found.get("result") if isinstance(found, dict) else None
    if not isinstance(result, dict) or not all(isinstance(array, np.ndarray) for array in result.values()):
        raise CheckpointError(f"{path}: not a result that was kept here")
    if found.get("checksum") != _checksum(result):
        raise CheckpointError(f"{path}: damaged: its checksum is wrong")
    return result
