"""torchvision beside a PyTorch that lacks its compiled operators: only its models are wanted."""

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
