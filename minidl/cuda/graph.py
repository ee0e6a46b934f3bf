"""Captured steps: a function of tensors on a GPU, recorded once as a CUDA graph and replayed without Python (docs/capture.md)."""

import contextlib
import functools
import linecache
import re
import sys
import traceback
import weakref
from collections.abc import Callable

from minidl.cuda.memory import explained
from minidl.device import CPU, Device
from minidl.errors import CaptureError, DeviceError, UsageError
from minidl.kernels.precision import float32_matmul_precision
from minidl.kernels.recording import Recording, current, recordable
from minidl.nested import mapped
from minidl.op import Op
from minidl.tensor import Tensor, mode

REFUSED = re.compile("stream.*captur|captur.*stream", re.IGNORECASE)  # what CuPy and CUDA say of what cannot be recorded
LIBRARIES = ("minidl", "cupy", "cupy_backends", "cupyx", "numpy")  # whose lines are not the user's
FROM_CPU = ("memory of the CPU is copied to the GPU, which happens once, and not at its replays: pass it as an argument, or copy "
            "it before the call if it stays the same")


def capture(function: Callable) -> "CapturedStep":
    """``function``, such as a whole training step, as a CUDA graph: from the third call on it costs Python next to nothing.

    The first call with arguments of some shapes, dtypes and devices runs as it is; the second is recorded; from then on the
    recording runs. Each call makes exactly one step. Arguments are tensors, which are copied into the recording's buffers, and
    anything hashable, which is recorded as it is; both may stand in tuples, lists and dicts. With gradients switched off, in
    another ``autocast`` or ``set_float32_matmul_precision``, it is another recording. A method is captured for each object
    apart. Results are detached, and the next call writes to the same memory: ``clone`` what shall last. Learning rates and other
    options of optimizers, their step counts and random numbers go on as without a recording; everything else that Python does,
    it does only in the first two calls. With arguments on the CPU, or none that is a tensor, every call runs as it is.

    Raises CaptureError if the step does what cannot be recorded, with its line and the reason; DeviceError for arguments on
    several devices; UsageError for tensors that require a gradient or arguments that cannot be hashed.

    >>> import minidl
    >>> w = minidl.zeros(2, requires_grad=True)
    >>> optimizer = minidl.optim.SGD([w], lr=0.5)
    >>> @minidl.capture
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = ((x @ w - y) ** 2).mean()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> step(minidl.ones(1, 2), minidl.ones(1)); w
    tensor(1.)
    tensor([1., 1.], requires_grad=True)
    """
    return CapturedStep(function)


class CapturedStep:
    """What ``capture`` returns: to be called as the function. The recordings and their memory live as long as this object."""

    def __init__(self, function: Callable, graphs: dict | None = None):
        self.function = function
        self._graphs: dict[tuple, _Graph | None] = {} if graphs is None else graphs  # by the arguments: None after the first call
        self._graphs_of: dict[int, dict] = {}  # a method's, by the id of its object: equal ones are not the same
        functools.update_wrapper(self, function, updated=())  # not its attributes, which may be named as ours

    def __get__(self, instance, owner=None):
        """As a method: the step of this object, whose recordings live as long as it does."""
        if instance is None or not hasattr(self.function, "__get__"):
            return self
        key = id(instance)
        if key not in self._graphs_of:
            weakref.finalize(instance, self._graphs_of.pop, key, None).atexit = False
            self._graphs_of[key] = {}
        return CapturedStep(self.function.__get__(instance, owner), self._graphs_of[key])

    def __call__(self, *args, **kwargs):
        tensors, arguments = _tensors((args, kwargs)), _described(args, kwargs)
        device = _device(tensors)
        if device == CPU or current() is not None:
            return _detached(self.function(*args, **kwargs))
        if arguments not in self._graphs:
            with recordable():
                result = _detached(self.function(*args, **kwargs))
            self._graphs[arguments] = None
            return result
        with sys.modules["cupy"].cuda.Device(device.index):
            graph = self._graphs[arguments]
            if graph is None:
                graph = self._graphs[arguments] = _Graph(self.function, args, kwargs)
            return graph.replay(tensors)

    def __repr__(self):
        return f"CapturedStep({self.function!r})"


