"""Where compiled kernels lie on disk: in folders that only this user can write into, since what lies there is run."""

import os
import stat
import tempfile
from pathlib import Path


def private_folder(name: str) -> Path | None:
    """A folder under ``MINIDL_CACHE`` or the user's cache directory, made if need be; a temporary one if neither can be written
    by this user alone; None if nothing can.
    """
    root = os.environ.get("MINIDL_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for parent in (Path(root) / "minidl", Path(tempfile.gettempdir()) / f"minidl-{_user()}"):
        folder = parent / name
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        if is_private(parent) and is_private(folder):
            return folder
    return None


def is_private(folder: Path) -> bool:
    """Whether only its owner, who is this user, may write into the folder."""
    if os.name == "nt":
        return True
    info = os.lstat(folder)
    return stat.S_ISDIR(info.st_mode) and info.st_uid == _user() and not info.st_mode & 0o022


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
