"""Files of ``torch.save``, without PyTorch: what is read, and what hostile ones come to."""

import ast
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.errors import CheckpointError
from tests.io.limits import read_within_limits
from tests.io.torch_files import (
    GOOD,
    MAGIC,
    PROTOCOL,
    SYSTEM,
    legacy,
    name,
    number,
    pickle,
    state,
    storage,
    tensor,
    text,
    tuple_of,
    zipped,
)

WRITERS = {"zip": zipped, "legacy": legacy}


def load(path, data):
    path.write_bytes(data)
    return minidl.load(path)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_state_dict(tmp_path, write):
    found = load(tmp_path / "a.pth", write())
    assert list(found) == ["w"]
    np.testing.assert_array_equal(found["w"].numpy(), np.arange(6, dtype=np.float32).reshape(2, 3))


def test_views_share_their_storage(tmp_path):
    """Two tensors in one storage, one turned, one from an offset on; an empty one; one of rank 0."""
    data = state(text("a"), tensor(), text("b"), tensor((3, 2), (1, 3)), text("c"), tensor((2,), (2,), 1),
                 text("d"), tensor((0, 4), (4, 1)), text("e"), tensor((), (), 5))
    found = load(tmp_path / "a.pth", zipped(data))
    np.testing.assert_array_equal(found["b"].numpy(), [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["c"].numpy(), [1, 3])
    assert found["d"].shape == (0, 4) and found["e"].item() == 5
    with minidl.no_grad():
        found["a"][0, 1] = 9.0
    assert found["b"][1, 0].item() == 9


def test_strides_of_single_elements_do_not_matter(tmp_path):
    """PyTorch writes any stride where an axis has one element or none."""
    data = state(text("a"), tensor((1,), (2**61,)), text("b"), tensor((0, 5), (2**61, 1)), text("c"), tensor((1, 3), (7, 2)))
    found = load(tmp_path / "a.pth", zipped(data))
    assert found["a"].tolist() == [0.0] and found["b"].shape == (0, 5) and found["c"].tolist() == [[0, 2, 4]]


def test_bfloat16_becomes_float32(tmp_path):
    data = state(text("w"), tensor((2,), (1,), count=2, kind="BFloat16Storage"))
    found = load(tmp_path / "a.pth", zipped(data, {"x/data/0": struct.pack("<2H", 0x3F80, 0xC0A0)}))["w"]
    assert found.tolist() == [1.0, -5.0] and found.dtype == minidl.float32


def test_plain_values(tmp_path):
    """Numbers, strings, None, bools, lists, tuples and dicts in each other, with an object twice."""
    body = (b"}(" + text("a") + b"](K\x07M\x01\x02J\xfe\xff\xff\xffG" + struct.pack(">d", 1.5) + b"N\x88\x89eq\x00"
            + text("b") + b"h\x00" + text("c") + b"K\x01K\x02\x86" + b"K\x05" + number(2**70) + b"u")
    found = load(tmp_path / "a.pth", zipped(pickle(body), {}))
    assert found == {"a": [7, 513, -2, 1.5, None, True, False], "b": [7, 513, -2, 1.5, None, True, False], "c": (1, 2), 5: 2**70}


def test_metadata_is_dropped(tmp_path):
    """What PyTorch hangs on a state dict besides its tensors."""
    meta = b"}(" + text("_metadata") + name("collections", "OrderedDict") + b")R(" + text("") + b"}" + b"uub"
    assert list(load(tmp_path / "a.pth", zipped(state(text("w"), tensor())[:-1] + meta + b"."))) == ["w"]


def reduced(module, what, *arguments) -> bytes:
    return state(text("w"), name(module, what) + tuple_of(*arguments) + b"R")


TUPLES = b")" + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(60))  # ((((), ()), ((), ())), ...
LISTS = b"]" + b"".join(b"q" + bytes([k]) + b"](h" + bytes([k]) + b"h" + bytes([k]) + b"e" for k in range(60))
W = text("w")
PICKLES = {
    "calls a function": reduced("os", "system", text("touch hacked")),
    "calls eval": reduced("builtins", "eval", text("1")),
    "names getattr": reduced("builtins", "getattr", text("a"), text("b")),
    "an unknown class": state(W, name("torch.nn.modules.linear", "Linear") + b")R"),
    "a name without end": b"\x80\x02c" + b"a" * 5000,
    "hash bomb": pickle(b"}" + TUPLES + b"K\x01s"),
    "tuples that unfold to 2^60": pickle(b"}(" + W + TUPLES + b"u"),
    "lists that unfold to 2^60": pickle(b"}(" + W + LISTS + b"u"),
    "a list in itself": pickle(b"]q\x00h\x00a"),
    "nested 100,000 deep": pickle(b"]" * 100_000 + b"a" * 99_999),
    "a key that is a tuple": pickle(b"}(K\x01\x85K\x02u"),
    "a key that is a float": pickle(b"}(G" + bytes(8) + b"K\x02u"),
    "state of the rebuild function": pickle(name("torch._utils", "_rebuild_tensor_v2") + b"}(" + text("__defaults__") + b"Nub"),
    "state of a plain dict": pickle(b"}}b"),
    "attributes of an OrderedDict": pickle(name("collections", "OrderedDict") + b")R}(" + text("items") + b"Nub"),
    "items of a list": pickle(b"](K\x01K\x02u"),
    "items of a tensor": pickle(tensor() + b"(K\x01K\x02u"),
    "append to a tuple": pickle(b")K\x01a"),
    "append to an OrderedDict": pickle(name("collections", "OrderedDict") + b")RK\x01a"),
    "call of a string": pickle(text("a") + b")R"),
    "call with no tuple": pickle(name("collections", "OrderedDict") + b"]R"),
    "memo index 2^32 - 1 not set": pickle(b"j\xff\xff\xff\xff"),
    "stack underflow": pickle(b"\x87"),
    "takes below its mark": pickle(b"K\x01(s"),
    "mark that is missing": pickle(b"t"),
    "two objects left": pickle(b"K\x01K\x02"),
    "nothing left": pickle(b""),
    "without end": b"\x80\x02}",
    "string longer than the file": pickle(b"X\xff\xff\xff\x7fabc"),
    "string that is no UTF-8": pickle(b"X\x02\0\0\0\xff\xfe"),
    "protocol 5": b"\x80\x05}.",
    "instruction INST": pickle(b"(ios\nsystem\n"),
    "instruction OBJ": pickle(b"(cos\nsystem\no"),
    "instruction NEWOBJ": pickle(name("collections", "OrderedDict") + b")\x81"),
    "instruction STACK_GLOBAL": pickle(text("os") + text("system") + b"\x93"),
    "instruction EXT1": pickle(b"\x82\x01"),
    "instruction PERSID": pickle(b"Pabc\n"),
    "instruction DUP": pickle(b"]2"),
    "persistent id of another kind": pickle(storage(what="module")),
    "persistent id that is a string": pickle(text("0") + b"Q"),
    "storage of a function": pickle(tuple_of(
        text("storage"), name("collections", "OrderedDict"), text("0"), text("cpu"), b"K\x06") + b"Q"),
    "stride bomb": state(W, tensor((10**6, 10**6), (0, 0))),
    "negative stride": state(W, tensor((2, 3), (-3, 1))),
    "negative offset": state(W, tensor(offset=-1)),
    "offset beyond the end": state(W, tensor(offset=1)),
    "size of 2^64": state(W, tensor((2**64,), (1,))),
    "size that wraps to zero": state(W, tensor((2**32, 2**32), (1, 1))),
    "size that is a bool": state(W, name("torch._utils", "_rebuild_tensor_v2") + tuple_of(
        storage(), b"K\x00", b"\x88\x85", b"\x88\x85", b"\x89", b"N") + b"R"),
    "more strides than sizes": state(W, tensor((2, 3), (3, 1, 1))),
    "a tensor of no storage": state(W, tensor(place=b"N")),
    "too few arguments": state(W, name("torch._utils", "_rebuild_tensor_v2") + tuple_of(storage()) + b"R"),
    "a parameter of no tensor": state(W, name("torch._utils", "_rebuild_parameter") + tuple_of(b"N", b"\x88", b"N") + b"R"),
    "a function as a value": pickle(b"}(" + W + name("collections", "OrderedDict") + b"u"),
    "a storage as a value": pickle(b"}(" + W + storage() + b"u"),
    "a storage whose type is a tuple that unfolds": pickle(
        tuple_of(text("storage"), TUPLES, text("0"), text("cpu"), b"K\x06") + b"Q"),
    "a shape that unfolds": state(W, name("torch._utils", "_rebuild_tensor_v2") + tuple_of(
        storage(), b"K\x00", b"(" + TUPLES + b"t", b"(" + TUPLES + b"t", b"\x89", b"N") + b"R"),
    "an empty tensor too large to hold": state(W, tensor((0, 2**61), (1, 1))),
    "a million lists": pickle(b"](" + b"]" * 1_100_000 + b"e"),
    "a long key many times": pickle(text("k" * 100_000) + b"q\x00](" + b"}h\x00K\x01s" * 1000 + b"e"),
    "one storage in two sizes": state(W, tensor(), text("v"), tensor((2,), (1,), count=2)),
    "one storage in two types": state(W, tensor(), text("v"), tensor(kind="IntStorage")),
}


