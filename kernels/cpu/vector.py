"""Products in vector registers, which a compiler does not find in loops.

Fast kernels keep sums in registers while operands stream by.

- ``multiply`` is the heart of every matrix product: a tile of sums, ``ROWS`` x (``VECTORS`` vectors), as in K. Goto and R. van
  de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008. Per step it loads each operand once and uses it several
  times, so that arithmetic, not memory, sets the pace.
- ``multiply_rows`` is the same for rows whose numbers lie a vector apart, as Winograd's transformed pixels do.
- ``dots`` is the same for sums over vectors: a tile of dot products.

An array and a place (its index in the flat array) stand for a pointer. Nothing is checked.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.instructions import (
    FREE,
    LANES,
    WIDE,
    WORD,
    add_up,
    fill,
    lanes_of,
    load_vector,
    pointer_to,
    prefetch,
    store_vector,
)

ROWS, VECTORS = (8, 3) if WIDE else (4, 3)  # a tile of sums fills most registers, and leaves some for the operands
DOTS = (6, 4) if WIDE else (2, 4)  # rows and columns of ``dots``


def _multiply(vectors, ahead):
    @intrinsic
    def tile(typing, a, a_at, a_step, b, b_at, places, b_step, depth, bias, bias_at, c, c_at, c_row, c_step, add, floor,
             soon, soon_at, soon_step):
        signature = types.void(a, types.intp, types.intp, b, types.intp, places, types.intp, types.intp, bias, types.intp, c,
                               types.intp, types.intp, types.intp, types.boolean, types.boolean, soon, types.intp, types.intp)

        def code(context, builder, signature, args):
            a, b, bias, c, soon = (pointer_to(context, builder, signature, args, index) for index in (0, 3, 8, 10, 16))
            places = context.make_array(signature.args[5])(context, builder, args[5]).data
            _, _, a_step, _, _, _, b_step, depth, _, _, _, _, c_row, c_step, add, floor, _, _, soon_step = args
            lanes = lanes_of(a)
            vector = ir.VectorType(a.type.pointee, lanes)
            targets = [[builder.gep(c, [builder.add(builder.mul(c_row, WORD(r)), builder.mul(c_step, WORD(v)))])
                        for v in range(vectors)] for r in range(ROWS)]
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(ROWS)]
            zero = ir.Constant(vector, [0.0] * lanes)
            for r in range(ROWS):
                number = builder.select(add, a.type.pointee(0.0), builder.load(builder.gep(bias, [WORD(r)])))
                for v in range(vectors):
                    builder.store(fill(builder, vector, number), sums[r][v])
            with cgutils.for_range(builder, depth) as loop:
                here = builder.gep(b, [builder.load(builder.gep(places, [loop.index]))])
                row = [load_vector(builder, builder.gep(here, [builder.mul(b_step, WORD(v))]), lanes) for v in range(vectors)]
                column = builder.gep(a, [builder.mul(loop.index, a_step)])
                if ahead:
                    prefetch(builder, builder.gep(soon, [builder.mul(loop.index, soon_step)]))
                for r in range(ROWS):
                    number = builder.load(builder.gep(column, [WORD(r)]))
                    everywhere = fill(builder, vector, number)
                    for v in range(vectors):
                        product = builder.fmul(everywhere, row[v], flags=FREE)
                        builder.store(builder.fadd(builder.load(sums[r][v]), product, flags=FREE), sums[r][v])
            with builder.if_then(add):
                for r in range(ROWS):
                    for v in range(vectors):
                        total = builder.fadd(builder.load(sums[r][v]), load_vector(builder, targets[r][v], lanes), flags=FREE)
                        builder.store(total, sums[r][v])
            floors = fill(builder, ir.VectorType(ir.IntType(1), lanes), floor)
            for r in range(ROWS):
                for v in range(vectors):
                    total = builder.load(sums[r][v])
                    low = builder.and_(builder.fcmp_ordered("<=", total, zero), floors)
                    store_vector(builder, builder.select(low, zero, total), targets[r][v])
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


def _multiply_rows(rows, vectors):
    @intrinsic
    def tile(typing, a, a_at, a_places, b, b_at, b_places, b_step, depth, c, c_at, c_row):
        signature = types.void(a, types.intp, a_places, b, types.intp, b_places, types.intp, types.intp, c, types.intp,
                               types.intp)

        def code(context, builder, signature, args):
            a, b, c = (pointer_to(context, builder, signature, args, index) for index in (0, 3, 8))
            a_places, b_places = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (2, 5))
            b_step, depth, c_row = args[6], args[7], args[10]
            vector = ir.VectorType(a.type.pointee, LANES)
            sums = [[cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * LANES)) for _ in range(vectors)]
                    for _ in range(rows)]
            with cgutils.for_range(builder, depth) as loop:
                here = builder.gep(b, [builder.load(builder.gep(b_places, [loop.index]))])
                beside = [load_vector(builder, builder.gep(here, [builder.mul(b_step, WORD(v))]), LANES) for v in range(vectors)]
                column = builder.gep(a, [builder.load(builder.gep(a_places, [loop.index]))])
                for r in range(rows):
                    everywhere = fill(builder, vector, builder.load(builder.gep(column, [WORD(r * LANES)])))
                    for v in range(vectors):
                        product = builder.fmul(everywhere, beside[v], flags=FREE)
                        builder.store(builder.fadd(builder.load(sums[r][v]), product, flags=FREE), sums[r][v])
            for r in range(rows):
                for v in range(vectors):
                    place = builder.add(builder.mul(c_row, WORD(r)), WORD(v * LANES))
                    store_vector(builder, builder.load(sums[r][v]), builder.gep(c, [place]))
            return context.get_dummy_value()

        return signature, code

    return tile


_rows_1, _rows_2, _rows_3 = _multiply_rows(2 * ROWS, 1), _multiply_rows(ROWS, 2), _multiply_rows(ROWS, 3)


@jit
def multiply_rows(vectors, a, a_at, a_places, b, b_at, b_places, b_step, depth, c, c_at, c_row):
    """c[r, v] = sum over k < depth of a[k, r] b[k, v], for ``ROWS`` rows r, twice as many for one vector. float32.

    a[k, r] is at place ``a_at + a_places[k] + r LANES``, b[k, v] is the vector at ``b_at + b_places[k] + v b_step``, c[r, v] the
    vector at ``c_at + r c_row + v LANES``.
    """
    if vectors == 3:
        _rows_3(a, a_at, a_places, b, b_at, b_places, b_step, depth, c, c_at, c_row)
    elif vectors == 2:
        _rows_2(a, a_at, a_places, b, b_at, b_places, b_step, depth, c, c_at, c_row)
    else:
        _rows_1(a, a_at, a_places, b, b_at, b_places, b_step, depth, c, c_at, c_row)


@intrinsic
def dots(typing, a, a_at, a_row, b, b_at, places, first, depth, c, c_at):
    """c[r, t] = sum over p of a[r, p] b[t, p], ``DOTS`` sums side by side, over ``depth`` vectors of places p.

    a[r] begins at ``a_at + r a_row``, b[t] at ``b_at + places[first + t]``, c at ``c_at``. Nothing is packed, but
    to add up the lanes at the end takes as long as some fifty vectors.
    """
    signature = types.void(a, types.intp, types.intp, b, types.intp, places, types.intp, types.intp, c, types.intp)

    def code(context, builder, signature, args):
        a, b, places, c = (pointer_to(context, builder, signature, args, index) for index in (0, 3, 5, 8))
        lanes, (rows, columns) = lanes_of(a), DOTS
        vector = ir.VectorType(a.type.pointee, lanes)
        above = [builder.gep(a, [builder.mul(args[2], WORD(r))]) for r in range(rows)]
        beside = [builder.gep(b, [builder.load(builder.gep(places, [WORD(t)]))]) for t in range(columns)]
        sums = [[cgutils.alloca_once(builder, vector) for _ in range(columns)] for _ in range(rows)]
        for row in sums:
            for total in row:
                builder.store(ir.Constant(vector, [0.0] * lanes), total)
        with cgutils.for_range(builder, args[7]) as loop:
            p = builder.mul(loop.index, WORD(lanes))
            right = [load_vector(builder, builder.gep(pointer, [p]), lanes) for pointer in beside]
            for r in range(rows):
                left = load_vector(builder, builder.gep(above[r], [p]), lanes)
                for t in range(columns):
                    product = builder.fmul(left, right[t], flags=FREE)
                    builder.store(builder.fadd(builder.load(sums[r][t]), product, flags=FREE), sums[r][t])
        for r in range(rows):
            for t in range(columns):
                builder.store(add_up(builder, builder.load(sums[r][t])), builder.gep(c, [WORD(r * columns + t)]))
        return context.get_dummy_value()

    return signature, code
