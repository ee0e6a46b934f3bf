"""Machine code for sm_90a is compiled once, and kept where only this user can write."""

from types import SimpleNamespace

import pytest

from minidl.kernels.cuda import hopper


class NVRTC:
    """The part of cupy.cuda.nvrtc that is used."""

    class NVRTCError(RuntimeError):
        pass

    def __init__(self):
        self.compiled, self.open = [], set()

    def getVersion(self):
        return 13, 0

    def createProgram(self, code, name, headers, names):
        self.open.add(code)
        return code

    def compileProgram(self, program, options):
        self.compiled.append(options)
        if "wrong" in program:
            raise self.NVRTCError("compilation")

    def getProgramLog(self, program):
        return f"no {program}"

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
    with pytest.raises(RuntimeError, match="file.cu does not compile for sm_90a: no wrong text"):
        hopper.cubin("file", "wrong text", ())
    assert not nvrtc.open and not list((tmp_path / "minidl/sm_90a").iterdir())


@pytest.mark.parametrize("capabilities, expected", [(["90", "90"], True), (["90", "80"], False), (["100"], False)])
def test_where_all_gpus_are_hoppers(capabilities, expected):
    def device(i):
        return SimpleNamespace(compute_capability=capabilities[i])

    cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: len(capabilities)), Device=device)
    assert hopper.everywhere(SimpleNamespace(cuda=cuda)) == expected
