"""Rows of pixels as the windows of a depthwise convolution see them, as vectors: what ``depthwise_tiles`` multiplies.

Pixels outside of a plane are 0: a row outside is a row of zeros, and columns outside are lanes that a mask leaves out. So no
plane is copied to pad it.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from minidl.kernels.cpu.instructions import WIDE, WORD, fill, lanes_of, load_masked, permute, prefetch, shuffle

ROWS = 7 if WIDE else 4  # of outputs in a tile; the networks' images have 7, 14, 28, 56 and 112
BIT = ir.IntType(1)


class Plain(NamedTuple):
    """Windows see planes as they are; each begins ``step`` = 1 behind the last. The first one begins ``top`` rows above and
    ``left`` columns left of the first pixel.
    """

    step: int
    top: int
    left: int


class Thinned(Plain):
    """The same for ``step`` = 2."""


class Spread(Plain):
    """``step`` = 1, in planes with zeros between pixels: a row and a column of them between any two."""


class Code(NamedTuple):
    """What there is a code of its own for: Numba compiles for types, and a tuple's length is part of its type."""

    window: tuple[int, ...]  # where each row of a window begins among the weights
    planes: tuple[int, ...]  # as many as share a vector: 2, where outputs are so narrow and pixels are held, or 1
    held: tuple[int, ...]  # as many as there are vectors in which a row of pixels is held
    kind: Any  # Plain, Thinned or Spread


def part(code, name):
    """The type of a part of the code."""
    return code[code.fields.index(name)]


class _Pixels:
    """What the windows of a tile see: from the place ``corner`` on, as many rows as all of them together have."""

    def __init__(self, builder, code, planes, size, corner, zeros):
        self.builder, self.kind, self.step = builder, part(code, "kind").instance_class, _step(code)
        (row, self.column), (height, self.width) = (cgutils.unpack_tuple(builder, pair, 2) for pair in (corner, size))
        self.zero = zeros_like(zeros)
        self.rows = [[self._row(plane, builder.add(row, WORD(r)), height, zeros) for plane in planes]
                     for r in range(len(seen_by(code)))]
        further = builder.add(builder.mul(self.width, WORD(ROWS * self.step)), self.column)
        for pointer in sum(self.rows[-ROWS * self.step :], []):  # the others the tile below shares with this one
            for half in range(self.step):
                prefetch(builder, builder.gep(pointer, [builder.add(further, WORD(half * self.zero.type.count))]))

    def _row(self, plane, row, height, zeros):
        """Where a row of the plane begins; instead of one that it has not, the row of zeros."""
        builder, exists = self.builder, BIT(1)
        if self.kind is Spread:
            row, exists = builder.ashr(row, WORD(1)), builder.not_(builder.trunc(row, BIT))
        exists = builder.and_(exists, builder.icmp_unsigned("<", row, height))  # a negative number is a large one
        return builder.select(exists, builder.gep(plane, [builder.mul(row, self.width)]), zeros)

    def _load(self, pointer, start, mask, others):
        return load_masked(self.builder, self.builder.gep(pointer, [start]), self.zero.type, mask, others)


