"""The Tensor: an array that remembers the op that made it.

A tensor is five things: ``array`` (NumPy or CuPy), ``tracked`` (does it want a gradient), ``op`` and ``index`` (which output of
which op it is; None for a leaf) and ``grad``. Everything one can do with it lives in ``minidl.ops``, whose functions attach
themselves as methods with the decorator ``method``.

Arrays are not copied on the way in or out, so two tensors may share a buffer. Writes that minidl makes are counted per buffer
(``written``), and a backward pass that needs what has been overwritten raises. Writes through ``.numpy()``, DLPack or the
source array cannot be seen; anomaly mode finds them.
"""

import itertools
import threading
import weakref
from typing import Any

import numpy as np

from minidl.device import Device
from minidl.dtypes import as_dtype, default_for, is_floating
from minidl.errors import DtypeError, GraphError, ShapeError
from minidl.kernels.constants import changed
from minidl.kernels.half import REAL, widened

clock = itertools.count(1)  # births of ops and stamps of writes come from one clock, so they can be compared


class _Mode(threading.local):
    recording = True
    anomaly = False
    walking = False  # inside a backward pass
    autocast = None  # what minidl.amp.autocast asks for, see minidl.ops.precision


mode = _Mode()


class Tensor:
    """An n-dimensional array that can be differentiated.

    ``Tensor(array)`` wraps a NumPy or CuPy array without copying; ``minidl.tensor(data)`` copies any data.

    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4.])
    """

    # Defaults on the class keep construction cheap: most tensors set `array` alone.
    array: Any
    tracked = False
    op = None
    index = 0
    birth = 0  # ops have one; a leaf is older than all
    grad = None
    hooks = None
    owned = False  # true while the walk alone holds this sum of gradients and may add to it in place

    __array_priority__ = 1000  # NumPy leaves `ndarray + Tensor` to us
    __hash__ = object.__hash__

    def __init__(self, array, requires_grad=False):
        if not hasattr(array, "__array_interface__") and not hasattr(array, "__cuda_array_interface__"):
            raise TypeError(f"Tensor wraps an array, got {type(array).__name__}; use minidl.tensor(data) for other data")
        self.array = array if hasattr(array, "ndim") and not isinstance(array, np.generic) else np.asarray(array)
        if requires_grad:
            self.requires_grad = True

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes; for images (N, C, H, W)."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def device(self) -> Device:
        return Device.of(self.array)

    @property
    def is_leaf(self) -> bool:
        """True for tensors that no recorded op made: they receive ``.grad``."""
        return self.op is None

    @property
    def grad_fn(self):
        """The op that made this tensor (PyTorch's name for ``op``)."""
        return self.op

    @property
    def outputs(self) -> tuple:
        """Shape and dtype that a gradient must have; an op has one such pair for each of its outputs."""
        return ((self.array.shape, self.array.dtype),)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor. Only floating-point leaves can be switched."""
        return self.tracked

    @requires_grad.setter
    def requires_grad(self, value: bool):
        if self.op is not None and not value:
            raise GraphError("only a leaf can stop requiring a gradient; use .detach() for the result of an op")
        if value and self.array.dtype.kind not in REAL:
            raise DtypeError(f"only floating-point tensors can require a gradient, this one is {self.array.dtype}")
        self.tracked = bool(value)

    def requires_grad_(self, requires_grad=True) -> "Tensor":
        """Set ``requires_grad`` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    def size(self, dim=None):
        """The shape, or the size of one axis."""
        return self.array.shape if dim is None else self.array.shape[dim]

    def dim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    def numel(self) -> int:
        """Number of elements."""
        return self.array.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.array.itemsize

    def is_floating_point(self) -> bool:
        return is_floating(self.array.dtype)

    def is_contiguous(self) -> bool:
        return self.array.flags.c_contiguous

    # Ways out

    def item(self):
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise ShapeError(f"item() needs a tensor with one element, this one has shape {self.shape}")
        return self.array.item()

    def tolist(self):
        """Nested lists of Python numbers."""
        return self.array.tolist()

    def numpy(self) -> np.ndarray:
        """The array itself, on the CPU, not a copy. Writes to it cannot be seen by autograd.

        Raises GraphError if the tensor requires a gradient: detach() it first.
        """
        if self.tracked:
            raise GraphError("numpy() on a tensor that requires a gradient: use .detach().numpy()")
        return self.array if isinstance(self.array, np.ndarray) else self.array.get()

    def detach(self) -> "Tensor":
        """The same buffer outside the graph."""
        return wrap(self.array)

    @property
    def data(self) -> "Tensor":
        """The same buffer outside the graph. Assigning puts another array in its place."""
        return wrap(self.array)

    @data.setter
    def data(self, value: "Tensor"):
        if value.array is not self.array:
            written(self.array)
            self.array = value.array

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.array, np.ndarray):
            return np.array(self.array, dtype=dtype, copy=copy)
        raise TypeError("NumPy cannot read a tensor on the GPU: use .cpu() first")

    def __dlpack__(self, **options):
        return self.detach().array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __len__(self):
        if not self.array.ndim:
            raise TypeError("a 0-d tensor has no length")
        return self.array.shape[0]

    def __iter__(self):
        if not self.array.ndim:
            raise TypeError("a 0-d tensor cannot be iterated over")
        return (self[i] for i in range(self.array.shape[0]))

    def __bool__(self):
        if self.array.size != 1:
            raise ShapeError(f"the truth of a tensor of shape {self.shape} is ambiguous: use .any() or .all()")
        return bool(self.array.item())

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        return self.item().__index__()

    def __format__(self, spec):
        return format(self.item(), spec) if spec else repr(self)

    def __repr__(self):
        body = np.array2string(widened(self.detach().numpy()), separator=", ", prefix="tensor(", threshold=1000, precision=4,
                               floatmode="maxprec")
        parts = [body]
        if self.dtype not in (default_for(float), default_for(int), default_for(bool)):
            parts.append(f"dtype={self.dtype}")
        if self.device.type != "cpu":
            parts.append(f"device={self.device}")
        if self.op is not None:
            parts.append(f"op={type(self.op).__name__}")
        elif self.tracked:
            parts.append("requires_grad=True")
        return f"tensor({', '.join(parts)})"

    def _repr_html_(self) -> str:
        from minidl.study.display import tensor_html

        return tensor_html(self)

    # A copy of a leaf is a leaf; the graph itself is never copied or stored.

    def __deepcopy__(self, memo):
        if self.op is not None:
            raise GraphError("only leaves can be deep-copied; use .detach() or .clone()")
        copy = memo[id(self)] = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__, array=self.array.copy(), hooks=None)
        if self.grad is not None:
            copy.grad = self.grad.__deepcopy__(memo)
        return copy

    def __reduce__(self):
        if self.op is not None:
            raise GraphError("only leaves can be stored; use .detach()")
        return _rebuild, (type(self), self.array, self.tracked)

    # Hooks

    def register_hook(self, hook):
        """Call ``hook(gradient)`` when this tensor's gradient is complete; what it returns (if anything) replaces the gradient.

        Returns a handle whose ``remove()`` takes the hook away.
        """
        if not self.tracked:
            raise GraphError("cannot register a hook on a tensor that does not require a gradient")
        return HookHandle(self._gradient_hooks(), hook)

    def retain_grad(self) -> None:
        """Keep ``.grad`` of this tensor although it is not a leaf."""
        if not self.tracked:
            raise GraphError("retain_grad() on a tensor that does not require a gradient")
        if self.op is not None:
            me = weakref.ref(self)  # the op must not keep its own output alive

            def keep(gradient):
                if (tensor := me()) is not None:
                    tensor.grad = gradient.clone() if tensor.grad is None else tensor.grad + gradient

            keep.retains = True
            hooks = self._gradient_hooks()
            if not any(getattr(hook, "retains", False) for hook in hooks.values()):
                HookHandle(hooks, keep)

    def _gradient_hooks(self) -> dict:
        """Hooks of a leaf live on the tensor, those of an output on its op, keyed by the output's index."""
        if self.op is None:
            self.hooks = self.hooks or {}
            return self.hooks
        self.op.hooks = self.op.hooks or {}
        return self.op.hooks.setdefault(self.index, {})


