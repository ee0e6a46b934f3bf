"""A file is replaced whole or not at all."""

import errno
import os
import stat

import pytest

from minidl.io import atomic_write, write_text


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    return path


def holds(path, text):
    """The file has this content and is alone in its folder."""
    assert path.read_text() == text and os.listdir(path.parent) == [path.name]


def test_replaces(target):
    with atomic_write(target) as file:
        file.write(b"new")
        assert target.read_text() == "old"
    holds(target, "new")
    write_text(target, "grüß")
    assert target.read_bytes() == "grüß".encode()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_block_leaves_the_old_file(target, error):
    with pytest.raises(error), atomic_write(target) as file:
        file.write(b"half")
        raise error
    holds(target, "old")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_of_the_system_leaves_the_old_file(target, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        write_text(target, "new")
    monkeypatch.undo()
    holds(target, "old")


def test_a_full_disk(target):
    """A real write error, which arrives when the buffer is flushed and again when the file is closed."""
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError):
            write_text(target, "n" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    holds(target, "old")


def test_syncs_file_before_rename_and_folder_after(target, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1])
    write_text(target, "new")
    assert calls == ["fsync", "replace"] + ["fsync"] * (os.name != "nt")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_are_those_of_any_new_file(target, tmp_path):
    (tmp_path / "plain").touch()
    write_text(target, "new")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder") as info:
        write_text(tmp_path / "nowhere" / "x", "new")
    assert info.value.filename == str(tmp_path / "nowhere")
