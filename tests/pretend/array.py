"""Arrays of the stand-in for CuPy: NumPy arrays that NumPy cannot see, on one of two devices.

Functions, methods and ufuncs are NumPy's, forwarded for the names and parameters that api.txt lists. What is written out here
is where CuPy differs: it takes no NumPy arrays but to copy or to index with, gives 0-d arrays where NumPy gives numbers, and
refuses arrays of a device that is not the current one, as where GPUs cannot read each other's memory.
"""

import ctypes
import itertools
import weakref
from operator import attrgetter

import numpy as np

from tests.pretend import api, graph
from tests.pretend.graph import change, compute, owner, refuse_copy
from tests.pretend.memory import current, default_pool, get_allocator

ANYWHERE = {f"ndarray.{name}" for name in ("reshape", "transpose", "swapaxes", "ravel", "squeeze", "diagonal", "view", "copy")}
ADDED = {"add": "int32 int64 uint32 uint64 float16 float32 float64", "subtract": "int32 uint32",
         "maximum": "int32 int64 uint32 uint64 float32 float64", "minimum": "int32 int64 uint32 uint64 float32 float64"}
COMPARISONS = {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal"}
NO_BFLOAT16 = {"cumprod", "sort", "argsort", "partition", "argpartition", "lexsort", "unique", "median", "percentile", "quantile"}
PARAMETERS = api.read()
pinned_allocator = [bytearray]


class MemoryPointer:
    """Where an array lies."""

    def __init__(self, array):
        self.ptr, self.device_id = array._host.ctypes.data, array._device

    def copy_from_host_async(self, mem, size, stream=None):
        refuse_copy("H2D")
        ctypes.memmove(self.ptr, mem, size)

    @property
    def device(self):
        from tests.pretend.cuda import Device

        return Device(self.device_id)


class Flags:
    """Of CuPy's flags there are these, and none says whether an array may be written to."""

    def __init__(self, array):
        flags = array._host.flags
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, array.base is None
        self.fnc, self.forc = flags.fnc, flags.forc


class ndarray:
    """An array of memory on a device; a view keeps the array that owns it as ``base``."""

    __array_priority__ = 100
    __module__ = "cupy"

    def __init__(self, host, base=None):
        self._host, self.base, self._device = host, base, current.device if base is None else base._device
        self.pool = None  # if it is not the default one
        if base is None and host.nbytes:
            self._memory = get_allocator()(host.nbytes)
            self.pool = None if current.pool is default_pool._pool else weakref.ref(current.pool)
            current.pool = None

    data = property(MemoryPointer)
    flags = property(Flags)
    device = property(lambda self: self.data.device)

    @property
    def __cuda_array_interface__(self):
        strides = None if self.flags.c_contiguous else self.strides
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False), "version": 3,
                "strides": strides, "descr": self.dtype.descr, "stream": 1}

    def __dlpack_device__(self):
        return 2, self._device  # kDLCUDA

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. "
                        "Please use `.get()` to construct a NumPy array explicitly.")

    def get(self, stream=None, order="C", out=None, blocking=True):
        refuse_copy("D2H")
        if out is None:
            return np.array(self._host, order=order)
        out[...] = self._host
        return out

    def set(self, arr, stream=None):
        if arr.shape != self.shape or arr.dtype != self.dtype:
            raise ValueError(f"cannot set an array of {self.dtype} {self.shape} to one of {arr.dtype} {arr.shape}")
        refuse_copy("H2D")
        self._host[...] = arr

    def __getitem__(self, key):
        parts = _parts(key)
        if _picks(key):
            refuse_copy("H2D")
        if any(getattr(part, "dtype", None) == np.dtype(bool) for part in parts):
            refuse_copy("D2H")  # how many are chosen
        index = tuple(_integers(_unwrap(parts, from_numpy=True)))
        index += () if any(part is Ellipsis for part in index) else (...,)  # a view, where NumPy gives a number
        host = _host(self) if _picks(key) or _arrays(parts) else self._host
        return _wrapped(compute("getitem", lambda: host[index], _arrays([self, *parts])), [self])

    def __setitem__(self, key, value):
        arrays = _arrays([self, *_parts(key), value])
        if _picks(key):
            refuse_copy("H2D")
        picks = _picks(key) or bool(_arrays(_parts(key)))
        key = tuple(_integers(_unwrap(_parts(key), from_numpy=True)))
        if isinstance(value, np.ndarray) and value.ndim and not picks:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        host, value = _host(self), value if isinstance(value, np.ndarray) else _unwrap(value)
        while isinstance(value, np.ndarray) and value.ndim and len(value) == 1:
            value = value[0]
        change(lambda: _scatter(host, key, value) if picks else host.__setitem__(key, value), arrays)

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def fill(self, value):
        self[...] = value

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        host = _host(self)
        return _wrapped(compute("astype", _quietly(host.astype, dtype, order=order, copy=copy), [self]), [self])

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **named):
        found = FUNCTIONS.get(ufunc.__name__)
        if found is None or not all(_handled(x) for x in inputs + (out or ())):
            return NotImplemented
        if ufunc.__name__ in COMPARISONS:
            inputs = [x.item() if isinstance(x, np.ndarray) and not x.ndim else x for x in inputs]
        found = found if method == "__call__" else getattr(found, method)
        return found(*inputs, **named, **({"out": out[0]} if out else {}))

    def __array_function__(self, function, types, args, kwargs):
        prefix = "".join(f"{part}." for part in function.__module__.split(".")[1:])
        found = FUNCTIONS.get(prefix + function.__name__)
        if found is None or not all(issubclass(kind, (ndarray, np.ndarray)) for kind in types):
            return NotImplemented
        return found(*args, **kwargs)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return asarray, (self.get(),)


