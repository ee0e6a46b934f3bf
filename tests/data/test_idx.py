"""The idx format: good files as they are, hostile ones as a DataError that names the file, at once and in little memory."""

import gzip
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from minidl.data import read_idx
from minidl.errors import DataError
from tests.data.idx_files import header, idx

ROOT = Path(__file__).resolve().parents[2]

ARRAY = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
GOOD = idx(ARRAY)
GZ = gzip.compress(GOOD, mtime=0)
MEMBER = gzip.compress(bytes(1 << 24))  # 16 MiB in 16 KiB; members of a gzip file follow one another

HOSTILE = {
    "empty": b"",
    "1 byte": b"\0",
    "3 bytes": b"\0\0\x08",
    "text": b"<html>404 Not Found</html>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "magic alone": GOOD[:4],
    "half a size": GOOD[:6],
    "sizes missing": GOOD[:12],
    "header alone": GOOD[:16],
    "1 element short": GOOD[:-1],
    "1 element too many": GOOD + b"\0",
    "twice": GOOD + GOOD,
    "first byte": b"\1" + GOOD[1:],
    "second byte": b"\0\1" + GOOD[2:],
    "little-endian sizes": GOOD[:4] + struct.pack("<3I", *ARRAY.shape) + GOOD[16:],
    **{f"type {kind:#04x}": header(2, 3, kind=kind) + bytes(48) for kind in (0, 9, 0x0B, 0x0C, 0x0D, 0x0E, 0xFF)},
    "rank 0": header() + b"\0",
    "rank 5": header(1, 1, 1, 1, 1) + b"\0",
    "rank 255": header(*[1] * 255) + b"\0",
    "rank 255 without sizes": header(rank=255),
    "2 GiB and nothing": header(2**31),
    "4 GiB": header(2**32 - 1) + bytes(9),
    "0 modulo 2^32": header(2**16, 2**16),
    "0 modulo 2^64": header(2**32 - 2**31, 2**31, 4),
    "6 modulo 2^32": header(2, 2**31 + 3) + bytes(6),
    "2^128 less a bit": header(*[2**32 - 1] * 4) + bytes(7),
    "empty, but sizes beyond any array": header(0, 2**32 - 1, 2**32 - 1, 2**32 - 1),
    "surplus after nothing": header(0, 28, 28) + b"\0",
    "gz of nothing": gzip.compress(b""),
    "gz of gz": gzip.compress(GZ),
    "gz magic alone": b"\x1f\x8b",
    "gz header alone": GZ[:10],
    "gz without its end": GZ[:-8],
    "gz 1 byte short": GZ[:-1],
    "gz then rubbish": GZ + b"rubbish",
    "gz then half a gz": GZ + GZ[:12],
    "gz twice": GZ + GZ,
    "gz of too little": gzip.compress(GOOD[:-1]),
    "gz of too much": gzip.compress(GOOD + b"\0"),
    "gz wrong checksum": GZ[:-8] + struct.pack("<I", zlib.crc32(GOOD) ^ 1) + GZ[-4:],
    "gz wrong length": GZ[:-4] + struct.pack("<I", len(GOOD) + 1),
    "gz unknown method": GZ[:2] + b"\7" + GZ[3:],
    "gz reserved block": GZ[:10] + b"\xff" * 30,
    "gz name without end": GZ[:3] + b"\x08" + GZ[4:10] + b"x" * 500,
    "bomb, small header": gzip.compress(header(28, 28)) + MEMBER * 128,
    "bomb, 1 GiB header": gzip.compress(header(2**15, 2**15)) + MEMBER * 128,
    "bomb as large as announced": gzip.compress(header(2**16, 2**15)) + MEMBER * 128,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile(tmp_path, content):
    path = tmp_path / "hostile-ubyte"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(DataError, match="hostile-ubyte"):
        read_idx(path)
    assert time.perf_counter() - start < 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
@pytest.mark.parametrize("shape", [(28, 28), (2**15, 2**15), (2**16, 2**15)])
def test_a_bomb_takes_little_memory(tmp_path, shape):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(header(*shape)) + MEMBER * 128)
    code = f"""
import resource
from minidl.data import read_idx
from minidl.errors import DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_idx({str(path)!r})
except DataError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(found.stdout) * unit < 50e6, found.stderr


def test_missing_and_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere-ubyte: there is no such file"):
        read_idx(tmp_path / "nowhere-ubyte")
    with pytest.raises(DataError, match=tmp_path.name):
        read_idx(tmp_path)


@pytest.mark.parametrize("content", [GOOD, GZ], ids=["plain", "gz"])
def test_flipped_and_cut(tmp_path, content):
    """Each bit of the header flipped, and every length: an error, or for gz the right array, as some of its bits say nothing."""
    path = tmp_path / "flipped-ubyte"
    tried = [content[:n] for n in range(len(content))]
    for bit in range(8 * (16 if content is GOOD else len(content))):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        tried.append(bytes(flipped))
    for damaged in tried:
        path.write_bytes(damaged)
        try:
            found = read_idx(path)
        except DataError as error:
            assert "flipped-ubyte" in str(error)
        else:
            assert content is GZ and np.array_equal(found, ARRAY)


@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 5), (2, 3, 5, 4), (0,), (0, 28, 28), (3, 0)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_good(tmp_path, shape, pack):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path / "good"
    path.write_bytes(pack(idx(array)))
    found = read_idx(str(path))
    assert found.dtype == np.uint8 and np.array_equal(found, array) and found.shape == shape
    assert found.flags.writeable


def test_good_gz_of_many_members(tmp_path):
    path = tmp_path / "good.gz"
    path.write_bytes(b"".join(gzip.compress(GOOD[i : i + 7]) for i in range(0, len(GOOD), 7)))
    assert np.array_equal(read_idx(path), ARRAY)


def test_good_gz_of_blank_images(tmp_path):
    """As many blank images as MNIST has are no bomb, though they shrink a thousandfold."""
    path = tmp_path / "blank.gz"
    path.write_bytes(gzip.compress(header(60000, 28, 28) + bytes(60000 * 28 * 28), 1))
    assert read_idx(path).shape == (60000, 28, 28)
