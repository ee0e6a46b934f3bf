"""Versions, BLAS kernels and threads, GPU, folders, and what is missing and how to get it.

example:
  minidl info
"""


EXTRAS = {"numba": None, "matplotlib": "train", "pillow": "train", "rich": "train", "threadpoolctl": "train"}


def arguments(parser) -> None:
    """It has none."""


def run(options) -> None:
    from minidl.blas import advice
    from minidl.data.download import list_datasets
    from minidl.data.places import cache_folder, find_folder
    from minidl.device import Device
    from minidl.errors import DataError, MinidlError
    from minidl.train.versions import versions

    found = versions()
    for name in ("minidl", "python", "system", "cpus", "numpy", "numba"):
        _print(name, found[name] or "missing")
    for library in found["blas"] or ["unknown: threadpoolctl tells"]:
        _print("BLAS", library)
        if hint := advice(library):
            _print("", hint)
    _print("threads", f"{found['threads']} for compiled kernels (MINIDL_NUM_THREADS)")
    try:
        _print("GPU", f"{Device.parse('cuda')}, {found['cupy']}")
    except MinidlError as error:
        _print("GPU", f"none: {error}")
    if (found["cupy"] or "").count("cupy") > 1:
        _print("conflict", f"{found['cupy']}: keep one, as in `pip uninstall cupy-cuda12x`")
    _print("data folder", f"{cache_folder()} (MINIDL_DATA)")
    for name in list_datasets():
        try:
            _print(f"  {name}", find_folder(name, ("*",)))
        except DataError:
            _print(f"  {name}", f"not there: minidl data get {name}")
    for name, extra in EXTRAS.items():
        if found[name] is None:
            _print("missing", f"{name}: pip install " + (f'"minidl[{extra}]"' if extra else name))


def _print(name: str, value) -> None:
    print(f"{name:15} {value}")