for _name in ("bool", "int", "float", "complex", "repr", "str", "format"):
    setattr(ndarray, f"__{_name}__", lambda self, *args, _name=f"__{_name}__": getattr(self.get(), _name)(*args))


def _host(array) -> np.ndarray:
    if array._device != current.device:
        raise ValueError(f"The device where the array resides ({array._device}) is different from the current device "
                         f"({current.device}). Peer access is unavailable between these devices.")
    return array._host


def _unwrap(value, from_numpy=False, read=_host):
    """Arguments as NumPy wants them. NumPy arrays are only for indices and copies."""
    if isinstance(value, ndarray):
        return read(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_unwrap(item, from_numpy, read) for item in value])
    if isinstance(value, np.ndarray) and not from_numpy:
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _wrapped(result, inputs):
    """NumPy's result as an array of the device: an input itself, a view of one, or new."""
    if isinstance(result, (tuple, list)):
        items = [_wrapped(item, inputs) for item in result]
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    result = np.asarray(result)
    for array in inputs:
        if array._host is result:
            return array
        if owner(array._host) is owner(result):
            result.flags.writeable = True  # NumPy forbids to write to some views, CuPy to none
            return ndarray(result, array if array.base is None else array.base)
    return ndarray(result)


def _quietly(function, *args, **kwargs):
    """The call, to be made by whoever calls the result."""
    def call():
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return call


def _arrays(values) -> list[ndarray]:
    """All device arrays among arguments, those in lists, too."""
    found = []
    for value in values:
        found += [value] if isinstance(value, ndarray) else _arrays(value) if isinstance(value, (list, tuple)) else []
    return found


def _parts(key) -> tuple:
    return key if isinstance(key, tuple) else (key,)


def _integers(parts) -> list:
    """A key as CuPy reads it, which makes an integer of anything that it can."""
    return [int(part) if np.isscalar(part) and not isinstance(part, (bool, np.bool_)) else part for part in parts]


def _scatter(host, key, value) -> None:
    """host[key] = value where places may repeat: whose value stays nobody knows on a GPU, and with NumPy it would be the last."""
    places = np.arange(host.size).reshape(host.shape)[key]
    host.flat[places.ravel()[::-1]] = np.broadcast_to(value, places.shape).ravel()[::-1]


def _picks(key) -> bool:
    """Whether an index copies elements, by arrays or lists of places."""
    return any(isinstance(part, (np.ndarray, list)) for part in _parts(key))


def _handled(value) -> bool:
    return isinstance(value, (ndarray, np.ndarray, np.generic, int, float, complex))


def _call(name, function, args, kwargs):
    """NumPy's function, if CuPy has it with these arguments."""
    names = PARAMETERS[name]
    most = next((i for i, word in enumerate(names) if word == "/"), len(names))
    unknown = [word for word in kwargs if word not in names and "**" not in names]
    if unknown or (len(args) - name.startswith("ndarray.") > most and "*" not in names):
        raise TypeError(f"cupy.{name}({', '.join(names)}) got {len(args)} arguments and {', '.join(unknown) or 'no other'}")
    read = attrgetter("_host") if name in ANYWHERE else _host
    named, arrays = {word: _unwrap(value) for word, value in kwargs.items()}, _arrays([*args, *kwargs.values()])
    work = _quietly(function, *_unwrap(args, read=read), **named)
    if name in graph.IN_PLACE or named.get("out") is not None:
        return _wrapped(change(work, arrays, named.get("out")), arrays)
    return _wrapped(compute(name, work, arrays), arrays)


def _forwarded(name, function):
    def forward(*args, **kwargs):
        return _call(name, function, args, kwargs)

    forward.__name__ = name.rpartition(".")[2]
    return forward


