"""Versions, BLAS kernels and threads, GPU, data folder, and what is missing and how to get it.

example:
  minidl info
"""

EXTRAS = {"numba": "", "safetensors": "train", "matplotlib": "train", "pillow": "train", "rich": "train", "threadpoolctl": "train",
          "cupy": "cuda12"}


def arguments(parser) -> None:
    pass


def run(options) -> None:
    from minidl.data.download import cache_folder
    from minidl.device import Device
    from minidl.errors import MinidlError
    from minidl.kernels.cpu.threads import get_num_threads
    from minidl.train.versions import versions

    found = versions()
    for name in ("minidl", "python", "system", "cpus", "numpy", "numba"):
        print(f"{name:14} {found[name]}")
    for library in found["blas"] or ():
        print(f"{'BLAS':14} {library.get('internal_api')} {library.get('version')}, kernels {library.get('architecture')}, "
              f"{library.get('num_threads')} threads")
    print(f"{'threads':14} {get_num_threads()} (MINIDL_NUM_THREADS)")
    try:
        gpu = str(Device.parse("cuda"))
    except MinidlError as error:
        gpu = f"none: {error}"
    print(f"{'GPU':14} {gpu}")
    print(f"{'data folder':14} {cache_folder()} (MINIDL_DATA)")
    for name, extra in EXTRAS.items():
        if found[name] is None:
            print(f"{'missing':14} {name}: pip install " + (f'"minidl[{extra}]"' if extra else name))
