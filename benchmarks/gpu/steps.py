"""Training steps and inference on a GPU, and its memory, against PyTorch with cuDNN: in fp32, tf32 and bf16 (autocast).

What is captured is a CUDA graph of ours (minidl.capture); beside it stands PyTorch as its users write it, without one.
"""

from benchmarks.gpu.library import PRECISIONS, Library
from benchmarks.harness import main, note_bytes
from benchmarks.networks import NETWORKS, Case

CASES = {  # the most telling first; network and batch
    "LeNet-5 of 128": ("LeNet-5", 128), "ResNet-50 of 64": ("ResNet-50", 64), "AlexNet of 64": ("AlexNet", 64),
    "VGG-16 of 64": ("VGG-16", 64), "LeNet-5 of 1024": ("LeNet-5", 1024), "ResNet-50 of 256": ("ResNet-50", 256),
    "AlexNet of 256": ("AlexNet", 256), "VGG-16 of 256": ("VGG-16", 256),
}
PEERS = ("torch", "torch channels_last")
AT_LEAST = 0.3  # seconds for each figure


def measure(framework: str, name: str) -> dict[str, float]:
    library = Library(framework)
    trained, used = _case(library, name), _case(library, name)
    used.eval()
    times = {}
    for precision in PRECISIONS:
        trained.precision = used.precision = library.use(precision)
        rows = {"step": lambda: trained.step, "inference": lambda: used.infer}
        if library.name == "minidl":
            rows["captured step"] = lambda: _captured(library, trained.step, trained.x, trained.y)
            rows["captured inference"] = lambda: _captured(library, used.infer, used.x)
        found = library.timed({f"{precision} {row}": make for row, make in rows.items()}, AT_LEAST)
        if library.name == "torch":
            found |= {name.replace(precision, f"{precision} captured"): seconds for name, seconds in found.items()}
        times |= found
    for precision in PRECISIONS:  # last: minidl counts memory at a price
        trained.precision = library.use(precision)
        note_bytes(f"peak_gpu_bytes_{precision}", _peak(library, trained))
    return times


def _case(library: Library, name: str) -> Case:
    network, batch = CASES[name]
    return Case(library.name, network, library.variant, (batch, *NETWORKS[network].shape[1:]), "cuda")


def _captured(library: Library, function, *batch):
    """The function, recorded."""
    recorded = library.module.capture(function)
    for _ in range(2):
        recorded(*batch)
    return lambda: recorded(*batch)


def _peak(library: Library, case: Case) -> int:
    """The most bytes in arrays during a step."""
    library.cuda.empty_cache()
    library.cuda.reset_peak_memory_stats()
    case.step()
    library.cuda.synchronize()
    return library.cuda.max_memory_allocated()


if __name__ == "__main__":
    main("benchmarks.gpu.steps", __doc__, PEERS, cases=tuple(CASES))
