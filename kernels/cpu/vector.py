"""Vector registers inside Numba: the few steps that a compiler does not find in loops, written as LLVM instructions.

Fast kernels keep sums in registers while operands stream by. Numba has no vector type, so these functions emit the
instructions themselves; LLVM turns them into AVX-512, AVX2 or NEON code and allocates the registers.

- ``multiply`` is the heart of every matrix product: a tile of sums, ``ROWS`` x (``VECTORS`` vectors), as in K. Goto and R. van
  de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008. Per step it loads each operand once and uses it several
  times, so that arithmetic, not memory, sets the pace.
- ``dots`` is the same for sums over vectors: a tile of dot products.
- ``gathered`` and ``scattered`` make Y = M X Mᵀ for small matrices X, one in each lane of the vectors, which is what
  Winograd's convolution is made of.

An array and a place (its index in the flat array) stand for a pointer. Nothing is checked.
"""

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.compile import FASTMATH, jit


def _features() -> set[str]:
    """What the processor that Numba compiles for can do."""
    if numba.config.CPU_FEATURES is not None:
        return {word[1:] for word in numba.config.CPU_FEATURES.split(",") if word.startswith("+")}
    return {name for name, has in llvmlite.binding.get_host_cpu_features().items() if has}


WIDE = "avx512f" in _features()  # 32 registers of 64 bytes; otherwise 16 of 32 bytes
BYTES = 64 if WIDE else 32
LANES = BYTES // 4  # float32 numbers in a vector
ROWS, VECTORS = (8, 3) if WIDE else (4, 3)  # a tile of sums fills most registers, and leaves some for the operands
DOTS = (6, 4) if WIDE else (2, 4)  # rows and columns of ``dots``
WORD = ir.IntType(64)
SLOT = 8  # numbers read at once when vectors are gathered
FREE = tuple(FASTMATH)


def _pointer(context, builder, signature, args, index):
    """The address of place ``args[index + 1]`` in array ``args[index]``."""
    array = context.make_array(signature.args[index])(context, builder, args[index])
    return builder.gep(array.data, [args[index + 1]])


def _vector(builder, pointer, lanes):
    """The pointer as one to a vector."""
    return builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer())


def _align(pointer):
    return 8 if isinstance(pointer.type.pointee, ir.DoubleType) else 4


def _count(pointer):
    """How many of its numbers make a vector."""
    return BYTES // _align(pointer)


def _load(builder, pointer, lanes):
    return builder.load(_vector(builder, pointer, lanes), align=_align(pointer))


def _store(builder, vector, pointer):
    builder.store(vector, _vector(builder, pointer, vector.type.count), align=_align(pointer))


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))


