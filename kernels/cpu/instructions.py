"""Instructions on vectors, as LLVM takes them: what ``vector`` and ``moves`` are written in.

Numba has no vector type. Its intrinsics are Python functions that get a builder and append LLVM instructions to the compiled
function; LLVM turns those on vectors into AVX-512, AVX2 or NEON code and allocates the registers.

An array and a place (its index in the flat array) stand for a pointer. Nothing is checked.
"""

import numba
from llvmlite import ir
from numba.core import cgutils, codegen

from minidl.kernels.cpu.compile import FASTMATH


def _features() -> set[str]:
    """What Numba compiles for: what the processor can do, without AVX where Numba does not trust what a machine says of it."""
    given = numba.config.CPU_FEATURES
    words = codegen.get_host_cpu_features() if given is None else given
    return {word[1:] for word in words.split(",") if word.startswith("+")}


WIDE = "avx512f" in _features()  # 32 registers of 64 bytes; otherwise 16 of 32 bytes
MASKS = not _features().isdisjoint({"avx", "avx512f"})  # whether a masked vector is one instruction
BYTES = 64 if WIDE else 32
LANES = BYTES // 4  # float32 numbers in a vector
WORD = ir.IntType(64)
FREE = tuple(FASTMATH)


def array_data(context, builder, signature, args, index):
    """The address of array ``args[index]``."""
    return context.make_array(signature.args[index])(context, builder, args[index]).data


def pointer_to(context, builder, signature, args, index):
    """The address of place ``args[index + 1]`` in array ``args[index]``."""
    return builder.gep(array_data(context, builder, signature, args, index), [args[index + 1]])


def as_vector(builder, pointer, lanes):
    """The pointer as one to a vector."""
    return builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer())


def align_of(pointer):
    return 8 if isinstance(pointer.type.pointee, ir.DoubleType) else 4


def lanes_of(pointer):
    """How many of its numbers make a vector."""
    return BYTES // align_of(pointer)


def load_vector(builder, pointer, lanes):
    return builder.load(as_vector(builder, pointer, lanes), align=align_of(pointer))


def store_vector(builder, vector, pointer):
    builder.store(vector, as_vector(builder, pointer, vector.type.count), align=align_of(pointer))


def shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))


def permute(builder, vectors, lanes):
    """Of the lanes of a vector, or of two behind each other, the ones with these numbers. AVX-512 alone."""
    vector, double = vectors[0].type, isinstance(vectors[0].type.element, ir.DoubleType)
    if len(vectors) == 1:
        name, args = f"permvar.{'df' if double else 'sf'}.512", [*vectors, lanes]
    else:
        name, args = f"vpermi2var.{'pd' if double else 'ps'}.512", [vectors[0], lanes, vectors[1]]
    kind = ir.FunctionType(vector, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.{name}"), args)


def fill(builder, vector, number):
    """The number in each lane."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
    return shuffle(builder, one, one, [0] * vector.count)


def first_lanes(builder, count, vector):
    """The mask of the first ``count`` lanes."""
    numbers = ir.VectorType(ir.IntType(32), vector.count)
    return builder.icmp_signed("<", ir.Constant(numbers, list(range(vector.count))),
                               fill(builder, numbers, builder.trunc(count, ir.IntType(32))))


def add_up(builder, vector):
    """The sum of all lanes."""
    element = vector.type.element
    kind = "f64" if isinstance(element, ir.DoubleType) else "f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(element, [element, vector.type]),
                                              f"llvm.vector.reduce.fadd.v{vector.type.count}{kind}")
    return builder.call(function, [element(0.0), vector], fastmath=FREE)


def _masked(builder, verb, vector, result, arguments):
    kind = {"double": "f64", "float": "f32"}.get(str(vector.element), str(vector.element))
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in arguments]),
                                              f"llvm.masked.{verb}.v{vector.count}{kind}.p0")
    return builder.call(function, arguments)


def load_masked(builder, pointer, vector, mask, others=None):
    """What lies behind the lanes of the mask need not exist; these lanes are as in ``others``, or anything."""
    place, alignment = as_vector(builder, pointer, vector.count), ir.IntType(32)(align_of(pointer))
    others = ir.Constant(vector, ir.Undefined) if others is None else others
    return _masked(builder, "load", vector, vector, [place, alignment, mask, others])


def store_masked(builder, value, pointer, mask):
    _masked(builder, "store", value.type, ir.VoidType(), [value, as_vector(builder, pointer, value.type.count),
                                                          ir.IntType(32)(align_of(pointer)), mask])


def prefetch(builder, pointer, to_write=False):
    """Ask for a cache line, into the second-level cache; the address need not exist."""
    number = ir.IntType(32)
    address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [address.type] + [number] * 3),
                                              "llvm.prefetch.p0")
    builder.call(function, [address, number(int(to_write)), number(2), number(1)])  # kept rather long, data
