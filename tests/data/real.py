"""Where real data sets are, for tests that can use them."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"  # next to the repository


def real_data(name: str) -> Path:
    """The folder of a data set in ``$MINIDL_DATA`` or ``../shared/data``; skips the test where there is none."""
    place = Path(os.environ.get("MINIDL_DATA") or BESIDE)
    if (place / name).is_dir():
        return place / name
    pytest.skip(f"{name} is not in {place}: set MINIDL_DATA to a folder that has {name}/")