def _everywhere(builder, vector, number):
    """The number in each lane."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
    return _shuffle(builder, one, one, [0] * vector.count)


def _first_lanes(builder, count, vector):
    """The mask of the first ``count`` lanes."""
    numbers = ir.VectorType(ir.IntType(32), vector.count)
    return builder.icmp_signed("<", ir.Constant(numbers, list(range(vector.count))),
                               _everywhere(builder, numbers, builder.trunc(count, ir.IntType(32))))


def _masked(builder, verb, vector, result, arguments):
    kind = {"double": "f64", "float": "f32"}.get(str(vector.element), str(vector.element))
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in arguments]),
                                              f"llvm.masked.{verb}.v{vector.count}{kind}.p0")
    return builder.call(function, arguments)


def _masked_load(builder, pointer, vector, mask):
    """What lies behind the lanes of the mask need not exist."""
    place, alignment = _vector(builder, pointer, vector.count), ir.IntType(32)(_align(pointer))
    return _masked(builder, "load", vector, vector, [place, alignment, mask, ir.Constant(vector, ir.Undefined)])


def _masked_store(builder, value, pointer, mask):
    _masked(builder, "store", value.type, ir.VoidType(), [value, _vector(builder, pointer, value.type.count),
                                                          ir.IntType(32)(_align(pointer)), mask])


def _prefetch(builder, pointer):
    """Ask for a cache line, into the second-level cache; the address need not exist."""
    number = ir.IntType(32)
    address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [address.type] + [number] * 3),
                                              "llvm.prefetch.p0")
    builder.call(function, [address, number(0), number(2), number(1)])  # to read, kept rather long, data


def _multiply(vectors, ahead):
    @intrinsic
    def tile(typing, a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor,
             soon, soon_at, soon_step):
        signature = types.void(a, types.intp, types.intp, b, types.intp, places, types.intp, types.intp, bias, types.intp, c,
                               types.intp, types.intp, types.intp, types.boolean, types.boolean, soon, types.intp, types.intp)

        def code(context, builder, signature, args):
            a, b, bias, c, soon = (_pointer(context, builder, signature, args, index) for index in (0, 3, 8, 10, 16))
            places = context.make_array(signature.args[5])(context, builder, args[5]).data
            _, _, a_step, _, _, _, b_step, depth, _, _, _, _, c_row, c_step, add, floor, _, _, soon_step = args
            lanes = _count(a)
            vector = ir.VectorType(a.type.pointee, lanes)
            targets = [[builder.gep(c, [builder.add(builder.mul(c_row, WORD(r)), builder.mul(c_step, WORD(v)))])
                        for v in range(vectors)] for r in range(ROWS)]
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(ROWS)]
            zero = ir.Constant(vector, [0.0] * lanes)
            for r in range(ROWS):
                number = builder.select(add, a.type.pointee(0.0), builder.load(builder.gep(bias, [WORD(r)])))
                for v in range(vectors):
                    builder.store(_everywhere(builder, vector, number), sums[r][v])
            with cgutils.for_range(builder, depth) as loop:
                here = builder.gep(b, [builder.load(builder.gep(places, [loop.index]))])
                row = [_load(builder, builder.gep(here, [builder.mul(b_step, WORD(v))]), lanes) for v in range(vectors)]
                column = builder.gep(a, [builder.mul(loop.index, a_step)])
                if ahead:
                    _prefetch(builder, builder.gep(soon, [builder.mul(loop.index, soon_step)]))
                for r in range(ROWS):
                    number = builder.load(builder.gep(column, [WORD(r)]))
                    everywhere = _everywhere(builder, vector, number)
                    for v in range(vectors):
                        product = builder.fmul(everywhere, row[v], flags=FREE)
                        builder.store(builder.fadd(builder.load(sums[r][v]), product, flags=FREE), sums[r][v])
            with builder.if_then(add):
                for r in range(ROWS):
                    for v in range(vectors):
                        total = builder.fadd(builder.load(sums[r][v]), _load(builder, targets[r][v], lanes), flags=FREE)
                        builder.store(total, sums[r][v])
            floors = _everywhere(builder, ir.VectorType(ir.IntType(1), lanes), floor)
            for r in range(ROWS):
                for v in range(vectors):
                    total = builder.load(sums[r][v])
                    low = builder.and_(builder.fcmp_ordered("<=", total, zero), floors)
                    _store(builder, builder.select(low, zero, total), targets[r][v])
            return context.get_dummy_value()

        return signature, code

    return tile


_tile_1, _tile_2, _tile_3 = (_multiply(vectors, False) for vectors in (1, 2, 3))
_ahead_1, _ahead_2, _ahead_3 = (_multiply(vectors, True) for vectors in (1, 2, 3))


@jit
def multiply(vectors, a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor):
    """c[r, v] = bias[r] + sum over k < depth of a[k, r] b[k, v], for ``ROWS`` rows r and ``vectors`` (1 to 3) vectors v.

    a[k, r] is at place ``a_at + k a_step + r``, b[k, v] is the vector at ``b_at + places[k] + v b_step``, bias[r] is at
    ``bias_at + r``, c[r, v] is the vector at ``c_at + r c_row + v c_step``. With ``add``, the sum is added to what is there and
    there is no bias (to add small sums to a large one keeps more digits than to continue it). With ``floor``, what is below 0
    becomes 0. A vector is ``BYTES`` long.
    """
    if vectors == 3:
        _tile_3(a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor, a, 0, 0)
    elif vectors == 2:
        _tile_2(a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor, a, 0, 0)
    else:
        _tile_1(a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor, a, 0, 0)


@jit
def multiply_ahead(vectors, a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor,
                   soon, soon_at, soon_step):
    """``multiply``, which meanwhile fetches what is needed next: at each step k the cache line of ``soon_at + k soon_step`` in
    ``soon``. Main memory answers after as long as some hundred products take; a line that was asked for costs nothing.
    """
    if vectors == 3:
        _ahead_3(a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor, soon,
                 soon_at, soon_step)
    elif vectors == 2:
        _ahead_2(a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor, soon,
                 soon_at, soon_step)
    else:
        _ahead_1(a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor, soon,
                 soon_at, soon_step)


@intrinsic
def dots(typing, a, a_at, a_row, b, b_at, places, first, depth, c, c_at):
    """c[r, t] = sum over p of a[r, p] b[t, p], ``DOTS`` sums side by side, over ``depth`` vectors of places p.

    a[r] begins at ``a_at + r a_row``, b[t] at ``b_at + places[first + t]``, c at ``c_at``. Nothing is packed, but
    to add up the lanes at the end takes as long as some fifty vectors.
    """
    signature = types.void(a, types.intp, types.intp, b, types.intp, places, types.intp, types.intp, c, types.intp)

    def code(context, builder, signature, args):
        a, b, places, c = (_pointer(context, builder, signature, args, index) for index in (0, 3, 5, 8))
        lanes, (rows, columns) = _count(a), DOTS
        vector = ir.VectorType(a.type.pointee, lanes)
        above = [builder.gep(a, [builder.mul(args[2], WORD(r))]) for r in range(rows)]
        beside = [builder.gep(b, [builder.load(builder.gep(places, [WORD(t)]))]) for t in range(columns)]
        sums = [[cgutils.alloca_once(builder, vector) for _ in range(columns)] for _ in range(rows)]
        for row in sums:
            for total in row:
                builder.store(ir.Constant(vector, [0.0] * lanes), total)
        with cgutils.for_range(builder, args[7]) as loop:
            p = builder.mul(loop.index, WORD(lanes))
            right = [_load(builder, builder.gep(pointer, [p]), lanes) for pointer in beside]
            for r in range(rows):
                left = _load(builder, builder.gep(above[r], [p]), lanes)
                for t in range(columns):
                    product = builder.fmul(left, right[t], flags=FREE)
                    builder.store(builder.fadd(builder.load(sums[r][t]), product, flags=FREE), sums[r][t])
        kind = "f64" if isinstance(vector.element, ir.DoubleType) else "f32"
        add_up = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector.element, [vector.element, vector]),
                                                f"llvm.vector.reduce.fadd.v{lanes}{kind}")
        for r in range(rows):
            for t in range(columns):
                total = builder.call(add_up, [vector.element(0.0), builder.load(sums[r][t])], fastmath=FREE)
                builder.store(total, builder.gep(c, [WORD(r * columns + t)]))
        return context.get_dummy_value()

    return signature, code


@intrinsic
def _address(typing, array, at):
    """A pointer to ``array[at]``."""

    def code(context, builder, signature, args):
        return _pointer(context, builder, signature, args, 0)

    return types.CPointer(array.dtype)(array, types.intp), code


@jit
def part(array, at, size):
    """``size`` numbers of an array from place ``at`` on, for a short while: a slice would count its references in memory that all
    threads share, and wait for them, which takes longer than a short row.
    """
    return numba.carray(_address(array, at), size)


@intrinsic
def move(typing, source, s_at, target, t_at, t_step, count, start, floor):
    """Copy ``count`` numbers with ``start`` added, those below 0 as 0 if ``floor``: the first vector of them to ``t_at``, each of
    the others ``t_step`` further (as many as its numbers, and the target has no gaps).

    Rows of images are short: what a whole vector does not fill is moved by a masked one.
    """
    number = source.dtype
    signature = types.void(source, types.intp, target, types.intp, types.intp, types.intp, number, types.boolean)

    def code(context, builder, signature, args):
        source, target = (_pointer(context, builder, signature, args, index) for index in (0, 2))
        t_step, count, start, floor = args[4:]
        vector = ir.VectorType(source.type.pointee, _count(source))
        lanes = WORD(vector.count)
        zero = ir.Constant(vector, [0.0] * vector.count)
        added = _everywhere(builder, vector, start)
        place = cgutils.alloca_once_value(builder, target)
        with cgutils.for_range_slice(builder, WORD(0), count, lanes, inc=True) as (i, _):
            mask = _first_lanes(builder, builder.sub(count, i), vector)
            value = builder.fadd(_masked_load(builder, builder.gep(source, [i]), vector, mask), added)
            low = builder.and_(builder.fcmp_ordered("<=", value, zero), _everywhere(builder, mask.type, floor))
            _masked_store(builder, builder.select(low, zero, value), builder.load(place), mask)
            builder.store(builder.gep(builder.load(place), [t_step]), place)
        return context.get_dummy_value()

    return signature, code


def _every(stride):
    """Copy every ``stride``-th of numbers, a power of two: of two vectors side by side the even lanes, again and again."""
    @intrinsic
    def copy(typing, source, s_at, target, t_at, count):
        signature = types.void(source, types.intp, target, types.intp, types.intp)

        def code(context, builder, signature, args):
            source, target = (_pointer(context, builder, signature, args, index) for index in (0, 2))
            count, vector = args[4], ir.VectorType(source.type.pointee, _count(source))
            width = builder.sub(builder.mul(count, WORD(stride)), WORD(stride - 1))
            with cgutils.for_range_slice(builder, WORD(0), count, WORD(vector.count), inc=True) as (i, _):
                places = [builder.add(builder.mul(i, WORD(stride)), WORD(part * vector.count)) for part in range(stride)]
                parts = [_masked_load(builder, builder.gep(source, [place]), vector,
                                      _first_lanes(builder, builder.sub(width, place), vector)) for place in places]
                while len(parts) > 1:
                    parts = [_shuffle(builder, a, b, range(0, 2 * vector.count, 2))
                             for a, b in zip(parts[::2], parts[1::2], strict=True)]
                _masked_store(builder, parts[0], builder.gep(target, [i]), _first_lanes(builder, builder.sub(count, i), vector))
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
            source, values, winners = (_pointer(context, builder, signature, args, index) for index in (0, 3, 5))
            row, place, count = args[2], args[7], args[8]
            vector, lanes = ir.VectorType(source.type.pointee, _count(source)), _count(source)
            number = ir.VectorType(winners.type.pointee, lanes)
            with cgutils.for_range_slice(builder, WORD(0), count, WORD(lanes), inc=True) as (i, _):
                left, numbers = builder.mul(i, WORD(2)), []
                for line in (WORD(0), row):
                    halves = [builder.add(left, WORD(half * lanes)) for half in (0, 1)]
                    masks = [_first_lanes(builder, builder.sub(builder.mul(count, WORD(2)), half), vector) for half in halves]
                    a, b = (_masked_load(builder, builder.gep(source, [builder.add(line, half)]), vector, mask)
                            for half, mask in zip(halves, masks, strict=True))
                    numbers += [_shuffle(builder, a, b, range(odd, 2 * lanes, 2)) for odd in (0, 1)]
                best, at = numbers[0], ir.Constant(number, [0] * lanes)
                for value, distance in zip(numbers[1:], (WORD(1), row, builder.add(row, WORD(1))), strict=True):
                    better = builder.and_(builder.fcmp_unordered(">", value, best), builder.fcmp_ordered("ord", best, best))
                    best = builder.select(better, value, best)
                    at = builder.select(better, _everywhere(builder, number, distance), at)
                mask = _first_lanes(builder, builder.sub(count, i), vector)
                _masked_store(builder, best, builder.gep(values, [i]), mask)
                if with_winners:
                    corner = builder.add(_everywhere(builder, number, builder.add(place, left)),
                                         ir.Constant(number, list(range(0, 2 * lanes, 2))))
                    _masked_store(builder, builder.add(corner, at), builder.gep(winners, [i]), mask)
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
def transposed(typing, source, base, places, first, target, at, step):
    """Numbers that follow each other in each lane -> vectors of the lanes' first, second ... numbers; eight at a time, or as many
    as there are lanes if that is less.

    Lane l is read from ``base + places[first + l]`` on; the vectors go to ``at``, ``at + step``, ... of the target.
    """
    signature = types.void(source, types.intp, places, types.intp, target, types.intp, types.intp)

    def code(context, builder, signature, args):
        source, target = (_pointer(context, builder, signature, args, index) for index in (0, 4))
        count = _count(source)
        lanes = _lanes(context, builder, signature, args, source, count=count)
        slots = [_load(builder, lane, min(SLOT, count)) for lane in lanes]
        for i, vector in enumerate(_transpose(builder, slots)):
            _store(builder, vector, builder.gep(target, [builder.mul(args[6], WORD(i))]))
        return context.get_dummy_value()

    return signature, code


def gathered(matrix):
    """A function that makes Y = M X Mᵀ for ``LANES`` matrices X that lie anywhere, and stores each element as a vector.

    ``function(source, base, places, first, row, target, at, step)``: rows of X of lane l begin at ``base + places[first + l]``
    in the source, ``row`` apart; element (i, j) of all Y goes to place ``at + (i columns + j) step`` of the target. M is (p, q):
    X are (q, q), q <= 8, and Y are (p, p). float32.
    """
    size, inner = len(matrix), len(matrix[0])

    @intrinsic
    def transform(typing, source, base, places, first, row, target, at, step):
        signature = types.void(source, types.intp, places, types.intp, types.intp, target, types.intp, types.intp)

        def code(context, builder, signature, args):
            source, target = (_pointer(context, builder, signature, args, index) for index in (0, 5))
            lanes = _lanes(context, builder, signature, args, source)
            half = []
            for i in range(inner):
                down = builder.mul(args[4], WORD(i))
                rows = [_load_some(builder, builder.gep(lane, [down]), inner) for lane in lanes]
                half.append(_combine(builder, matrix, _transpose(builder, rows)[:inner]))
            for j in range(size):
                for i, element in enumerate(_combine(builder, matrix, [half[k][j] for k in range(inner)])):
                    _store(builder, element, builder.gep(target, [builder.mul(args[7], WORD(i * size + j))]))
            return context.get_dummy_value()

        return signature, code

    return transform


def scattered(matrix):
    """A function that makes Y = M X Mᵀ for ``LANES`` matrices X whose elements are stored as vectors: the way back.

    ``function(source, at, step, target, base, places, first, row)``: as ``gathered``, with source and target in exchanged roles.
    """
    size, inner = len(matrix), len(matrix[0])

    @intrinsic
    def transform(typing, source, at, step, target, base, places, first, row):
        signature = types.void(source, types.intp, types.intp, target, types.intp, places, types.intp, types.intp)

        def code(context, builder, signature, args):
            source, target = (_pointer(context, builder, signature, args, index) for index in (0, 3))
            lanes = _lanes(context, builder, signature, args, target, 5)
            half = []
            for i in range(inner):
                row = [_load(builder, builder.gep(source, [builder.mul(args[2], WORD(i * inner + j))]), LANES)
                       for j in range(inner)]
                half.append(_combine(builder, matrix, row))
            columns = [_combine(builder, matrix, [half[k][j] for k in range(inner)]) for j in range(size)]
            for i in range(size):
                down = builder.mul(args[7], WORD(i))
                for lane, numbers in zip(lanes, _transpose_back(builder, [column[i] for column in columns]), strict=True):
                    _store(builder, _shuffle(builder, numbers, numbers, range(size)), builder.gep(lane, [down]))
            return context.get_dummy_value()

        return signature, code

    return transform


def _lanes(context, builder, signature, args, base, index=2, count=LANES):
    """Where each lane's numbers begin."""
    places = _pointer(context, builder, signature, args, index)
    return [builder.gep(base, [builder.load(builder.gep(places, [WORD(lane)]))]) for lane in range(count)]


