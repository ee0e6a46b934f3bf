"""Results on disk are computed once, survive what happens to files, and are never wrong."""

import numpy as np
import pytest

import minidl
from minidl.io import Cache, fingerprint

RESULT = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4), np.int64), "c": np.array(True)}


def same(found: dict) -> bool:
    return list(found) == list(RESULT) and all(
        found[key].dtype == value.dtype and found[key].shape == value.shape and np.array_equal(found[key], value)
        for key, value in RESULT.items())


def counted(calls: list):
    def compute():
        calls.append(1)
        return RESULT

    return compute


def test_a_result_is_computed_once(tmp_path):
    calls = []
    assert same(Cache(tmp_path / "new" / "folder")("x", counted(calls)))
    cache = Cache(tmp_path / "new" / "folder")
    assert same(cache("x", counted(calls))) and len(calls) == 1
    assert same(cache("y", counted(calls))) and len(calls) == 2
    assert cache.size == sum(path.stat().st_size for path in (tmp_path / "new" / "folder").iterdir()) > 0


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    """One bit of a number is another."""
    place = content.index(np.float32(5).tobytes())
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda content: b"", lambda content: b"\0" * 100])
def test_a_damaged_file_is_computed_anew_and_named(tmp_path, capsys, damage):
    cache, calls = Cache(tmp_path), []
    cache("x", counted(calls))
    whole = cache.path("x").read_bytes()
    cache.path("x").write_bytes(damage(whole))
    assert same(cache("x", counted(calls))) and len(calls) == 2
    said = capsys.readouterr().err
    assert str(cache.path("x")) in said and said.count("\n") == 1 and "computed anew" in said
    assert cache.path("x").read_bytes() == whole
    assert same(cache("x", counted(calls))) and len(calls) == 2 and not capsys.readouterr().err


@pytest.mark.parametrize("other", [{"a": minidl.ones(2)}, [1, 2], {"checksum": "0", "result": 3},
                                   {"checksum": "0", "result": {"a": 3}}, {"result": RESULT}])
def test_a_file_of_something_else_is_no_result(tmp_path, capsys, other):
    cache = Cache(tmp_path)
    minidl.save(other, cache.path("x"))
    assert same(cache("x", counted([]))) and "computed anew" in capsys.readouterr().err


def test_what_fails_leaves_nothing_behind(tmp_path):
    cache = Cache(tmp_path)
    with pytest.raises(ZeroDivisionError):
        cache("x", lambda: 1 / 0)
    with pytest.raises(TypeError):
        cache("x", lambda: {"a": np.array(["text"])})
    assert not list(tmp_path.iterdir()) and cache.size == 0


def test_fingerprints_differ_where_anything_does():
    a = np.arange(6)
    names = [fingerprint(*values) for values in ((a,), (a[::-1],), (a.reshape(2, 3),), (a.astype(np.int32),), (a, 1), (a, "1"),
                                                 (1, a), ("ab", "c"), ("a", "bc"), ("abc",), (), (a[:0],), (np.array(0),))]
    assert len(set(names)) == len(names)
    assert fingerprint(np.arange(12)[::2]) == fingerprint(np.arange(12)[::2].copy())
