"""Compiled kernels called by their address: one thread writes down what to call, another one, which runs without the GIL, calls.

A compiled kernel takes its arrays in registers and on the stack, each kind of argument in its own way. ``packed`` writes the
arguments of a call into memory and compiles a small function that reads them from there, so that all kernels look alike to the
thread that is to call them: an address, a place in memory, and the range of items.
"""

from llvmlite import ir
from numba import typeof, types
from numba._dispatcher import compute_fingerprint
from numba.core import cgutils
from numba.extending import intrinsic

ROOM = 8192  # bytes for the arguments of a call; twenty arrays take 2,000

_BYTES, _LONG = ir.IntType(8).as_pointer(), ir.IntType(64)
_ENTRY = ir.FunctionType(_LONG, [_BYTES, _LONG, _LONG])  # arguments, start, stop -> Numba's status: 0, or what went wrong
_addresses: dict = {}


def address(kernel, args: tuple) -> int:
    """Where the machine code of a kernel for (start, stop, *args) lies; compiles it if need be."""
    key = kernel, compute_fingerprint(args)
    if key not in _addresses:
        kinds = types.intp, types.intp, *map(typeof, args)
        kernel.compile(kinds)
        found = kernel.overloads[kinds]
        _addresses[key] = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
    return _addresses[key]


@intrinsic
def packed(typing, room, content):
    """Write ``content``, a tuple of a kernel's address and its arguments, to the array ``room`` of ROOM bytes, and return the
    address of a function that calls the kernel with arguments from there.
    """

    def code(context, builder, signature, args):
        layout = context.get_value_type(content)
        if context.get_abi_sizeof(layout) > ROOM:
            raise ValueError(f"the arguments of a kernel take more than {ROOM} bytes")
        array = context.make_array(room)(context, builder, args[0])
        builder.store(args[1], builder.bitcast(array.data, layout.as_pointer()))
        return builder.ptrtoint(_entry(context, builder.module, content, layout), _LONG)

    return types.int64(room, content), code


def _entry(context, module, kinds, layout):
    """The function that reads a call from memory and makes it."""
    entry = ir.Function(module, _ENTRY, module.get_unique_name("entry"))
    entry.linkage = "internal"
    builder = ir.IRBuilder(entry.append_basic_block())
    memory, start, stop = entry.args
    content = builder.load(builder.bitcast(memory, layout.as_pointer()))
    kernel, *given = (builder.extract_value(content, place) for place in range(len(kinds.types)))
    kinds = types.intp, types.intp, *kinds.types[1:]
    kind = context.call_conv.get_function_type(types.none, kinds)
    result, error = (cgutils.alloca_once(builder, pointer.pointee, zfill=True) for pointer in kind.args[:2])
    flat = context.get_arg_packer(kinds).as_arguments(builder, [start, stop, *given])
    status = builder.call(builder.inttoptr(kernel, kind.as_pointer()), [result, error, *flat])
    builder.ret(builder.sext(status, _LONG))
    return entry


@intrinsic
def call(typing, entry, memory, start, stop):
    """Call what ``packed`` returned, with the address of its room and a range of items; 0 if nothing went wrong."""

    def code(context, builder, signature, args):
        function = builder.inttoptr(args[0], _ENTRY.as_pointer())
        return builder.call(function, [builder.inttoptr(args[1], _BYTES), *args[2:]])

    return types.int64(types.int64, types.int64, types.int64, types.int64), code