def _load_some(builder, pointer, count):
    """A slot of which ``count`` numbers are read."""
    mask = ir.Constant(ir.VectorType(ir.IntType(1), SLOT), [int(i < count) for i in range(SLOT)])
    return _masked_load(builder, pointer, ir.VectorType(ir.FloatType(), SLOT), mask)


def _transpose(builder, slots):
    """One slot of numbers per lane -> vectors of each lane's first, second ... number.

    If there are more lanes than numbers, slots l and l + 8 share a vector. Rounds of exchanges between neighbours, pairs and
    fours then swap rows and columns.
    """
    size = slots[0].type.count
    if len(slots) == 2 * size:
        slots = [_shuffle(builder, a, b, range(2 * size)) for a, b in zip(slots[:size], slots[size:], strict=True)]
    return _exchanges(builder, slots)


def _transpose_back(builder, vectors):
    """Up to eight vectors -> one slot per lane, with the lane's numbers first: the exchanges are their own inverse."""
    undefined = ir.Constant(vectors[0].type, ir.Undefined)
    rows = _exchanges(builder, vectors + [undefined] * (SLOT - len(vectors)))
    if len(rows) == LANES:
        return rows
    return [_shuffle(builder, row, row, range(part * SLOT, part * SLOT + SLOT)) for part in (0, 1) for row in rows]


def _exchanges(builder, rows):
    """Transpose all squares of ``len(rows)`` numbers: in each 2 x 2 block of rows and columns ``distance`` apart, swap the
    elements off the diagonal.
    """
    width, distance = rows[0].type.count, 1
    while distance < len(rows):
        for low in range(len(rows)):
            if not low & distance:
                a, b = rows[low], rows[low + distance]
                rows[low] = _shuffle(builder, a, b, [lane if not lane & distance else width + lane - distance
                                                     for lane in range(width)])
                rows[low + distance] = _shuffle(builder, a, b, [lane + distance if not lane & distance else width + lane
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
