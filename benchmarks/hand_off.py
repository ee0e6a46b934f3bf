"""What it costs to share a kernel that does nothing among all threads: while they are awake, and after they went to sleep."""

import statistics
import time

from benchmarks.harness import main

CALLS = 200
PAUSE = 0.01  # seconds, after which threads sleep


def measure(framework: str) -> dict[str, float]:
    from minidl.kernels.cpu.compile import jit
    from minidl.kernels.cpu.threads import SERIAL_WORK, get_num_threads, split

    @jit
    def nothing(start, stop):
        pass

    def call() -> float:
        start = time.perf_counter()
        split(nothing, get_num_threads(), SERIAL_WORK)
        return time.perf_counter() - start

    def call_after_a_pause() -> float:
        time.sleep(PAUSE)
        return call()

    for _ in range(CALLS):
        call()
    return {"awake": statistics.median(call() for _ in range(CALLS)),
            "asleep": statistics.median(call_after_a_pause() for _ in range(CALLS))}


if __name__ == "__main__":
    main("benchmarks.hand_off", __doc__, peers=())
