"""Tar archives are looked into, never extracted; hostile ones end in a typed error."""

import gzip
import io
import os
import tarfile

import pytest

from minidl.data import tar
from minidl.errors import DataError
from tests.io.limits import read_within_limits


def archive(*entries, zipped=False) -> bytes:
    """An archive of (name, content) or of ready TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if zipped else "w") as made:
        for name, content in entries:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


def header(size: bytes, kind=b"0", name=b"a") -> bytes:
    """A header with a size as it stands there, and the right checksum."""
    block = bytearray(512)
    block[: len(name)], block[124 : 124 + len(size)], block[156:157] = name, size, kind
    block[100:108], block[257:265] = b"0000644\0", b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


GOOD = archive(("folder/a.bin", b"abc"), ("b.bin", b"defg"))


@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_there(tmp_path, zipped):
    path = tmp_path / "a.tar"
    path.write_bytes(archive(("folder/a.bin", b"abc"), ("b.bin", b"defg"), zipped=zipped))
    with tar.stream(path) as files:
        assert [(str(member.path), member.name, reader.read(member.size)) for member, reader in files] == [
            ("folder/a.bin", "a.bin", b"abc"), ("b.bin", "b.bin", b"defg")]
    assert tar.read_members(path, {"b.bin", "c.bin"}, 10) == {"b.bin": b"defg"}


def test_places_of_members(tmp_path):
    """An archive in an archive: where each file's bytes lie in the outer one."""
    path = tmp_path / "a.tar"
    path.write_bytes(archive(("x.tar", archive(("n/p.jpg", b"picture"), ("q.jpg", b"another")))))
    with open(path, "rb") as file:
        outer, = tar.members(file)
        inner = tar.members(file, outer.start, outer.size)
        assert [m.name for m in inner] == ["p.jpg", "q.jpg"]
        for member, content in zip(inner, (b"picture", b"another"), strict=True):
            file.seek(member.start)
            assert file.read(member.size) == content


def test_names_lead_nowhere(tmp_path):
    """Absolute paths, parents, links and devices: nothing is written, and links are not followed."""
    path = tmp_path / "inside" / "a.tar"
    path.parent.mkdir()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path.write_bytes(archive(
        ("../../escape", b"1"), ("/tmp/absolute", b"2"), (special("link", tarfile.SYMTYPE, str(secret)), b""),
        (special("hard", tarfile.LNKTYPE, "../secret"), b""), (special("pipe", tarfile.FIFOTYPE), b""),
        (special("device", tarfile.CHRTYPE), b""), (special("folder", tarfile.DIRTYPE), b"")))
    before = sorted(os.walk(tmp_path))
    with tar.stream(path) as files:
        assert [member.name for member, _ in files] == ["escape", "absolute"]
    assert tar.read_members(path, {"link", "hard", "escape"}, 10) == {"escape": b"1"}
    assert sorted(os.walk(tmp_path)) == before


TWICE = archive(("x/a", b"1"), ("y/a", b"2"))
HOSTILE = {
    "text": b"no archive" * 100, "one header": GOOD[:512], "cut in a header": GOOD[:700], "cut in a file": GOOD[:514],
    "gzip of nothing": gzip.compress(b"")[:-4], "gzip cut": archive(("a", b"x" * 9999), zipped=True)[:-30],
    "gzip damaged": archive(("a", os.urandom(9999)), zipped=True)[:5000] + b"damage" * 900,
    "gzip bomb": gzip.compress(header(b"77777777777\0", name=b"b") + bytes(400 << 20), 1),
    "bomb before the file": gzip.compress(header(b"02000000000\0", name=b"b") + bytes(256 << 20) + header(b"1\0") + bytes(512)),
    "negative size": header(b"\xff" * 12) + bytes(512),
    "size of 2^63": header(b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7) + bytes(512),
    "size that is no number": header(b"abcdefgh\0") + bytes(512),
    "200,000 headers": gzip.compress(header(b"0\0", name=b"b") * 200_000),
    "two of a name": TWICE, "larger than allowed": archive(("a", bytes(101))),
    **{f"pax header {word!r}": header(b"%011o\0" % len(word), b"x") + word.ljust(512, b"\0") + header(b"00000000003\0")
       + b"abc".ljust(512, b"\0")
       for word in (b"999 size=1\n", b"12 size=-999\n", b"-1 a=b\n", b"0 a=b\n", b"15 size=99999999\n", b"abc", b"13 size=1e99\n",
                    b"9 a=\xff\xff\n")},
    **{f"long name of {size}": header(size, b"L") + bytes(512) for size in (b"77777777777\0", b"00000000000\0", b"\xff" * 12)},
    **{f"global header of {size}": header(size, b"g") + bytes(512) for size in (b"77777777777\0", b"\xff" * 12)},
    **{f"sparse file of {size}": header(size, b"S") + bytes(512) for size in (b"77777777777\0", b"\xff" * 12, b"00000000003\0")},
    **{f"kind {kind!r}": header(b"77777777777\0", kind) + bytes(512) for kind in (b"D", b"M", b"N", b"V", b"7", b"\xff")},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(tmp_path, case):
    """An error, or an archive in which nothing asked for is found."""
    path = tmp_path / "a.tar"
    path.write_bytes(HOSTILE[case])
    found = read_within_limits(lambda path: tar.read_members(path, {"a"}, 100), path)
    assert type(found) is DataError and str(path) in str(found) or found in ({}, {"a": b"abc"}), found
    with open(path, "rb") as file:
        found = read_within_limits(lambda _: tar.members(file), path)
    assert type(found) is DataError or isinstance(found, list)


def test_missing(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        tar.read_members(tmp_path / "a.tar", {"a"}, 10)
