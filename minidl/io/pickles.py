"""Pickles from strangers, read without running them.

A pickle is a program for a small stack machine, and Python's own reader lets it call any function. This is another machine for
the same programs: it knows the instructions that files of tensors use, and can make numbers, strings, lists, tuples, dicts and
what a few named functions would have made, and nothing else. There is no instruction here that calls what the file chose.

Source: the instructions are documented in CPython's ``pickletools``. What a mere filter of names lets through is refused by
construction: keys of dicts are strings or ints (a hash of nested tuples takes 2^60 steps), the state of an object is set on
objects of this pickle alone, the memo is a dict (an index may be 2^32), and nothing is copied, so nothing can grow.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minidl.errors import CheckpointError

DEPTH = 64  # of lists, tuples and dicts in each other
MOST_INSTRUCTIONS = 500_000  # CIFAR-100's training set takes some 250,000, a network of a thousand tensors 40,000
LONGEST_KEY = 1000  # bytes


class Function(NamedTuple):
    """What a pickle may call by name: ``call(*arguments)``, and ``kinds``, what each of the arguments must be."""

    name: str
    kinds: tuple
    call: Callable


class OrderedDict(dict):
    """A dict that a pickle made by its name; its state, PyTorch's ``_metadata``, is dropped."""


class NumpyDtype:
    """A dtype under construction: its letters now, its byte order by a later instruction."""

    def __init__(self, letters):
        if letters not in ("u1", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "b1"):
            raise CheckpointError(f"it has an array of dtype {letters!r}; plain numbers are read")
        self.dtype = np.dtype(letters)


class NumpyArray:
    """An array under construction; ``array`` when its state was set."""

    def __init__(self, array: np.ndarray | None = None):
        self.array = array


