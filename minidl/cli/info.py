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
    from minidl.errors import DataError
    from minidl.kernels.cpu import compile
    from minidl.train.versions import versions

    found = versions()
    for name in ("minidl", "python", "system", "cpus", "numpy", "numba"):
        _print(name, found[name] or "missing")
    for library in found["blas"] or ["unknown: threadpoolctl tells"]:
        _print("BLAS", library)
        if hint := advice(library):
            _print("", hint)
    _print("threads", f"{found['threads']} for compiled kernels (MINIDL_NUM_THREADS)")
    _print("kernels", f"compiled ones are kept in {compile.cache_folder() or 'memory alone'} (MINIDL_CACHE)")
    _print_gpus(found["cupy"])
    _print("data folder", f"{cache_folder()} (MINIDL_DATA)")
    for name in list_datasets():
        try:
            _print(f"  {name}", find_folder(name, ("*",)))
        except DataError:
            _print(f"  {name}", f"not there: minidl data get {name}")
    for name, extra in EXTRAS.items():
        if found[name] is None:
            _print("missing", f"{name}: pip install " + (f'"minidl[{extra}]"' if extra else name))


def _print_gpus(cupy: str | None) -> None:
    """The GPUs, CuPy, and what is wrong with them. ``cupy``: its packages that are installed, with their versions."""
    from minidl import cuda
    from minidl.cuda.load import kernel_cache
    from minidl.cuda.memory import as_text
    from minidl.device import gpu_count
    from minidl.errors import MinidlError
    from minidl.kernels.cache import is_private

    if (cupy or "").count("cupy") > 1:
        _print("conflict", f"{cupy}: keep one, as in `pip uninstall cupy-cuda12x`")
    try:
        for number in range(gpu_count()):
            found = cuda.get_device_properties(number)
            _print("GPU", f"cuda:{number}, {found.name}, compute capability {found.major}.{found.minor}, "
                          f"{as_text(found.total_memory)}")
    except MinidlError as error:
        _print("GPU", f"none: {error}")
        return
    driver, made_for = cuda.versions()
    _print("CuPy", f"{cupy}, made for CUDA {made_for}; the driver knows CUDA {driver}")
    cache = kernel_cache()
    _print("", f"compiled kernels are kept in {cache} (CUPY_CACHE_DIR)")
    if cache.exists() and not is_private(cache):
        _print("warning", f"others may write into {cache}, and what lies there is run: chmod go-w {cache}")


def _print(name: str, value) -> None:
    print(f"{name:15} {value}")
