"""Ops: differentiable functions, and how to write one.

An op is a small class. ``forward`` takes arrays and returns an array (or a tuple of arrays); ``backward`` takes the gradients
of the outputs as tensors and returns those of the inputs, itself written in ops, so that gradients can be differentiated
again. An instance is one application of the function: attributes go in through ``__init__``, tensors through the call.

>>> import minidl
>>> from minidl.op import Op
>>> class Cube(Op):
...     def forward(self, x):
...         self.save(x)
...         return x**3
...     def backward(self, gy):
...         (x,) = self.saved
...         return gy * 3 * x**2
>>> x = minidl.tensor(2.0, requires_grad=True)
>>> (g,) = minidl.autograd.grad(Cube()(x), x, create_graph=True)
>>> g.backward()
>>> g.item(), x.grad.item()
(12.0, 12.0)
"""

from collections.abc import Sequence
from operator import attrgetter

from minidl import anomaly
from minidl.device import Device, check_same_device
from minidl.errors import GraphError
from minidl.kernels import kernel, namespace
from minidl.kernels.half import REAL
from minidl.tape import gradients, mode
from minidl.tensor import Tensor, clock, method, wrap, writes

_array = attrgetter("array")


class Op:
    """One application of a differentiable function.

    Subclasses write ``forward`` and ``backward``. What the call fills in: ``needs`` (which inputs want a gradient; all False
    when nothing is recorded, so forward may skip work), ``edges`` (for each such input the op that produced it and which of
    its outputs it is, or the leaf itself), ``outputs`` (shape and dtype of each) and ``birth``. An op never refers to its own
    outputs, so what nobody holds dies at once.
    """

    broadcasts = False  # inputs may have been broadcast: the walk sums their gradients back to the inputs' shapes
    needs: Sequence[bool] = (False,) * 32
    edges: Sequence = ()
    outputs: Sequence = ()
    birth = 0
    hooks: dict | None = None
    trace: str | None = None  # anomaly mode: the user's line
    constants: Sequence = ()  # arrays that forward reads besides its inputs, to be named where they are on another device
    _saved: tuple | None = ()

    @property
    def name(self) -> str:
        return type(self).__name__

    def forward(self, *arrays):
        """Arrays in, an array or a tuple of arrays out. Integer outputs carry no gradient."""
        raise NotImplementedError(f"{self.name} has no forward")

    def backward(self, *gys: Tensor):
        """Gradients of the outputs in, one gradient per input out (or None), written in ops.

        Return new tensors, a ``gy`` itself or views of these; never a saved tensor itself, and change nothing in place.
        """
        raise NotImplementedError(f"{self.name} cannot be differentiated: it has no backward")

    def save(self, *arrays) -> None:
        """Called in forward: keep inputs, outputs or other arrays for backward, which finds them in ``saved``."""
        self._saved = arrays

    @property
    def saved(self) -> list[Tensor]:
        """What forward saved, as tensors that know their place in the graph.

        Raises GraphError if the graph was freed, or a saved buffer has been changed in place since.
        """
        return self._unpack(self._saved)

    def __call__(self, *inputs: Tensor):
        if not mode.recording:
            return self._plain(inputs)
        needs, edges = [], []
        for x in inputs:  # the hottest loop of the engine: one pass, no calls
            if x.tracked:
                needs.append(True)
                edges.append((x.op or x, x.index))
            else:
                needs.append(False)
                edges.append(None)
        if True not in needs:
            return self._plain(inputs)
        self.needs, self.edges, self.birth = needs, edges, next(clock)
        out = self._forward(inputs)
        if out.__class__ is tuple:
            result = tuple(map(wrap, out))
            self.outputs = [(y.array.shape, y.array.dtype) for y in result]
            for index, y in enumerate(result):
                if y.array.dtype.kind in REAL:
                    y.tracked, y.op, y.index = True, self, index
        else:
            result = wrap(out)
            result.tracked, result.op = True, self
            self.outputs = ((out.shape, out.dtype),)
        if self._saved:
            self._saved = self._pack(inputs, out if out.__class__ is tuple else (out,))
        if mode.anomaly:
            anomaly.check_forward(self, inputs, result)
        return result

    def _plain(self, inputs):
        """Apply without recording."""
        out = self._forward(inputs)
        result = tuple(map(wrap, out)) if out.__class__ is tuple else wrap(out)
        if mode.anomaly and not mode.walking:
            self._saved = ()
            anomaly.check_forward(self, inputs, result)
        return result

    def _forward(self, inputs):
        """Forward on the inputs' arrays; calls with one and two arguments are spelled out, since `*` costs 0.3 us.

        Devices are looked at only where forward failed: array libraries refuse arrays of another device, of inputs and constants.
        """
        try:
            if len(inputs) == 2:
                x, y = inputs
                return self.forward(x.array, y.array)
            if len(inputs) == 1:
                return self.forward(inputs[0].array)
            return self.forward(*map(_array, inputs))
        except Exception:
            check_same_device(self.name, *inputs, *map(wrap, self.constants))
            raise

    def _pack(self, inputs, outs) -> list:
        """What was saved, fit to keep: an input as its tensor; an output as index and array, since its tensor would make a
        cycle; any other array as a constant.
        """
        packed = []
        for array in self._saved:
            for x in inputs:
                if x.array is array:
                    packed.append(x)
                    break
            else:
                at = next((index for index, out in enumerate(outs) if out is array), None)
                packed.append((at, array) if at is not None else array if array is None else wrap(array))
        return packed

    def _unpack(self, entries) -> list[Tensor]:
        if entries is None:
            raise GraphError(f"{self.name}: its saved arrays were freed by an earlier backward; "
                             "call that one with retain_graph=True to run through the graph twice")
        tensors = [self._output(*entry) if entry.__class__ is tuple else entry for entry in entries]
        if writes.latest > self.birth:
            self._check_unwritten(tensors)
        return tensors

    def _output(self, index, array) -> Tensor:
        """An output of this op as a tensor again."""
        y = wrap(array)
        y.tracked, y.op, y.index = True, self, index
        return y

    def _check_unwritten(self, tensors) -> None:
        for x in tensors:
            if x is not None and writes.last(x.array) > self.birth:
                raise GraphError(f"{self.name}: an array of shape {x.shape} that backward needs was changed in place after "
                                 "it was used; copy it first, or do the change after backward")

    def free(self) -> None:
        """Let go of what was saved."""
        if self._saved:
            self._saved = None


