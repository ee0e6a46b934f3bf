"""What CuPy offers of NumPy's names: api.txt, one function or method a line with its parameters, which the stand-in keeps to.

``python -m tests.pretend.api`` writes the list anew where the real CuPy is installed, which needs no GPU.
"""

import inspect
import re
from pathlib import Path

import numpy as np

LIST = Path(__file__).with_name("api.txt")
FOLDERS = {"": np, "linalg.": np.linalg, "ndarray.": np.ndarray}  # where a name stands, and NumPy's counterpart


def read() -> dict[str, list[str] | None]:
    """From name to parameters: ``*`` and ``**`` stand for any, ``/`` ends the positional ones; None for ufuncs and constants."""
    lines = [line.split() for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {name: None if rest == ["-"] else rest for name, *rest in lines}


def describe(cupy) -> list[str]:
    """The lines of the list for this CuPy."""
    lines = []
    for prefix, counterpart in FOLDERS.items():
        folder = getattr(cupy, prefix[:-1]) if prefix else cupy
        for name in sorted(set(dir(folder)) & set(dir(counterpart))):
            thing = getattr(folder, name)
            if not name.startswith("_") and not inspect.ismodule(thing):
                lines.append(" ".join([prefix + name, *_parameters(thing, cupy)]))
    return lines


def _parameters(thing, cupy) -> list[str]:
    if not callable(thing) or isinstance(thing, (type, cupy.ufunc)):
        return ["-"]
    try:
        found = inspect.signature(thing).parameters.values()
    except ValueError:  # a method in Cython: its signature is the first line of its docstring
        return _from_text((thing.__doc__ or "").partition("\n")[0])
    words = []
    for parameter in found:
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "/" not in words:
            words.append("/")
        words.append({parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, parameter.name))
    return words


def _from_text(line: str) -> list[str]:
    match = re.match(r"[\w.]+\((.*)\)", line)
    if match is None:
        return ["*", "**"]
    names = [re.sub("=.*", "", part).split()[-1] for part in match[1].split(",")]
    return ["*" if name.startswith("*") else name for name in names if name != "self"]


if __name__ == "__main__":
    import cupy

    LIST.write_text(f"# Written by tests/pretend/api.py from CuPy {cupy.__version__}.\n" + "\n".join(describe(cupy)) + "\n")
