"""Numbers on their way between memory and vector registers: rows copied, thinned out, compared, transposed.

- ``move`` and ``pick`` copy short rows; what a whole vector does not fill is moved by a masked one.
- ``largest_of_squares`` finds the maxima of 2 x 2 windows.
- ``into_lanes`` brings numbers that follow each other in memory into one lane of several vectors, ``out_of_lanes`` back.
- ``sandwich`` makes Y = M X Mᵀ for small matrices X, one in each lane of the vectors, which is what Winograd's convolution is
  made of.

An array and a place (its index in the flat array) stand for a pointer. Nothing is checked.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.instructions import (
    FREE,
    LANES,
    WORD,
    fill,
    first_lanes,
    lanes_of,
    load_masked,
    load_vector,
    pointer_to,
    shuffle,
    store_masked,
    store_vector,
)


@intrinsic
def _address(typing, array, at):
    """A pointer to ``array[at]``."""

    def code(context, builder, signature, args):
        return pointer_to(context, builder, signature, args, 0)

    return types.CPointer(array.dtype)(array, types.intp), code


@jit
def part(array, at, size):
    """``size`` numbers of an array from place ``at`` on, for a short while: a slice would count its references in memory that all
    threads share, and wait for them, which takes longer than a short row.
    """
    return numba.carray(_address(array, at), size)


@jit
def aligned(size, like):
    """Room for ``size`` numbers of the dtype of ``like`` that starts on a cache line (64 bytes): a vector that lies across two
    lines takes two accesses.
    """
    array = np.empty(size + 16, like.dtype)
    return array[-array.ctypes.data % 64 // array.itemsize :][:size]


@intrinsic
def move(typing, source, s_at, target, t_at, t_step, count, start, floor):
    """Copy ``count`` numbers with ``start`` added, those below 0 as 0 if ``floor``: the first vector of them to ``t_at``, each of
    the others ``t_step`` further (as many as its numbers, and the target has no gaps).

    Rows of images are short: what a whole vector does not fill is moved by a masked one.
    """
    number = source.dtype
    signature = types.void(source, types.intp, target, types.intp, types.intp, types.intp, number, types.boolean)

    def code(context, builder, signature, args):
        source, target = (pointer_to(context, builder, signature, args, index) for index in (0, 2))
        t_step, count, start, floor = args[4:]
        vector = ir.VectorType(source.type.pointee, lanes_of(source))
        lanes = WORD(vector.count)
        zero = ir.Constant(vector, [0.0] * vector.count)
        added = fill(builder, vector, start)
        place = cgutils.alloca_once_value(builder, target)
        with cgutils.for_range_slice(builder, WORD(0), count, lanes, inc=True) as (i, _):
            mask = first_lanes(builder, builder.sub(count, i), vector)
            value = builder.fadd(load_masked(builder, builder.gep(source, [i]), vector, mask), added)
            low = builder.and_(builder.fcmp_ordered("<=", value, zero), fill(builder, mask.type, floor))
            store_masked(builder, builder.select(low, zero, value), builder.load(place), mask)
            builder.store(builder.gep(builder.load(place), [t_step]), place)
        return context.get_dummy_value()

    return signature, code


def _every(stride):
    """Copy every ``stride``-th of numbers, a power of two: of two vectors side by side the even lanes, again and again."""
    @intrinsic
    def copy(typing, source, s_at, target, t_at, count):
        signature = types.void(source, types.intp, target, types.intp, types.intp)

        def code(context, builder, signature, args):
            source, target = (pointer_to(context, builder, signature, args, index) for index in (0, 2))
            count, vector = args[4], ir.VectorType(source.type.pointee, lanes_of(source))
            width = builder.sub(builder.mul(count, WORD(stride)), WORD(stride - 1))
            with cgutils.for_range_slice(builder, WORD(0), count, WORD(vector.count), inc=True) as (i, _):
                places = [builder.add(builder.mul(i, WORD(stride)), WORD(part * vector.count)) for part in range(stride)]
                parts = [load_masked(builder, builder.gep(source, [place]), vector,
                                      first_lanes(builder, builder.sub(width, place), vector)) for place in places]
                while len(parts) > 1:
                    parts = [shuffle(builder, a, b, range(0, 2 * vector.count, 2))
                             for a, b in zip(parts[::2], parts[1::2], strict=True)]
                store_masked(builder, parts[0], builder.gep(target, [i]), first_lanes(builder, builder.sub(count, i), vector))
            return context.get_dummy_value()

        return signature, code

    return copy


_every_1, _every_2, _every_4 = _every(1), _every(2), _every(4)


@jit
def pick(source, s_at, s_row, stride, target, t_at, t_row, rows, count):
    """Copy ``rows`` of ``count`` numbers, of the source every ``stride``-th. Rows begin ``s_row`` and ``t_row`` apart."""
    if stride == 1:
        for r in range(rows):
            _every_1(source, s_at + r * s_row, target, t_at + r * t_row, count)
    elif stride == 2:
        for r in range(rows):
            _every_2(source, s_at + r * s_row, target, t_at + r * t_row, count)
    elif stride == 4:
        for r in range(rows):
            _every_4(source, s_at + r * s_row, target, t_at + r * t_row, count)
    else:
        for r in range(rows):
            for i in range(count):
                target[t_at + r * t_row + i] = source[s_at + r * s_row + i * stride]


def _squares(with_winners):
    @intrinsic
    def largest(typing, source, s_at, row, values, v_at, winners, w_at, place, count):
        signature = types.void(source, types.intp, types.intp, values, types.intp, winners, types.intp, types.intp, types.intp)

        def code(context, builder, signature, args):
            source, values, winners = (pointer_to(context, builder, signature, args, index) for index in (0, 3, 5))
            row, place, count = args[2], args[7], args[8]
            vector, lanes = ir.VectorType(source.type.pointee, lanes_of(source)), lanes_of(source)
            number = ir.VectorType(winners.type.pointee, lanes)
            with cgutils.for_range_slice(builder, WORD(0), count, WORD(lanes), inc=True) as (i, _):
                left, numbers = builder.mul(i, WORD(2)), []
                for line in (WORD(0), row):
                    halves = [builder.add(left, WORD(half * lanes)) for half in (0, 1)]
                    masks = [first_lanes(builder, builder.sub(builder.mul(count, WORD(2)), half), vector) for half in halves]
                    a, b = (load_masked(builder, builder.gep(source, [builder.add(line, half)]), vector, mask)
                            for half, mask in zip(halves, masks, strict=True))
                    numbers += [shuffle(builder, a, b, range(odd, 2 * lanes, 2)) for odd in (0, 1)]
                best, at = numbers[0], ir.Constant(number, [0] * lanes)
                for value, distance in zip(numbers[1:], (WORD(1), row, builder.add(row, WORD(1))), strict=True):
                    better = builder.and_(builder.fcmp_unordered(">", value, best), builder.fcmp_ordered("ord", best, best))
                    best = builder.select(better, value, best)
                    at = builder.select(better, fill(builder, number, distance), at)
                mask = first_lanes(builder, builder.sub(count, i), vector)
                store_masked(builder, best, builder.gep(values, [i]), mask)
                if with_winners:
                    corner = builder.add(fill(builder, number, builder.add(place, left)),
                                         ir.Constant(number, list(range(0, 2 * lanes, 2))))
                    store_masked(builder, builder.add(corner, at), builder.gep(winners, [i]), mask)
            return context.get_dummy_value()

        return signature, code

    return largest


_squares_with_winners, _squares_alone = _squares(True), _squares(False)


@jit
def largest_of_squares(source, s_at, row, values, v_at, winners, w_at, place, count):
    """The largest of each of ``count`` 2 x 2 squares, side by side in two rows of numbers, ``row`` apart; NaN is larger than any,
    and of equal ones the first wins. If there are winners (int64), also its place: the first row begins at ``place``.
    """
    if winners.size:
        _squares_with_winners(source, s_at, row, values, v_at, winners, w_at, place, count)
    else:
        _squares_alone(source, s_at, row, values, v_at, winners, 0, place, count)


@intrinsic
def into_lanes(typing, source, base, places, first, count, target, at):
    """Numbers that follow each other in each lane -> vectors of the lanes' first, second ... numbers, one behind the other.

    Lane l is read from ``base + places[first + l]`` on: ``count`` numbers, at most as many as there are lanes.
    """
    signature = types.void(source, types.intp, places, types.intp, types.intp, target, types.intp)

    def code(context, builder, signature, args):
        source, target = (pointer_to(context, builder, signature, args, index) for index in (0, 5))
        vector = ir.VectorType(source.type.pointee, lanes_of(source))
        mask = first_lanes(builder, args[4], vector)
        lanes = _lanes(context, builder, signature, args, source, 2)
        rows = _exchanges(builder, [load_masked(builder, lane, vector, mask) for lane in lanes])
        for i, row in enumerate(rows):
            with builder.if_then(builder.icmp_signed("<", WORD(i), args[4])):
                store_vector(builder, row, builder.gep(target, [WORD(i * vector.count)]))
        return context.get_dummy_value()

    return signature, code


@intrinsic
def out_of_lanes(typing, source, at, target, base, places, first, count, start, start_at, floor):
    """The way back: ``count`` vectors, with the vector at ``start_at`` added and those below 0 as 0 if ``floor``. All ``LANES``
    vectors are read.
    """
    signature = types.void(source, types.intp, target, types.intp, places, types.intp, types.intp, start, types.intp,
                           types.boolean)

    def code(context, builder, signature, args):
        source, target, start = (pointer_to(context, builder, signature, args, index) for index in (0, 2, 7))
        vector = ir.VectorType(source.type.pointee, LANES)
        zero, added = ir.Constant(vector, [0.0] * LANES), load_vector(builder, start, LANES)
        mask, rows = first_lanes(builder, args[6], vector), []
        floors = fill(builder, mask.type, args[9])
        for i in range(LANES):
            value = builder.fadd(load_vector(builder, builder.gep(source, [WORD(i * LANES)]), LANES), added)
            low = builder.and_(builder.fcmp_ordered("<=", value, zero), floors)
            rows.append(builder.select(low, zero, value))
        lanes = _lanes(context, builder, signature, args, target, 4)
        for lane, row in zip(lanes, _exchanges(builder, rows), strict=True):
            store_masked(builder, row, lane, mask)
        return context.get_dummy_value()

    return signature, code


def sandwich(*matrices):
    """A function that makes Y = M X Mᵀ of matrices of vectors, lane by lane, M being ``matrices[kind]``.

    ``function(kind, source, at, row, column, target, t_at, t_row, t_column)``: X[i, j] is the vector at ``at + i row + j
    column``, Y[i, j] goes to ``t_at + i t_row + j t_column``. M is (p, q): X are (q, q) and Y are (p, p). float32.
    """

    @intrinsic
    def transform(typing, kind, source, at, row, column, target, t_at, t_row, t_column):
        signature = types.void(types.intp, source, types.intp, types.intp, types.intp, target, types.intp, types.intp, types.intp)

        def code(context, builder, signature, args):
            source, target = (pointer_to(context, builder, signature, args, index) for index in (1, 5))
            for number, matrix in enumerate(matrices):
                with builder.if_then(builder.icmp_signed("==", args[0], WORD(number))):
                    _sandwich(builder, matrix, source, args[3], args[4], target, args[7], args[8])
            return context.get_dummy_value()

        return signature, code

    return transform


def _sandwich(builder, matrix, source, row, column, target, t_row, t_column):
    size, inner = len(matrix), len(matrix[0])

    def place(pointer, i, down, j, across):
        return builder.gep(pointer, [builder.add(builder.mul(down, WORD(i)), builder.mul(across, WORD(j)))])

    half = [_combine(builder, matrix, [load_vector(builder, place(source, i, row, j, column), LANES) for j in range(inner)])
            for i in range(inner)]
    for j in range(size):
        for i, element in enumerate(_combine(builder, matrix, [half[k][j] for k in range(inner)])):
            store_vector(builder, element, place(target, i, t_row, j, t_column))


def _lanes(context, builder, signature, args, base, index):
    """Where each lane's numbers begin: as many places behind the base as array and place ``index`` tell."""
    places = pointer_to(context, builder, signature, args, index)
    return [builder.gep(base, [builder.load(builder.gep(places, [WORD(lane)]))]) for lane in range(lanes_of(base))]


def _exchanges(builder, rows):
    """Transpose all squares of ``len(rows)`` numbers: in each 2 x 2 block of rows and columns ``distance`` apart, swap the
    elements off the diagonal.
    """
    width, distance = rows[0].type.count, 1
    while distance < len(rows):
        for low in range(len(rows)):
            if not low & distance:
                a, b = rows[low], rows[low + distance]
                rows[low] = shuffle(builder, a, b, [lane if not lane & distance else width + lane - distance
                                                     for lane in range(width)])
                rows[low + distance] = shuffle(builder, a, b, [lane + distance if not lane & distance else width + lane
                                                                for lane in range(width)])
        distance *= 2
    return rows


def _combine(builder, matrix, vectors):
    """The matrix times a column of vectors, without the products with 0 and 1."""
    results = []
    for row in matrix:
        total = None
        for factor, vector in zip(row, vectors, strict=True):
            if factor == 0:
                continue
            if factor == -1 and total is not None:
                total = builder.fsub(total, vector, flags=FREE)
                continue
            if factor != 1:
                vector = builder.fmul(vector, ir.Constant(vector.type, [float(factor)] * vector.type.count), flags=FREE)
            total = vector if total is None else builder.fadd(total, vector, flags=FREE)
        results.append(total)
    return results
