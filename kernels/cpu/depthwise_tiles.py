"""The arithmetic of conv_depthwise: windows against rows of pixels, in vector registers.

A tile is ``ROWS`` rows of outputs, a vector wide. For each column of the window the rows of pixels (``depthwise_rows``) pass by
once; each of them takes part in all outputs that see it. Meanwhile memory is asked for what the tile below reads and writes:
stores wait for it, too.

An array and a place (its index in the flat array) stand for a pointer; with a pair (start, apart) for two, of two planes whose
numbers are so far apart. Nothing is checked.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.depthwise_rows import ROWS, below, numbers, part, pixels_of, seen_by, zeros_like
from minidl.kernels.cpu.instructions import (
    FREE,
    WORD,
    array_data,
    fill,
    load_masked,
    load_vector,
    prefetch,
    shuffle,
    store_masked,
    store_vector,
)


def _of_planes(context, builder, signature, args, index, planes, lanes=0):
    """Pointers to the numbers of each plane; those of the upper one ``lanes`` before, as it lies in the upper lanes."""
    start, apart = cgutils.unpack_tuple(builder, args[index + 1], 2)
    first = builder.gep(array_data(context, builder, signature, args, index), [start])
    return [first, builder.gep(first, [builder.sub(apart, WORD(lanes))])][:planes]


def _both(builder, pointers, vector):
    """The numbers behind the pointers, each in the lanes of its plane."""
    lower, *upper = [fill(builder, vector, builder.load(pointer)) for pointer in pointers]
    half, lanes = vector.count // 2, vector.count
    return shuffle(builder, lower, *upper, [*range(half), *range(lanes + half, 2 * lanes)]) if upper else lower


def _outputs(builder, vector, columns, planes):
    """For each plane the mask of its first ``columns`` outputs."""
    each = vector.count // planes
    mask = below(builder, numbers(builder, vector, [lane % each for lane in range(vector.count)], WORD(0)),
                  builder.select(builder.icmp_signed("<", columns, WORD(each)), columns, WORD(each)))
    return [builder.and_(mask, ir.Constant(mask.type, [lane // each == plane for lane in range(vector.count)]))
            for plane in range(planes)]


def _add_product(builder, total, a, b):
    product = builder.fmul(a, b, flags=FREE)
    builder.store(builder.fadd(builder.load(total), product, flags=FREE), total)


@intrinsic
def correlate(typing, code, x, x_at, size, corner, zeros, w, w_at, columns, bias, b_at, y, y_at, y_row, left, add, floor):
    """y[i, j] = bias + sum over a, k of w[a, k] x[i step + a, j step + k], for a tile of outputs, of which (rows, columns) are
    ``left`` to compute.

    x is a plane of ``size`` (H, W), 0 outside; the window of y[0, 0] begins at ``corner``; ``zeros`` are a row of them. Rows of y
    are ``y_row`` apart. With ``add`` the sum is added to what is there. With ``floor``, what is below 0 becomes 0.
    """
    signature = types.void(code, x, x_at, size, corner, zeros, w, w_at, types.intp, bias, b_at, y, y_at, types.intp, left,
                           types.boolean, types.boolean)

    def generate(context, builder, signature, args):
        planes = len(part(code, "planes"))
        _, _, _, size, corner, _, _, _, columns, _, _, _, _, y_row, left, add, floor = args
        zeros = array_data(context, builder, signature, args, 5)
        zero = zeros_like(zeros)
        vector, each = zero.type, zero.type.count // planes
        x, w, bias = (_of_planes(context, builder, signature, args, index, planes) for index in (1, 6, 9))
        pixels, (rows, wide) = pixels_of(builder, code, x, size, corner, zeros), cgutils.unpack_tuple(builder, left, 2)
        start = _both(builder, bias, vector)
        sums = [cgutils.alloca_once(builder, vector) for _ in range(ROWS)]
        for total in sums:
            builder.store(start, total)
        with cgutils.for_range(builder, columns) as loop:
            weights = []
            for begin in cgutils.unpack_tuple(builder, builder.extract_value(args[0], 0)):
                place = builder.add(begin, loop.index)
                weights.append(_both(builder, [builder.gep(plane, [place]) for plane in w], vector))
            pixels.turn_to(loop.index)
            for r, outputs in enumerate(seen_by(code)):
                seen = pixels.see(r)
                for i, a in outputs:
                    _add_product(builder, sums[i], seen, weights[a])
        y, masks = _of_planes(context, builder, signature, args, 11, planes, each), _outputs(builder, vector, wide, planes)
        least = fill(builder, vector, builder.select(floor, vector.element(0.0), vector.element(float("-inf"))))
        for i, total in enumerate(sums):
            with builder.if_then(builder.icmp_signed("<", WORD(i), rows)):
                targets = [(builder.gep(plane, [builder.mul(y_row, WORD(i))]), mask)
                           for plane, mask in zip(y, masks, strict=True)]
                with builder.if_then(add):
                    for target, mask in targets:
                        there = load_masked(builder, target, vector, mask, zero)
                        builder.store(builder.fadd(builder.load(total), there, flags=FREE), total)
                value = builder.load(total)
                value = builder.select(builder.fcmp_ordered("<", value, least), least, value)
                for target, mask in targets:
                    store_masked(builder, value, target, mask)
                    prefetch(builder, builder.gep(target, [builder.mul(y_row, WORD(ROWS))]), to_write=True)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_dots(typing, code, x, x_at, size, corner, zeros, g, g_at, g_row, left, columns, sums):
    """sums[k, a] += sum over i of g[i, j] x[i step + a, j step + k] for a tile of g: vectors, whose lanes are j.

    As in ``correlate``, with g for y; k counts the ``columns`` of the window, a its rows.
    """
    signature = types.void(code, x, x_at, size, corner, zeros, g, g_at, types.intp, left, types.intp, sums)

    def generate(context, builder, signature, args):
        planes, taps = len(part(code, "planes")), len(part(code, "window"))
        _, _, _, size, corner, _, _, _, g_row, left, columns, _ = args
        zeros, sums = (array_data(context, builder, signature, args, index) for index in (5, 11))
        zero = zeros_like(zeros)
        vector, each = zero.type, zero.type.count // planes
        x = _of_planes(context, builder, signature, args, 1, planes)
        g = _of_planes(context, builder, signature, args, 6, planes, each)
        pixels, (rows, wide) = pixels_of(builder, code, x, size, corner, zeros), cgutils.unpack_tuple(builder, left, 2)
        masks, grads = _outputs(builder, vector, wide, planes), []
        for i in range(ROWS):
            exists, grad = fill(builder, masks[0].type, builder.icmp_signed("<", WORD(i), rows)), zero
            for plane, mask in zip(g, masks, strict=True):
                place = builder.gep(plane, [builder.mul(g_row, WORD(i))])
                grad = load_masked(builder, place, vector, builder.and_(mask, exists), grad)
                prefetch(builder, builder.gep(place, [builder.mul(g_row, WORD(ROWS))]))
            grads.append(grad)
        totals = [cgutils.alloca_once(builder, vector) for _ in range(taps)]
        with cgutils.for_range(builder, columns) as loop:
            first = builder.mul(loop.index, WORD(taps * vector.count))
            targets = [builder.gep(sums, [builder.add(first, WORD(a * vector.count))]) for a in range(taps)]
            for total, target in zip(totals, targets, strict=True):
                builder.store(load_vector(builder, target, vector.count), total)
            pixels.turn_to(loop.index)
            for r, outputs in enumerate(seen_by(code)):
                seen = pixels.see(r)
                for i, a in outputs:
                    _add_product(builder, totals[a], seen, grads[i])
            for total, target in zip(totals, targets, strict=True):
                store_vector(builder, builder.load(total), target)
        return context.get_dummy_value()

    return signature, generate