NUMPY = {("numpy", "ndarray"): "ndarray", **{
    (module, "_reconstruct"): Function("_reconstruct", (str, tuple, (str, bytes)), lambda kind, shape, letter: NumpyArray())
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    ("numpy", "dtype"): Function("dtype", ((str, bytes), (int, bool), (int, bool)), lambda letters, *_:
    NumpyDtype(_text(letters)))}
COLLECTIONS = {("collections", "OrderedDict"): Function("OrderedDict", (), OrderedDict)}


def read_pickle(data: bytes):
    """What the pickle in ``data`` holds: numbers, strings, bytes, None, lists, tuples, dicts and NumPy's arrays of numbers.

    Strings of Python 2 come as ``bytes``; as keys of dicts they become ``str``. Raises CheckpointError for a pickle that is
    damaged, or that needs anything else.

    >>> read_pickle(b"\\x80\\x02}U\\x06labels]K\\x03as.")
    {'labels': [3]}
    """
    found, end = Machine(data, NUMPY | COLLECTIONS).run()
    if end != len(data):
        raise CheckpointError(f"{len(data) - end} bytes follow the pickle")
    return plain(found, lambda value: value.array if isinstance(value, NumpyArray) else None, len(data))


class Machine:
    """The stack machine, on the pickle that begins at ``start`` of ``data``.

    ``names`` are the globals it may name, (module, name) -> a Function or a marker of the caller's. ``persistent(id)`` is what a
    persistent id stands for.
    """

    def __init__(self, data: bytes, names: dict, persistent: Callable | None = None, start: int = 0):
        self.data, self.names, self.persistent, self.at = data, names, persistent, start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> tuple[Any, int]:
        """The object, and where in the data its pickle ended. Raises CheckpointError."""
        for _ in range(MOST_INSTRUCTIONS):
            at, code = self.at, self._take(1)
            if code == b".":
                if len(self.stack) != 1 or self.marks:
                    raise CheckpointError(f"the pickle ends at byte {at} with {len(self.stack)} objects on its stack, not one")
                return self.stack[0], self.at
            operation = OPERATIONS.get(code)
            if operation is None:
                raise CheckpointError(f"the pickle has instruction {code!r} at byte {at}, which no file of tensors needs")
            try:
                operation(self)
            except CheckpointError:
                raise
            except (IndexError, KeyError, ValueError, TypeError, struct.error, OverflowError) as error:
                raise CheckpointError(f"the pickle is damaged at byte {at}: instruction {code!r}: {error!r}") from None
        raise CheckpointError(f"the pickle has more than {MOST_INSTRUCTIONS:,} instructions")

    # Reading

    def _take(self, count: int) -> bytes:
        found = self.data[self.at : self.at + count]
        if len(found) < count:
            raise CheckpointError(f"the pickle is truncated: {count} bytes are needed at byte {self.at}, {len(found)} are there")
        self.at += count
        return found

    def number(self, layout: str):
        """The next number, in ``struct``'s notation."""
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def counted(self, layout: str) -> bytes:
        """As many bytes as a number before them says."""
        return self._take(self.number(layout))

    def line(self) -> str:
        """ASCII up to the end of the line."""
        end = self.data.find(b"\n", self.at, self.at + 256)
        if end < 0:
            raise CheckpointError(f"the pickle has a name without end at byte {self.at}")
        return self._take(end + 1 - self.at)[:-1].decode("ascii")

    # The stack

    def push(self, value) -> None:
        self.stack.append(value)

    def pop(self):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise CheckpointError(f"the pickle takes more from its stack than is there, at byte {self.at}")
        return self.stack.pop()

    def top(self):
        """The object on top; it stays."""
        self.push(value := self.pop())
        return value

    def since_mark(self) -> list:
        """What was put on the stack since the last mark, taken off."""
        mark = self.marks.pop()
        found = self.stack[mark:]
        del self.stack[mark:]
        return found

    # Instructions of several steps

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def name(self) -> None:
        """GLOBAL: a name that is known."""
        name = self.line(), self.line()
        if name not in self.names:
            raise CheckpointError(f"the file names {'.'.join(name)}, which no file of tensors needs: refused")
        self.push(self.names[name])

    def reduce(self) -> None:
        """REDUCE: a call of one of the known functions."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise CheckpointError(f"the pickle calls what is no function, at byte {self.at}")
        kinds = function.kinds
        if len(arguments) != len(kinds) or not all(_is(value, kind) for value, kind in zip(arguments, kinds, strict=True)):
            raise CheckpointError(f"the pickle calls {function.name} with arguments of other kinds than it takes")
        self.push(function.call(*arguments))

    def build(self) -> None:
        """BUILD: the state of an object that this pickle has made."""
        state, target = self.pop(), self.top()
        if type(target) is OrderedDict and type(state) is dict and state.keys() <= {"_metadata"}:
            return
        if type(target) is NumpyDtype and type(state) is tuple and len(state) >= 2 and _text(state[1]) in ("<", ">", "|", "="):
            order = _text(state[1])
            target.dtype = target.dtype.newbyteorder("=" if order == "|" else order)
        elif type(target) is NumpyArray and target.array is None and type(state) is tuple and len(state) == 5:
            target.array = _array(*state[1:])
        else:
            raise CheckpointError(f"the pickle sets the state of a {type(target).__name__}, at byte {self.at}")

    def persist(self) -> None:
        """BINPERSID: what lies outside of the pickle."""
        if self.persistent is None:
            raise CheckpointError("the pickle refers to something outside of itself")
        self.push(self.persistent(self.pop()))

    def set_items(self, pairs: list) -> None:
        """SETITEMS: into the dict on the stack."""
        target = self.top()
        if not isinstance(target, dict) or len(pairs) % 2:
            raise CheckpointError(f"the pickle sets items of a {type(target).__name__}, at byte {self.at}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) in (str, bytes) and len(key) > LONGEST_KEY:
                raise CheckpointError(f"the pickle has a dict with a key of {len(key):,} characters")
            key = _text(key) if type(key) is bytes else key
            if type(key) not in (str, int):
                raise CheckpointError(f"the pickle has a dict with a key of type {type(key).__name__}; strings and ints are read")
            target[key] = value

    def append(self, values: list) -> None:
        """APPENDS: to the list on the stack."""
        target = self.top()
        if type(target) is not list:
            raise CheckpointError(f"the pickle appends to a {type(target).__name__}, at byte {self.at}")
        target.extend(values)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def tuple_of(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]))


OPERATIONS: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": lambda m: _check_protocol(m.number("<B")),
    b"N": lambda m: m.push(None), b"\x88": lambda m: m.push(True), b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number("<B")), b"M": lambda m: m.push(m.number("<H")), b"J": lambda m: m.push(m.number("<i")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.counted("<B"), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"X": lambda m: m.push(m.counted("<I").decode("utf-8", "surrogatepass")),
    b"U": lambda m: m.push(m.counted("<B")), b"T": lambda m: m.push(m.counted("<I")),
    b"C": lambda m: m.push(m.counted("<B")), b"B": lambda m: m.push(m.counted("<I")),
    b"(": lambda m: m.marks.append(len(m.stack)),
    b")": lambda m: m.push(()), b"]": lambda m: m.push([]), b"}": lambda m: m.push({}),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: m.tuple_of(1), b"\x86": lambda m: m.tuple_of(2), b"\x87": lambda m: m.tuple_of(3),
    b"a": lambda m: m.append([m.pop()]), b"e": lambda m: m.append(m.since_mark()),
    b"s": Machine.set_item, b"u": lambda m: m.set_items(m.since_mark()),
    b"q": lambda m: m.remember(m.number("<B")), b"r": lambda m: m.remember(m.number("<I")),
    b"h": lambda m: m.push(m.memo[m.number("<B")]), b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"c": Machine.name, b"R": Machine.reduce, b"b": Machine.build, b"Q": Machine.persist,
}


def plain(found, convert: Callable, most: int):
    """What a machine gave, as plain containers: ``convert(value)`` gives what a marker stands for, or None for a foreign one.

    Raises CheckpointError for what is nested too deep, holds itself, or unfolds to more than ``most`` values.
    """
    left = [4 * most + 1000]

    def walk(value, depth: int):
        left[0] -= 1
        if depth > DEPTH or left[0] < 0:
            raise CheckpointError(f"its lists and dicts are nested deeper than {DEPTH} levels, or hold each other many times")
        if value is None or type(value) in (bool, int, float, str, bytes):
            return value
        if isinstance(value, dict):
            return {key: walk(item, depth + 1) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)([walk(item, depth + 1) for item in value])
        if (converted := convert(value)) is None:
            raise CheckpointError(f"it holds a {type(value).__name__} that was left unfinished")
        return converted

    return walk(found, 0)


def _array(shape, dtype, fortran, data) -> np.ndarray:
    """The state of NumPy's array, checked: as many bytes as shape and dtype need."""
    if (type(dtype) is not NumpyDtype or type(data) is not bytes or fortran not in (False, 0) or not _is_shape(shape)):
        raise CheckpointError("the pickle has an array whose state is malformed")
    count = 1
    for size in shape:
        count *= size
    if count * dtype.dtype.itemsize != len(data):
        raise CheckpointError(f"the pickle has an array announced as {shape} of {dtype.dtype}, with {len(data):,} bytes")
    return np.frombuffer(data, dtype.dtype).reshape(shape)


def _is_shape(shape) -> bool:
    return (type(shape) is tuple and len(shape) <= 32
            and all(type(size) is int and 0 <= size < 2**63 for size in shape))


def _is(value, kind) -> bool:
    """Whether an argument is of a kind: a type, several types, or Any."""
    return kind is Any or type(value) in (kind if isinstance(kind, tuple) else (kind,))


def _text(value) -> str:
    return value.decode("ascii") if type(value) is bytes else value


def _check_protocol(version: int) -> None:
    if version > 3:
        raise CheckpointError(f"the pickle is of protocol {version}; those up to 3 are read, and files of tensors are of 2")
