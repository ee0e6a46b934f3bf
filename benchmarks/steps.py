"""Training steps and inference of the lecture's networks, and their memory, against PyTorch's fastest way."""

from benchmarks.harness import built, main, seconds
from benchmarks.networks import NETWORKS, Case

PEERS = ("torch", "torch channels_last", "torch compile")


def measure(framework: str, name: str) -> dict[str, float]:
    library, _, variant = framework.partition(" ")
    case = Case(library, name, variant)
    built()
    times = {"training step": seconds(case.step, repeat=5, at_least=2.0)}
    case.eval()
    return times | {"inference": seconds(case.infer, repeat=5, at_least=1.0)}


if __name__ == "__main__":
    main("benchmarks.steps", __doc__, PEERS, cases=tuple(NETWORKS))