class HookHandle:
    """What registering a hook returns: ``remove()`` takes the hook away; as a context manager it does so at the end."""

    _numbers = itertools.count()

    def __init__(self, hooks: dict, hook):
        self.hooks, self.number = hooks, next(self._numbers)  # hooks are kept by number: by handle would be a cycle
        hooks[self.number] = hook

    def remove(self):
        self.hooks.pop(self.number, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def _rebuild(kind, array, tracked):
    tensor = kind.__new__(kind)
    tensor.array, tensor.tracked = array, tracked
    return tensor


_new = object.__new__


def wrap(array) -> Tensor:
    """A tensor around the result of a kernel; NumPy's scalars become 0-d arrays."""
    tensor = _new(Tensor)
    tensor.array = np.asarray(array) if isinstance(array, np.generic) else array
    return tensor


def method(*names):
    """Attach the decorated function to Tensor, under its own name or under those given.

    ``@method()`` and ``@method("__add__", "__radd__")``; ``@method`` alone is not allowed.
    """

    def attach(function):
        for name in names or (function.__name__,):
            setattr(Tensor, name, function)
        return function

    return attach


def tensor(data, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A leaf tensor that copies ``data``: numbers, nested lists, arrays or a tensor.

    Python floats become the default dtype (float32), ints int64, bools bool; arrays keep theirs unless ``dtype`` says otherwise.
    It is on ``device``; without one, a tensor's copy is on its device, and everything else goes to the default device.

    >>> import minidl
    >>> minidl.tensor([[1, 2], [3, 4]]).shape
    (2, 2)
    >>> minidl.tensor(0.5).dtype
    dtype('float32')
    """
    if isinstance(data, Tensor):
        data, device = data.array, data.device if device is None else device
    if hasattr(data, "__cuda_array_interface__"):
        device = Device.of(data) if device is None else device
    if dtype is not None:
        dtype = as_dtype(dtype)
    elif not hasattr(data, "dtype"):
        probe = np.asarray(_plain(data))
        if probe.dtype.kind not in "biu" + REAL:
            raise DtypeError(f"a tensor holds numbers, got {probe.dtype} from {type(data).__name__}")
        holds_arrays = isinstance(data, (list, tuple)) and any(hasattr(item, "dtype") for item in data)
        kind = bool if probe.dtype.kind == "b" else float if is_floating(probe.dtype) else int
        dtype = probe.dtype if holds_arrays else default_for(kind)
    return Tensor(Device.parse(device).array(_plain(data), dtype), requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory.

    >>> import numpy as np
    >>> a = np.zeros(2); t = from_numpy(a); a[0] = 1; t
    tensor([1., 0.], dtype=float64)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy needs a NumPy array, got {type(array).__name__}")
    return Tensor(array)


def astensor(value) -> Tensor:
    """``value`` itself if it is a tensor, arrays wrapped without a copy, anything else through ``tensor``."""
    if isinstance(value, Tensor):
        return value
    return Tensor(value) if isinstance(value, np.ndarray) or hasattr(value, "__cuda_array_interface__") else tensor(value)


def _plain(data):
    """Nested lists with tensors in them, as NumPy can read them; arrays as they are."""
    if isinstance(data, (list, tuple)):
        return [_plain(item) for item in data]
    return data.detach().numpy() if isinstance(data, Tensor) else data


class _Writes:
    """When each buffer was last changed in place, by the clock that dates the births of ops. Views share their buffer."""

    def __init__(self):
        self.latest = 0  # lets an op born after every write skip the search
        self._stamps: dict[int, tuple] = {}

    def add(self, array) -> None:
        owner = self._owner(array)
        changed(owner)
        key = id(owner)
        entry = self._stamps.get(key)
        alive = entry[0] if entry else weakref.ref(owner, lambda _: self._stamps.pop(key, None))
        self.latest = next(clock)
        self._stamps[key] = alive, self.latest

    def last(self, array) -> int:
        entry = self._stamps.get(id(self._owner(array)))
        return entry[1] if entry else 0

    @staticmethod
    def _owner(array):
        while isinstance(array.base, type(array)):
            array = array.base
        return array


writes = _Writes()
written = writes.add  # to be called after every change in place that minidl makes: a backward that saved the buffer raises
