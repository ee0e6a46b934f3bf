"""Machine code for sm_90a is compiled once, and kept where only this user can write; without it the other kernels run."""

from types import SimpleNamespace

import numpy as np
import pytest

from minidl.kernels.cuda import conv, hopper, launch
from minidl.kernels.portable import conv as portable
from minidl.kernels.shapes import ConvGeometry
from tests.kernels.cuda import on_host


class NVRTC:
    """The part of cupy.cuda.nvrtc that is used."""

    class NVRTCError(RuntimeError):
        pass

    def __init__(self):
        self.compiled, self.open, self.version = [], set(), (13, 0)

    def getVersion(self):
        return self.version

    def createProgram(self, code, name, headers, names):
        self.open.add(code)
        return code

    def compileProgram(self, program, options):
        self.compiled.append(options)
        if "wrong" in program:
            raise self.NVRTCError("NVRTC_ERROR_COMPILATION (6)")
        if "-arch=sm_90a" in options and self.version < (12, 0):
            raise self.NVRTCError("NVRTC_ERROR_INVALID_OPTION (5)")

    def getProgramLog(self, program):
        return "invalid value for -arch" if self.version < (12, 0) else f"no {program}\n"

    def getCUBIN(self, program):
        return program.encode()

    def destroyProgram(self, program):
        self.open.remove(program)


@pytest.fixture
def nvrtc(cupy, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path))
    monkeypatch.setattr(cupy.cuda, "nvrtc", found := NVRTC(), raising=False)
    return found


def test_compiled_once(nvrtc, tmp_path):
    path = hopper.cubin("file", "text", ("-std=c++17",))
    assert path.read_text() == "text" and path.parent.parent == tmp_path / "minidl"
    assert hopper.cubin("file", "text", ("-std=c++17",)) == path
    assert nvrtc.compiled == [("-std=c++17", "-arch=sm_90a", "-ftz=true")]
    assert hopper.cubin("file", "other text", ("-std=c++17",)) != path
    assert not nvrtc.open and len(list(path.parent.iterdir())) == 2


def test_what_does_not_compile_says_why_and_leaves_nothing(nvrtc, tmp_path):
    with pytest.warns(UserWarning, match=r"file.cu does without .* NVRTC 13.0, refuses sm_90a \(no wrong text\)"):
        assert hopper.cubin("file", "wrong text", ()) is None
    assert not nvrtc.open and not list((tmp_path / "minidl/sm_90a").iterdir())


@pytest.fixture
def compiled_anew(monkeypatch):
    launch._module.cache_clear()
    monkeypatch.setattr(launch, "_kernels", {})
    yield
    launch._module.cache_clear()


@on_host
def test_a_hopper_whose_compiler_is_too_old_multiplies_as_other_gpus(nvrtc, cupy, compiled_anew, monkeypatch):
    monkeypatch.setattr(cupy.cuda.Device, "compute_capability", "90")
    nvrtc.version = 11, 8
    random = np.random.default_rng(0)
    x, w = random.integers(-4, 5, (2, 8, 4, 5)).astype(np.float16), random.integers(-4, 5, (6, 8, 3, 2)).astype(np.float16)
    with pytest.warns(UserWarning, match=r"NVRTC 11.8, refuses sm_90a \(invalid value for -arch\)"):
        y = conv.conv2d(cupy.asarray(x), cupy.asarray(w), None, ConvGeometry())
    np.testing.assert_array_equal(y.get(), portable.conv2d(x, w, None, ConvGeometry()))


@pytest.mark.parametrize("capabilities, expected", [(["90", "90"], True), (["90", "80"], False), (["100"], False)])
def test_where_all_gpus_are_hoppers(capabilities, expected):
    def device(i):
        return SimpleNamespace(compute_capability=capabilities[i])

    cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: len(capabilities)), Device=device)
    assert hopper.everywhere(SimpleNamespace(cuda=cuda)) == expected
