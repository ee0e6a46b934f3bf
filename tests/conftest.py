"""What all tests share: the device they run on, chosen by ``pytest --device cpu|pretend|cuda``.

With ``pretend`` (tests/pretend) or ``cuda`` tensors made without a device are on the GPU, and NumPy's functions may read
them, as they never may outside of tests. Tests marked ``numpy`` are about NumPy's arrays themselves and skip; those marked
``gpu`` need a real GPU and skip where there is none.
"""

import signal
import sys

import numpy as np
import pytest

import minidl
from minidl.device import gpu_count
from minidl.errors import DeviceError, MissingDependencyError

# A job that a shell has put into the background ignores Ctrl-C from birth, and so would every process that the tests start and
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

WANTED = "needs a GPU"


def pytest_addoption(parser):
    parser.addoption("--device", choices=("cpu", "pretend", "cuda"), default="cpu",
                     help="where tests make their tensors; pretend: a GPU's arrays and kernels on the CPU")


def pytest_configure(config):
    device = config.getoption("--device")
    if device == "cpu":
        return
    if device == "pretend":
        from tests import pretend

        pretend.install()
    try:
        minidl.set_default_device("cuda")
    except (DeviceError, MissingDependencyError) as error:
        raise pytest.UsageError(f"--device {device}: {error}") from None
    minidl.Tensor.__array__ = lambda self, dtype=None, copy=None: np.array(self.detach().numpy(), dtype=dtype, copy=copy)


def pytest_collection_modifyitems(config, items):
    device = config.getoption("--device")
    real = device != "pretend" and _has_gpu()
    for item in items:
        if item.get_closest_marker("gpu") and not real:
            item.add_marker(pytest.mark.skip(reason=WANTED))
        if item.get_closest_marker("numpy") and device != "cpu":
            item.add_marker(pytest.mark.skip(reason="about NumPy's arrays"))


def pytest_terminal_summary(terminalreporter):
    skipped = sum(report.longrepr[2].endswith(WANTED) for report in terminalreporter.stats.get("skipped", ()))
    if skipped:
        terminalreporter.write_line(f"{skipped} tests skipped for want of a GPU")


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in for CuPy, for one test, whatever --device says."""
    from tests import pretend

    for name in ("cupy", "cupy.cuda", "cupyx"):
        monkeypatch.setitem(sys.modules, name, None)
    gpu_count.cache_clear()
    yield pretend.install()
    gpu_count.cache_clear()


def _has_gpu() -> bool:
    try:
        return gpu_count() > 0
    except (DeviceError, MissingDependencyError):
        return False
