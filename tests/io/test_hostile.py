"""Hostile and damaged safetensors files: one typed error, at once, or the same tensors as the reference implementation."""

import ast
import json
import time
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.errors import CheckpointError
from minidl.io import safetensors

GOOD = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "U8", "shape": [4], "data_offsets": [24, 28]}}


def build(header, data=bytes(28)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def changed(name="a", **entry) -> bytes:
    return build({**GOOD, name: {**GOOD[name], **entry}})


def described(structure, data=bytes(28)) -> bytes:
    return build({"__metadata__": {"minidl": structure if isinstance(structure, str) else json.dumps(structure)}, **GOOD}, data)


NESTED = b"[" * 100_000 + b"]" * 100_000
HOSTILE = {
    "empty": b"",
    "seven bytes": b"1234567",
    "no header": bytes(8),
    "header beyond the end": (1000).to_bytes(8, "little") + b"{}",
    "header of 2^64 - 1": b"\xff" * 8 + b"{}",
    "leading blank": build(b" " + json.dumps(GOOD).encode()),
    "a list": build(b"[]", b""),
    "no UTF-8": build(b'{"\xff": 1}', b""),
    "no JSON": build(b"{nonsense}", b""),
    "trailing text": build(json.dumps(GOOD).encode() + b"{}"),
    "a name twice": build(b'{"a":%s,"a":%s}' % ((json.dumps(GOOD["a"]).encode(),) * 2), bytes(24)),
    "a key twice": build(b'{"b":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
    "nested without end": build(b'{"a":' + NESTED + b"}"),
    "entry is a list": build({"a": []}),
    "entry lacks its shape": build({"a": {"dtype": "F32", "data_offsets": [0, 28]}}),
    "entry has more": changed(extra=1),
    "dtype is a list": changed(dtype=[]),
    "dtype is unknown": changed(dtype="F31"),
    "dtype is null": changed(dtype=None),
    "shape is a number": changed(shape=6),
    "shape is negative": changed(shape=[-2, -3]),
    "shape has a bool": changed(name="b", shape=[4, True]),
    "shape has a float": changed(shape=[2.0, 3]),
    "shape has 65 axes": changed(name="b", shape=[4] + [1] * 64),
    "shape overflows to zero": changed(shape=[2**32, 2**32], data_offsets=[0, 24]),
    "shape too large to hold": build({"a": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, b""),
    "shape of long numbers": changed(shape=[10**4000] * 60),
    "offsets swapped": changed(data_offsets=[24, 0]),
    "offsets of three": changed(data_offsets=[0, 24, 24]),
    "offsets negative": changed(data_offsets=[-24, 0]),
    "offsets too long": changed(data_offsets=[0, 28]),
    "overlap": changed(name="b", data_offsets=[20, 24]),
    "gap": build({"a": GOOD["a"], "b": {**GOOD["b"], "data_offsets": [25, 29]}}, bytes(29)),
    "truncated data": build(GOOD, bytes(27)),
    "more data": build(GOOD, bytes(29)),
    "stride bomb": build({"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4]}}, bytes(4)),
    "bool that is neither": build({"a": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}}, b"\0\1\2"),
    "metadata is a list": build({"__metadata__": []}, b""),
    "metadata holds a number": build({"__metadata__": {"a": 1}}, b""),
    "structure is no JSON": described("nonsense"),
    "structure holds NaN": described("NaN"),
    "structure holds 1e999": described("1e999"),
    "structure without end": described(NESTED.decode()),
    "structure nested 40 deep": described('{"list":[' * 40 + "]}" * 40),
    "structure names no tensor": described({"tensor": "c"}),
    "structure names a list": described({"tensor": ["a"]}),
    "structure of unknown kind": described({"code": "print"}),
    "structure of two kinds": described({"list": [], "tuple": []}),
    "structure is a bare list": described([1, 2]),
    "structure has a key twice": described({"dict": [["a", 1], ["a", 2]]}),
    "structure has a list as key": described({"dict": [[[], 1]]}),
    "structure has a bool as key": described({"dict": [[True, 1]]}),
    "structure is no pair": described({"dict": [["a"]]}),
    "float that is a word": described({"float": "nanny"}),
    "a number of 5,000 digits": described("1" * 5000),
    "a pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_at_once(tmp_path, name):
    path = tmp_path / "x.safetensors"
    path.write_bytes(HOSTILE[name])
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="x.safetensors: "):
        minidl.load(path)
    assert time.perf_counter() - start < 2


def test_the_good_ones_are_read(tmp_path):
    """What the hostile ones were made from is itself in order."""
    path = tmp_path / "x"
    path.write_bytes(build(GOOD, np.arange(6, dtype=np.float32).tobytes() + b"\1\2\3\4"))
    found = minidl.load(path)
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["b"].tolist() == [1, 2, 3, 4]
    path.write_bytes(described({"list": [{"tensor": "b"}, {"float": "-inf"}, 1.5]}))
    assert minidl.load(path)[1:] == [-np.inf, 1.5]
    path.write_bytes(build({"e": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
                            "f": {"dtype": "F32", "shape": [3, 0], "data_offsets": [0, 0]}}, b""))
    assert minidl.load(path)["f"].shape == (3, 0)


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(build({"a": {"dtype": "U8", "shape": [1 << 20], "data_offsets": [0, 1 << 20]}}, bytes(1 << 20)))
    cover = safetensors._check_cover

    def cut(spans, size):
        cover(spans, size)
        path.write_bytes(path.read_bytes()[:-10])

    monkeypatch.setattr(safetensors, "_check_cover", cut)
    with pytest.raises(CheckpointError, match="truncated within tensor"):
        minidl.load(path)


def mutations(content: bytes, rounds: int):
    """Bytes changed, removed, inserted and repeated, more often in the header."""
    rng = np.random.default_rng(5)
    words = [*(bytes([byte]) for byte in b'"[]{},-09 \0\xff'), b"1e9", b"null", b"true", b"F64", b"BOOL"]
    for _ in range(rounds):
        mutant = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(0, len(mutant) if rng.random() < 0.2 else min(len(mutant), 300)))
            kind = rng.integers(4)
            if kind == 0:
                mutant[place] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del mutant[place : place + int(rng.integers(1, 6))]
            elif kind == 2:
                mutant[place:place] = words[rng.integers(len(words))]
            else:
                mutant[place:place] = mutant[place : place + int(rng.integers(1, 20))]
            if not mutant:
                break
        yield bytes(mutant)


@pytest.mark.parametrize("rounds", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutations(tmp_path, rounds):
    """Each is refused with the one typed error, or read exactly as the reference implementation reads it."""
    reference = pytest.importorskip("safetensors.numpy")
    path, read = tmp_path / "x", 0
    for mutant in mutations(build(GOOD, bytes(range(28))), rounds):
        path.write_bytes(mutant)
        try:
            found = minidl.load(path)
        except CheckpointError:
            continue
        theirs = reference.load(mutant)
        assert found.keys() == theirs.keys(), mutant
        for key, value in found.items():
            assert value.array.tobytes() == theirs[key].tobytes() and value.shape == theirs[key].shape, mutant
        read += 1
    assert 0 < read < rounds


def test_nothing_unpickles_or_evaluates():
    """No module of the package imports pickle and its kin, calls eval or exec, or lets NumPy unpickle."""
    root = Path(minidl.__file__).resolve().parent
    banned = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = ([alias.name for alias in node.names] if isinstance(node, ast.Import)
                     else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            assert not banned & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                assert not (isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")), path
                assert all(word.arg != "allow_pickle" for word in node.keywords), path