class _Streamed(_Pixels):
    """Rows of any length, which are read from memory for each column of the window."""

    def turn_to(self, k):
        """Let ``see`` begin at column k of the window."""
        builder, lanes, column = self.builder, self.zero.type.count, self.builder.add(self.column, k)
        if self.kind is Spread:
            self.pixels = _even(builder, numbers(builder, self.zero.type, range(lanes), column))
            column = builder.ashr(builder.add(column, WORD(1)), WORD(1))
        starts = [builder.add(column, WORD(half * lanes)) for half in range(self.step)]
        self.parts = [(start, below(builder, numbers(builder, self.zero.type, range(lanes), start), self.width))
                      for start in starts]

    def see(self, r):
        """A vector of row r, as the outputs see it from left to right."""
        builder, lanes, (row,) = self.builder, range(self.zero.type.count), self.rows[r]
        pixels, *more = [self._load(row, start, mask, self.zero) for start, mask in self.parts]
        if self.kind is Thinned:
            return shuffle(builder, pixels, *more, [2 * lane for lane in lanes])
        if self.kind is Spread:
            return builder.select(self.pixels, shuffle(builder, pixels, pixels, [lane // 2 for lane in lanes]), self.zero)
        return pixels


class _Held(_Pixels):
    """Short rows: each is loaded into one vector or two, which are permuted for each column of the window."""

    def __init__(self, builder, code, planes, size, corner, zeros):
        super().__init__(builder, code, planes, size, corner, zeros)
        lanes, vectors = self.zero.type.count, len(part(code, "held"))
        self.each, self.apart = lanes // len(planes), lanes * vectors // len(planes)  # lanes of a plane's outputs, of its pixels
        if len(planes) == 1:
            parts = [(0, start) for start in range(0, lanes * vectors, lanes)]
        else:
            parts = [(0, 0), (1, 0 if vectors == 2 else -self.apart)]  # before column 0 are the lanes of the other plane
        masks = [below(builder, numbers(builder, self.zero.type, range(start, start + lanes), WORD(0)), self.width)
                 for _, start in parts]
        self.vectors = []
        for row in self.rows:
            held = []
            for (plane, start), mask in zip(parts, masks, strict=True):
                held.append(self._load(row[plane], WORD(start), mask, held.pop() if start < 0 else self.zero))
            self.vectors.append(held)

    def turn_to(self, k):
        """Let ``see`` begin at column k of the window."""
        builder, lanes = self.builder, range(self.zero.type.count)
        column = numbers(builder, self.zero.type, [lane % self.each * self.step for lane in lanes], builder.add(self.column, k))
        self.mask = ir.Constant(ir.VectorType(BIT, len(lanes)), [1] * len(lanes))
        if self.kind is Spread:
            self.mask, column = _even(builder, column), builder.ashr(column, ir.Constant(column.type, [1] * len(lanes)))
        self.mask = builder.and_(self.mask, below(builder, column, self.width))
        self.lanes = builder.add(column, ir.Constant(column.type, [lane // self.each * self.apart for lane in lanes]))

    def see(self, r):
        """A vector of row r, as the outputs see it from left to right."""
        return self.builder.select(self.mask, permute(self.builder, self.vectors[r], self.lanes), self.zero)


def pixels_of(builder, code, *args):
    """The rows below a tile, in the way that the code says."""
    return (_Held if len(part(code, "held")) else _Streamed)(builder, code, *args)


def zeros_like(pointer):
    """A vector of zeros such as the pointer's."""
    vector = ir.VectorType(pointer.type.pointee, lanes_of(pointer))
    return ir.Constant(vector, [0.0] * vector.count)


def _step(code):
    return 2 if part(code, "kind").instance_class is Thinned else 1


def seen_by(code):
    """For each row of pixels the outputs i that see it, and in which row a of their window: [[(i, a)]]"""
    taps, step = len(part(code, "window")), _step(code)
    seen = [[] for _ in range((ROWS - 1) * step + taps)]
    for i in range(ROWS):
        for a in range(taps):
            seen[i * step + a].append((i, a))
    return seen


def numbers(builder, vector, counted, first):
    """The whole numbers ``first`` + ``counted``, as many as a vector has, and as long."""
    kind = ir.VectorType(ir.IntType(64 if isinstance(vector.element, ir.DoubleType) else 32), vector.count)
    first = first if kind.element.width == 64 else builder.trunc(first, kind.element)
    return builder.add(ir.Constant(kind, list(counted)), fill(builder, kind, first))


def below(builder, places, end):
    """The mask of the places from 0 to ``end`` - 1."""
    end = end if places.type.element.width == 64 else builder.trunc(end, places.type.element)
    return builder.icmp_unsigned("<", places, fill(builder, places.type, end))


def _even(builder, numbers):
    return builder.not_(builder.trunc(numbers, ir.VectorType(BIT, numbers.type.count)))
