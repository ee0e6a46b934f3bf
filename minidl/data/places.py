"""Where data sets lie."""

import os
from pathlib import Path

from minidl.errors import DataError


def cache_folder() -> Path:
    """Where downloads go and are looked for: ``$MINIDL_DATA``, or ``minidl/data`` in the user's cache directory."""
    named = os.environ.get("MINIDL_DATA")
    return Path(named) if named else user_folder()


def user_folder() -> Path:
    """``minidl/data`` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minidl" / "data"


def find_folder(name: str, patterns: tuple[str, ...], root=None) -> Path:
    """The folder of a data set, which holds a file of one of the patterns: ``root/name`` or ``root``, else ``name`` in
    ``$MINIDL_DATA`` or in the cache folder.

    Raises DataError that lists the places looked at and the command that downloads.
    """
    places = [Path(root) / name, Path(root)] if root is not None else [cache_folder() / name, user_folder() / name]
    for place in places:
        if any(any(place.glob(pattern)) for pattern in patterns):  # and not what a broken download left
            return place
    looked = ", ".join(map(str, dict.fromkeys(places)))
    raise DataError(f"{name} is in none of these folders: {looked}; get it with `minidl data get {name}`, or set MINIDL_DATA "
                    f"to the folder that holds {name}/")


def file_inside(folder: Path, name: str) -> Path:
    """``folder/name``, a name that came with the data; raises DataError for one that leads out of the folder, also by a link.

    >>> file_inside(Path("pictures"), "../../secret.jpg")
    Traceback (most recent call last):
    ...
    minidl.errors.DataError: '../../secret.jpg' is not the name of a file in pictures
    """
    try:
        path = (folder / name).resolve()
        if path.is_relative_to(folder.resolve()):
            return path
    except (OSError, ValueError, RuntimeError):  # a null byte, a name too long, links in a circle
        pass
    raise DataError(f"{name[:200]!r} is not the name of a file in {folder}")