class Ufunc:
    """A ufunc: of NumPy's options there are ``out``, ``dtype`` and ``casting``; of its methods those that CuPy wrote."""

    def __init__(self, name):
        self.__name__, self.numpy = name, getattr(np, name)

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        options = {} if dtype is None else {"dtype": dtype}
        work = _quietly(self.numpy, *_unwrap(list(args)), out=_unwrap(out), casting=casting, **options)
        arrays = _arrays([*args, out])
        found = compute(self.__name__, work, arrays) if out is None else change(work, arrays, _unwrap(out))
        return _wrapped(found, arrays)

    def at(self, a, indices, b=None):
        if a.dtype.name not in ADDED.get(self.__name__, ""):
            raise TypeError(f"cupy.{self.__name__}.at only supports {ADDED.get(self.__name__)} as data type")
        change(_quietly(self.numpy.at, _host(a), _unwrap(indices, from_numpy=True), _unwrap(b)), _arrays([a, indices, b]))

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        if self.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"`{self.__name__}.reduce` is not supported yet")
        work = _quietly(self.numpy.reduce, _unwrap(array), axis=axis, dtype=dtype, keepdims=keepdims)
        return _wrapped(compute("reduce", work, _arrays([array])), [])


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """From the CPU or the device, a copy unless it need not be."""
    if isinstance(obj, ndarray) and obj._device == current.device and not copy and dtype in (None, obj.dtype):
        return obj
    if not isinstance(obj, ndarray):
        pinned_allocator[0](np.asarray(obj).nbytes)
        refuse_copy("H2D")
    source = _unwrap(obj, from_numpy=True, read=attrgetter("_host"))
    host = compute("array", lambda: np.array(source, dtype=dtype, order=order, ndmin=ndmin), _arrays([obj]))
    if host.dtype.kind not in "biufc" and not _is_bfloat16(host):
        raise ValueError(f"Unsupported dtype {host.dtype}")
    return ndarray(host)


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    """As ``array``, but device arrays are not copied."""
    return array(a, dtype, bool(copy), order or "K")


def _is_bfloat16(array) -> bool:
    return getattr(getattr(array, "dtype", None), "name", None) == "bfloat16"


def _where(condition, *values):
    """NumPy's; CuPy's knows no bfloat16 and takes it as float32."""
    return np.where(condition, *[value.astype(np.float32) if _is_bfloat16(value) else value for value in values])


def _without_bfloat16(name, function):
    """NumPy's function where CuPy's does not compile for bfloat16, or finds no such sort."""
    def refusing(array, *args, **kwargs):
        if _is_bfloat16(array):
            raise RuntimeError(f"cupy.{name}: no bfloat16")
        return function(array, *args, **kwargs)

    return refusing


def _shares_memory(a, b):
    if not a.ndim or not b.ndim:
        raise NotImplementedError("what cupy.shares_memory says of arrays without axes is wrong")
    return np.shares_memory(a, b)


def as_strided(x, shape=None, strides=None):
    """A view of the memory from the first element of ``x`` on."""
    memory = owner(x._host)
    offset = x._host.ctypes.data - memory.ctypes.data
    return _wrapped(np.ndarray(shape, x.dtype, memory, offset, strides), [x])


def _matmul(x, y, **options):
    """NumPy's, which multiplies bfloat16 as float32, with CuPy's dtype."""
    return np.matmul(x, y, **options).astype(np.result_type(x, y), copy=False)


def _functions():
    """The functions, types and constants of the module and of linalg; methods go to the class."""
    found = {"array": array, "asarray": asarray, "matmul": _forwarded("matmul", _matmul), "where": _forwarded("where", _where),
             "shares_memory": _forwarded("shares_memory", _shares_memory)}
    for name, parameters in PARAMETERS.items():
        folder, _, last = name.rpartition(".")
        place = {"": np, "linalg": np.linalg, "ndarray": np.ndarray}[folder]
        if not hasattr(place, last):
            continue  # newer versions of NumPy have dropped it, as row_stack
        thing = getattr(place, last)
        if last in NO_BFLOAT16:
            thing = _without_bfloat16(last, thing)
        if folder == "ndarray":
            if last not in vars(ndarray) and last != "base":
                setattr(ndarray, last, _attribute(last) if parameters is None else _forwarded(name, thing))
        elif isinstance(thing, np.ufunc) and parameters is None:
            found.setdefault(name, Ufunc(last))
        else:
            found.setdefault(name, thing if parameters is None else _forwarded(name, thing))
    return found | {"ndarray": ndarray, "ufunc": Ufunc}


def _attribute(name):
    return property(lambda self: _wrapped(getattr(self._host, name), [self]),
                    lambda self, value: setattr(self._host, name, value))


def _operator(ufunc, reflected=False, in_place=False):
    def apply(self, other):
        if not hasattr(other, "__array_ufunc__") and getattr(other, "__array_priority__", 0) > self.__array_priority__:
            return NotImplemented
        first, second = (other, self) if reflected else (self, other)
        return ufunc(first, second, out=self) if in_place else ufunc(first, second)

    return apply


FUNCTIONS = _functions()
_OPERATORS = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
              "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
              "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift"}
for (_name, _ufunc), _kind in itertools.product(_OPERATORS.items(), ("", "r", "i")):
    if _kind + _name != "imatmul":
        setattr(ndarray, f"__{_kind}{_name}__", _operator(getattr(np, _ufunc), _kind == "r", _kind == "i"))
for _name, _ufunc in {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
                      "ne": "not_equal"}.items():
    setattr(ndarray, f"__{_name}__", _operator(getattr(np, _ufunc)))
for _name, _ufunc in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", lambda self, _ufunc=_ufunc: getattr(np, _ufunc)(self))
ndarray.__hash__ = None
