"""Numbers in memory that threads watch without the GIL and without asking the operating system.

A thread that sleeps takes some 50 us to wake up, as long as a small kernel runs. One that looks again and again notices at once.
"""

import platform
import time

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.compile import jit

X86 = platform.machine().lower() in ("x86_64", "amd64")


@intrinsic
def look(typing, array, index):
    """array[index] as other threads have written it."""

    def code(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.load_atomic(builder.gep(array.data, [args[1]]), "acquire", 8)

    return types.int64(array, types.intp), code


@intrinsic
def tell(typing, array, index, value):
    """array[index] = value, after everything that was written before."""

    def code(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        builder.store_atomic(args[2], builder.gep(array.data, [args[1]]), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), code


@intrinsic
def swap(typing, array, index, old, new):
    """Set array[index] to ``new`` if it is ``old``, in one step that no other thread can come between; whether it was."""

    def code(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        found = builder.cmpxchg(builder.gep(array.data, [args[1]]), args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(found, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), code


@intrinsic
def pause(typing):
    """Let the processor rest for some cycles, where it can."""

    def code(context, builder, signature, args):
        if X86:
            nothing = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), code


@jit
def rest(numbers, looks):
    """Look at a number and pause, so many times, as one who waits does."""
    for _ in range(looks):
        look(numbers, 0)
        pause()


def looks(seconds: float) -> int:
    """How many looks, with a pause after each, take so long on this processor: one takes 1 to 100 ns."""
    numbers, shortest = np.zeros(1, np.int64), 1.0
    rest(numbers, 1)
    for _ in range(5):
        start = time.perf_counter()
        rest(numbers, 1000)
        shortest = min(shortest, time.perf_counter() - start)
    return max(1, round(1000 * seconds / shortest))
