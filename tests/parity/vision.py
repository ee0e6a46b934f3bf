"""torchvision, also beside a PyTorch that lacks its compiled operators: then its models are there, and all that is Python."""

import pytest

torch = pytest.importorskip("torch")


def torchvision():
    """The package, imported with declarations of missing operators passed over; skips where it is not installed."""
    pytest.importorskip("PIL")
    declare = torch.library.register_fake

    def declare_if_known(name, function=None, /, **options):
        def attempt(function):
            try:
                return declare(name, function, **options)
            except RuntimeError:  # the operator does not exist
                return function

        return attempt if function is None else attempt(function)

    torch.library.register_fake = declare_if_known
    try:
        return pytest.importorskip("torchvision")
    finally:
        torch.library.register_fake = declare


def compiled():
    """torchvision's compiled operators; skips where PyTorch cannot load them, as one for the CPU cannot load those for CUDA."""
    if not torchvision().extension._has_ops():
        pytest.skip("torchvision's compiled operators do not load")
    return torch.ops.torchvision