@pytest.mark.parametrize("case", PICKLES)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_hostile_pickles(tmp_path, monkeypatch, write, case):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pth"
    path.write_bytes(write(PICKLES[case]))
    error = read_within_limits(minidl.load, path)
    assert type(error) is CheckpointError and str(path) in str(error), error
    assert not (tmp_path / "hacked").exists()


def doubled() -> bytes:
    """Two members of one name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("x/data.pkl", state(W, tensor()))
        archive.writestr("x/data/0", GOOD)
    return out.getvalue()


def overlapping() -> bytes:
    """A directory in which the bytes of the second member lie within the first."""
    data = bytearray(zipped())
    first, second = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return bytes(data)


def resized(by: int) -> bytes:
    """A directory that says a size which the member has not."""
    data = bytearray(zipped())
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 24 + by, 24 + by)
    return bytes(data)


def moved(by: bytes) -> bytes:
    """A directory that says that the last member begins elsewhere."""
    data = bytearray(zipped())
    at = data.rindex(b"PK\x01\x02")
    data[at + 42 : at + 46] = by
    return bytes(data)


FILES = {
    "a member beyond the end": moved(b"\xff\xff\xff\x7f"),
    "a member at the end": moved(struct.pack("<I", len(zipped()) - 5)),
    "a place in zip64 that is not there": moved(b"\xff\xff\xff\xff"),
    "an empty zip": b"PK\x05\x06" + bytes(18),
    "a zip's beginning": b"PK\x03\x04" + bytes(100),
    "cut in the middle": zipped()[:200],
    "cut at the end": zipped()[:-1],
    "compressed": zipped(compress=zipfile.ZIP_DEFLATED),
    "a bomb": zipped(state(W, tensor((10**8,), (1,), count=10**8)), {"x/data/0": bytes(4 * 10**8)}, zipfile.ZIP_DEFLATED),
    "two members of one name": doubled,
    "overlapping members": overlapping,
    "a member longer than the file": resized(10**9),
    "a member of another size": resized(-4),
    "no pickle": zipped(files={}).replace(b"data.pkl", b"data.pki"),
    "two folders": zipped(files={"y/data.pkl": b"", "x/data/0": GOOD}),
    "no storage": zipped(files={}),
    "a storage too short": zipped(files={"x/data/0": GOOD[:-1]}),
    "a storage too long": zipped(files={"x/data/0": GOOD + b"1"}),
    "a storage outside": zipped(state(W, tensor(key="../../../etc/passwd"))),
    "big-endian": zipped(files={"x/data/0": GOOD, "x/byteorder": b"big"}),
    "a program": zipped(files={"x/data/0": GOOD, "x/constants.pkl": b"", "x/code/__torch__.py": b""}),
    "a bool that is neither": zipped(state(W, tensor((2,), (1,), count=2, kind="BoolStorage")), {"x/data/0": b"\0\2"}),
    "bytes after the pickle": zipped(state(W, tensor()) + b"more"),
    "legacy: another magic number": legacy(start=b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x18." + PROTOCOL + SYSTEM),
    "legacy: nothing after it": MAGIC,
    "legacy: another protocol": legacy(start=MAGIC + b"\x80\x02M\xe8\x03." + SYSTEM),
    "legacy: big-endian": legacy(start=MAGIC + PROTOCOL + SYSTEM.replace(b"\x88", b"\x89")),
    "legacy: keys missing": legacy(keys=pickle(b"]")),
    "legacy: a key twice": legacy(keys=pickle(b"](" + text("0") + text("0") + b"e")),
    "legacy: another key": legacy(keys=pickle(b"](" + text("1") + b"e")),
    "legacy: keys that are lists": legacy(keys=pickle(b"](]e")),
    "legacy: keys that are a number": legacy(keys=pickle(b"K\x01")),
    "legacy: truncated storage": legacy(storages=struct.pack("<q", 6) + GOOD[:-1]),
    "legacy: too long": legacy(storages=struct.pack("<q", 6) + GOOD + b"1"),
    "legacy: another count": legacy(storages=struct.pack("<q", 2**62) + GOOD),
    "legacy: a negative count": legacy(storages=struct.pack("<q", -6) + GOOD),
    "legacy: no storage": legacy(storages=b""),
    "legacy: a view of another storage": legacy(state(W, tensor(place=tuple_of(
        text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"K\x06", b"K\x00\x85") + b"Q"))),
    "legacy: huge storage": legacy(state(W, tensor((2**50,), (1,), place=storage(count=2**50, legacy=True)))),
}


@pytest.mark.parametrize("case", FILES)
def test_hostile_files(tmp_path, case):
    path = tmp_path / "a.pth"
    path.write_bytes(FILES[case]() if callable(FILES[case]) else FILES[case])
    error = read_within_limits(minidl.load, path)
    assert type(error) is CheckpointError and str(path) in str(error), error


def test_every_truncation_and_changed_byte(tmp_path):
    """A typed error or a whole result, whatever byte is missing or another."""
    path = tmp_path / "a.pth"
    for whole in (zipped(), legacy()):
        rng = np.random.default_rng(0)
        for at in range(4, len(whole)):  # without its first bytes it is no .pth
            for data in (whole[:at], whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :]):
                path.write_bytes(data)
                try:
                    found = minidl.load(path)
                except CheckpointError:
                    continue
                assert isinstance(found, (dict, list, tuple, int, float, str, bytes, minidl.Tensor, type(None)))


def test_no_module_unpickles():
    """Nothing in the package imports pickle's readers, or calls eval or exec; workers get pickles of this program itself."""
    root = Path(minidl.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & {each.split(".")[0] for each in names}, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path