class _Graph:
    """One recording: the graph, the memory that its kernels use, and the tensors through which it is fed and read."""

    def __init__(self, function: Callable, args: tuple, kwargs: dict):
        self._cupy = sys.modules["cupy"]
        self._inputs: list[Tensor] = []
        args, kwargs = mapped(self._own, (args, kwargs), Tensor)
        self._pool, self._recording = self._cupy.cuda.MemoryPool(), Recording()
        self._block = _Block(self._cupy, self._pool, 1)  # so that the pool is in use as long as this lives
        self._cupy.get_default_memory_pool().free_all_blocks()  # what the first call has used may be needed now
        try:
            with self._recording, self._cupy.cuda.using_allocator(explained(self._cupy, self._allocate)):
                self._result = _detached(self._record(functools.partial(function, *args, **kwargs)))
        except RuntimeError as error:  # all that they raise, and ours
            if not isinstance(error, CaptureError) and not REFUSED.search(str(error)):
                raise
            raise CaptureError(_explained(error)) from error

    def replay(self, tensors):
        """Feed the arguments, let the GPU make the step, and return the results, which it may not have reached yet."""
        for own, given in zip(self._inputs, tensors, strict=True):
            own.array[...] = given.array
        self._recording.refresh()
        self._graph.launch()
        return self._result

    def _own(self, value: Tensor) -> Tensor:
        """A tensor's copy, which is fed."""
        self._inputs.append(Tensor(value.array.copy()))
        return self._inputs[-1]

    def _record(self, function):
        """The results of the function, all of whose work on the GPU goes into the graph instead of being done."""
        with self._cupy.cuda.Stream(non_blocking=True) as stream, self._no_copies_from_the_cpu(), _casts_apart():
            stream.begin_capture()  # the default stream has none
            try:
                result = function()
            except BaseException:
                with contextlib.suppress(Exception):  # what was recorded so far is of no use
                    stream.end_capture()
                raise
            self._graph = stream.end_capture()
        return result

    @contextlib.contextmanager
    def _no_copies_from_the_cpu(self):
        """Every replay would read that memory again, when CuPy has long used it for something else."""
        allocate = self._cupy.get_default_pinned_memory_pool().malloc

        def refuse(size):
            if current() is None:
                return allocate(size)
            raise CaptureError(FROM_CPU)

        self._cupy.cuda.set_pinned_memory_allocator(refuse)
        try:
            yield
        finally:
            self._cupy.cuda.set_pinned_memory_allocator(allocate)

    def _allocate(self, size: int):
        """Memory from a pool of the recording's own: arrays share it as they come and go while it is recorded, and no others get
        it as long as it is replayed. What outlives the recording, such as a parameter's gradient, keeps the pool in use.
        """
        cuda, block = self._cupy.cuda, _Block(self._cupy, self._pool, size)
        return cuda.MemoryPointer(cuda.UnownedMemory(block.pointer.ptr, size, block, block.pointer.device_id), 0)


class _Block:
    """Memory from a pool, which is emptied when its last block is let go of: CuPy's free blocks outlive their pool, for ever."""

    pools = set()  # those in use, which must not die before their blocks

    def __init__(self, cupy, pool, size: int):
        self._cupy, self._pool, self.pointer = cupy, pool, pool.malloc(size)
        self.pools.add(pool)

    def __del__(self):
        if sys.is_finalizing() or not hasattr(self, "pointer"):  # out of memory
            return
        with self._cupy.cuda.Device(self.pointer.device_id):
            del self.pointer
            if not self._pool.used_bytes():
                self._pool.free_all_blocks()
                self.pools.discard(self._pool)


def _device(tensors: list[Tensor]) -> Device:
    """The device that all arguments are on; the CPU if there are none."""
    for x in tensors:
        if x.device != tensors[0].device:
            raise DeviceError(f"the arguments of a captured step must be on one device, got a tensor of shape {tensors[0].shape} "
                              f"on {tensors[0].device} and one of shape {x.shape} on {x.device}: move them with .to()")
    return tensors[0].device if tensors else CPU


def _tensors(value) -> list[Tensor]:
    """All of them in a value, in their order."""
    found = []
    mapped(found.append, value, Tensor)
    return found


def _described(args: tuple, kwargs: dict) -> tuple:
    """What a recording is made for: shape, dtype and device of tensors, type and value of anything else, and the modes."""
    modes = mode.recording, mode.autocast and frozenset(mode.autocast.dtypes.items()), float32_matmul_precision()
    described = (modes, *((name, _kind(name, value)) for name, value in (*enumerate(args), *kwargs.items())))
    try:
        hash(described)
    except TypeError as error:
        raise UsageError("arguments of a captured step are tensors, or can be hashed, also in tuples, lists and dicts: "
                         f"{error}") from None
    return described


def _kind(name, value) -> tuple:
    """An argument, or a part of it, in the description."""
    if isinstance(value, Tensor):
        if value.tracked:
            raise UsageError(f"argument {name} of a captured step requires a gradient, which a copy of it would receive: pass "
                             "data, and let the function find its parameters by itself")
        return value.shape, value.dtype, value.device
    if isinstance(value, (tuple, list)):
        return type(value), *(_kind(name, item) for item in value)
    if isinstance(value, dict):
        return dict, *((key, _kind(name, item)) for key, item in value.items())
    return type(value), value


@contextlib.contextmanager
def _casts_apart():
    """Parameters that autocast has cast before are not those that replays need."""
    before = mode.autocast
    if before is not None and before.casts is not None:
        mode.autocast = before._replace(casts={})
    try:
        yield
    finally:
        mode.autocast = before


def _detached(result):
    """The result without its history, which is of one call; also inside tuples, lists and dicts."""
    def detached(x):
        if current() is not None and x.device == CPU:
            raise CaptureError("a result on the CPU is computed once, while the step is recorded, and not at its replays")
        return Tensor(x.array)

    return mapped(detached, result, Tensor)


def _explained(error: Exception) -> str:
    """Which line of the user's cannot be recorded, what it called, and why."""
    if isinstance(error, CaptureError):
        reason = str(error)
    elif isinstance(error, NotImplementedError):
        reason = f"it uses a library that CuPy cannot record ({error})"
    elif "H2D" in str(error):
        reason = FROM_CPU
    else:
        reason = ("it waits for the GPU, as item(), printing, cpu(), an `if` on a tensor or a mask as an index do: a recording "
                  f"cannot wait. Return the tensor and look at it after the call ({error})")
    where, called = "the step", ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] not in LIBRARIES:
            where, called = f"{frame.f_code.co_filename}:{line}: `{_source(frame, line)}`", ""
        elif isinstance(frame.f_locals.get("self"), Op):
            called = f", in the op {frame.f_locals['self'].name},"
    return f"{where}{called} cannot be recorded: {reason}"


def _source(frame, line: int) -> str:
    return linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