class LinearOp(Op):
    """A linear map and its adjoint: two kernels, one class. The gradient of the map is the adjoint, and the other way round.

    A subclass names ``kernel`` and ``adjoint``; both take ``(array, out_shape, *args)`` and are held to <Ax, y> = <x, A'y>.
    """

    kernel = ""
    adjoint = ""

    def __init__(self, in_shape, out_shape, *args, transposed=False):
        self.in_shape, self.out_shape, self.args, self.transposed = tuple(in_shape), tuple(out_shape), args, transposed

    @property
    def name(self) -> str:
        return type(self).__name__ + ("Adjoint" if self.transposed else "")

    def forward(self, x):
        return kernel(self.adjoint if self.transposed else self.kernel, x)(x, self.out_shape, *self.args)

    def backward(self, gy):
        return type(self)(self.out_shape, self.in_shape, *self.args, transposed=not self.transposed)(gy)


class FusedOp(Op):
    """An op with fast kernels for the first order, and its formula in basic ops for every order above.

    ``forward`` calls a kernel and saves what ``fast_backward`` needs; ``composite`` computes the same outputs from the same
    inputs in basic ops, without side effects (no running statistics, no new dropout mask). It is also the test's oracle.
    """

    inputs: tuple | None = None

    def fast_backward(self, *gys: Tensor):
        raise NotImplementedError

    def composite(self, *inputs: Tensor):
        raise NotImplementedError

    def _pack(self, inputs, outs):
        self.inputs = inputs
        return super()._pack(inputs, outs)

    def backward(self, *gys):
        if not mode.recording:
            return self.fast_backward(*gys)
        self._unpack(self._saved)  # notices writes to what only the fast path reads
        # Inputs that depend on each other would give total derivatives: differentiate for aliases, one for each input.
        aliases = [Alias()(x) for x in self._unpack(self.inputs)]
        outputs = self.composite(*aliases)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [(y, gy) for y, gy in zip(outputs, gys, strict=True) if y.tracked]
        wanted = [alias for alias, need in zip(aliases, self.needs, strict=True) if need]
        found = iter(gradients([y for y, _ in pairs], wanted, [gy for _, gy in pairs], create_graph=True))
        return tuple([next(found) if need else None for need in self.needs])

    def free(self):
        super().free()
        self.inputs = None


class Alias(Op):
    """y = x, as another node of the graph."""

    def forward(self, x):
        return x

    def backward(self, gy):
        return gy


# The few ops that the walk itself needs.


LARGE = 1 << 16  # numbers from which on threads add faster


class Add(Op):
    """z = x + y, with broadcasting."""

    broadcasts = True

    def forward(self, x, y):
        if x.size >= LARGE and x.shape == y.shape and x.dtype is y.dtype and x.dtype.kind in REAL:
            return kernel("add", x)(x, y)
        return x + y

    def backward(self, gz):
        return gz, gz


class SumTo(Op):
    """Sum over the axes along which ``shape`` was broadcast: the adjoint of Expand."""

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        self.from_shape = x.shape
        lead = x.ndim - len(self.shape)
        axes = tuple(range(lead)) + tuple(
            lead + i for i, size in enumerate(self.shape) if size == 1 and x.shape[lead + i] != 1
        )
        return kernel("sum", x)(x, axes, True).reshape(self.shape)

    def backward(self, gy):
        return Expand(self.from_shape)(gy)


class Expand(Op):
    """Repeat size-1 and missing leading axes to ``shape``, as a view: the adjoint of SumTo."""

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        self.from_shape = x.shape
        return namespace(x).broadcast_to(x, self.shape)

    def backward(self, gy):
        return SumTo(self.from_shape)(gy)


class Clone(Op):
    """y = x in memory of its own, on the same device."""

    def forward(self, x):
        with Device.of(x).as_current():
            return kernel("copy", x)(x) if x.dtype.kind in REAL else x.copy()

    def backward(self, gy):
        return gy


@method()
def sum_to_size(self, *shape) -> Tensor:
    """Sum to a shape that broadcasts to this tensor's."""
    shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    return SumTo(tuple(shape))(self) if tuple(shape) != self.shape else self


@method()
def clone(self) -> Tensor:
    """A copy in memory of its own; gradients flow through it."""
    return Clone()(self)
