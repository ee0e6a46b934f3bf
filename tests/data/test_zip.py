"""Zip archives are looked into, never extracted; hostile ones end in a typed error."""

import io
import os
import stat
import struct
import zipfile

import pytest

from minidl.data.unpack import unpack
from minidl.data.zip import stream
from minidl.errors import DataError
from tests.io.limits import read_within_limits


def archive(*files, method=zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of (name or ready ZipInfo, content)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in files:
            made.writestr(name, content, method)
    return out.getvalue()


def mode(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
    return entry


def overlapping(content: bytes) -> bytes:
    """A directory in which two names share one file's bytes."""
    data = bytearray(archive(("P/a", content)))
    end = data.rindex(b"PK\5\6")
    start, = struct.unpack_from("<I", data, end + 16)
    entry = bytes(data[start:end])
    tail = data[end:]
    struct.pack_into("<HHI", tail, 8, 2, 2, 2 * len(entry))
    return bytes(data[:start]) + entry + entry.replace(b"P/a", b"P/b") + bytes(tail)


def changed(data: bytes, local: int, central: int, value: bytes) -> bytes:
    """Bytes at offsets of the first file's own header and of its entry in the directory."""
    data, entry = bytearray(data), data.index(b"PK\1\2")
    data[local : local + len(value)] = data[entry + central : entry + central + len(value)] = value
    return bytes(data)


ONE = archive(("P/a", b"picture" * 100))
STORED = archive(("P/a", b"picture" * 100), method=zipfile.ZIP_STORED)
HOSTILE = {
    "empty": b"", "text": b"no archive" * 100, "cut": ONE[:-30], "directory alone": ONE[ONE.index(b"PK\1\2"):],
    "damaged bytes": ONE.replace(ONE[40:44], b"\0\1\2\3"), "wrong sum": changed(ONE, 14, 16, b"abcd"),
    "bomb": archive(("P/a", bytes(300 << 20))), "bomb of many": archive(*((f"P/{k}", bytes(10 << 20)) for k in range(30))),
    "claims little": changed(archive(("P/a", bytes(300 << 20))), 22, 24, struct.pack("<I", 10)),
    "claims much": changed(ONE, 22, 24, b"\xff\xff\xff\x7f"), "overlapping": overlapping(os.urandom(1000)),
    "encrypted": changed(ONE, 6, 8, b"\1\0"), "other method": archive(("P/a", b"text"), method=zipfile.ZIP_BZIP2),
    "unknown method": changed(STORED, 8, 10, b"\x63\0"), "stored beyond the end": changed(STORED, 18, 20, b"\xff\xff\0\0"),
    "name without letters": ONE[: ONE.index(b"PK\1\2") + 46] + b"\0" + ONE[ONE.index(b"PK\1\2") + 47 :],
    "a folder for a file": archive(("P/a", b"text"), ("P/a/b", b"text")), "long name": archive(("P/" + "a" * 300, b"text")),
    "many names": archive(*((f"P/{k}", b"") for k in range(1500)), ("P/a", bytes(300 << 20))),
}


def test_what_is_there(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(archive(("folder/", b""), ("folder/a.bin", b"abc"), ("b.bin", b"defg" * 1000), method=zipfile.ZIP_STORED))
    with stream(path) as files:
        assert [(str(member.path), member.size, reader.read(member.size)) for member, reader in files] == [
            ("folder/a.bin", 3, b"abc"), ("b.bin", 4000, b"defg" * 1000)]


def test_names_lead_nowhere(tmp_path):
    """Absolute paths, parents, backslashes, links and devices: nothing but plain names in the parts is written."""
    path = tmp_path / "inside" / "a.zip"
    path.parent.mkdir()
    (tmp_path / "secret").write_text("secret")
    path.write_bytes(archive(
        ("P/a/b", b"1"), ("../P/c", b"2"), ("P/../../escape", b"3"), ("/tmp/P/d", b"4"), ("P/..", b"5"), ("P\\..\\e", b"6"),
        (mode("P/link", stat.S_IFLNK), b"../secret"), (mode("P/pipe", stat.S_IFIFO), b""), (mode("P/f", stat.S_IFREG), b"7"),
        ("P/g\n", b"8"), ("P/" + "h/" * 4 + "i", b"9"), ("other/j", b"10"), ("P", b"11")))
    unpack([path], path.parent, ("P",))
    found = {str(file.relative_to(tmp_path)): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    del found["inside/a.zip"]
    assert found == {"secret": b"secret", "inside/P/a/b": b"1", "inside/P/c": b"2", "inside/P/d": b"4", "inside/P/f": b"7"}
    assert not any(file.is_symlink() for file in tmp_path.rglob("*"))


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(tmp_path, case):
    path = tmp_path / "a.zip"
    path.write_bytes(HOSTILE[case])
    found = read_within_limits(lambda path: unpack([path], tmp_path, ("P",)), path)
    assert type(found) is DataError and str(path) in str(found), found
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".unpacking-x/P").mkdir(parents=True)
    (tmp_path / ".unpacking-x/P/a").write_bytes(b"half")
    (tmp_path / "a.zip").write_bytes(ONE)
    unpack([tmp_path / "a.zip"], tmp_path, ("P",))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["P", "a.zip"]


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("minidl.data.unpack.LARGEST", 600)
    (tmp_path / "a.zip").write_bytes(ONE)
    with pytest.raises(DataError, match="a has 700 bytes; the limit is 600"):
        unpack([tmp_path / "a.zip"], tmp_path, ("P",))


def test_missing(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        unpack([tmp_path / "a.zip"], tmp_path, ("P",))
