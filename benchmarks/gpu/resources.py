"""What every CUDA kernel takes of a multiprocessor, and how full it is then: ``python -m benchmarks.gpu.resources [FILE ...]``.

Needs no GPU: NVRTC compiles, and reports registers, shared memory and what did not fit into registers ("spills").
"""

import argparse

from benchmarks.gpu.nvrtc import CUPY, FILES, REPORT, Resources, compiled, resources
from minidl.kernels.cuda import launch

# Of a multiprocessor: threads, bytes of shared memory. All have 65,536 registers, given to warps by 256.
MULTIPROCESSORS = {"sm_75": (1024, 64 << 10), "sm_80": (2048, 164 << 10), "sm_90a": (2048, 228 << 10)}
HEAD = "file             kernel                     dtype     for     registers  shared spills blocks  full"


def blocks(kernel: Resources, architecture: str) -> int:
    """How many blocks a multiprocessor holds at once.

    >>> blocks(Resources("f", 128, 18944, 0), "sm_80"), blocks(Resources("f", 32, 0, 0), "sm_80")
    (2, 8)
    """
    threads, shared = MULTIPROCESSORS[architecture]
    of_warp = -(-kernel.registers * 32 // 256) * 256
    by_registers = 65536 // of_warp // (launch.THREADS // 32)
    by_shared = shared // (kernel.shared + 1024)  # 1 KiB is the driver's
    return min(threads // launch.THREADS, by_registers, by_shared)


def report(files, dtypes, architectures) -> None:
    print(HEAD)
    for file in files:
        for dtype in dtypes:
            for architecture in architectures:
                options = *launch.NVRTC, *launch.options(dtype), *CUPY
                good, log, _ = compiled(launch.code(file), *options, f"-arch={architecture}", REPORT)
                if not good:
                    print(f"{file}: {log}")
                for kernel in resources(log):
                    held = blocks(kernel, architecture)
                    full = held * launch.THREADS / MULTIPROCESSORS[architecture][0]
                    print(f"{file:16} {kernel.kernel:26} {dtype:9} {architecture:7} {kernel.registers:9} {kernel.shared:7} "
                          f"{kernel.spills:6} {held:6} {full:5.0%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser("benchmarks.gpu.resources", description=__doc__)
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=launch.C_TYPES)
    parser.add_argument("--architectures", nargs="+", default=["sm_80", "sm_90a"], choices=MULTIPROCESSORS)
    report(**vars(parser.parse_args()))
