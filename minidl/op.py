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

from minidl import anomaly
from minidl.errors import GraphError
from minidl.kernels import kernel, namespace
from minidl.tape import gradients, mode
from minidl.tensor import Tensor, clock, last_write, method, wrap


class Op:
    """One application of a differentiable function.

    Subclasses write ``forward`` and ``backward``. What the call fills in: ``needs`` (which inputs want a gradient; all False
    when nothing is recorded, so forward may skip work), ``edges`` (for each such input the op that produced it and which of
    its outputs it is, or the leaf itself), ``outputs`` (shape and dtype of each) and ``birth``. An op never refers to its own
    outputs, so what nobody holds dies at once.
    """

    broadcasts = False  # inputs may have been broadcast: the walk sums their gradients back to the inputs' shapes
    needs: tuple[bool, ...] = (False,) * 32
    edges: tuple = ()
    outputs: tuple = ()
    birth = 0
    hooks: dict | None = None
    trace: str | None = None  # anomaly mode: the user's line
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
        if self._saved is None:
            raise GraphError(f"{self.name}: its saved arrays were freed by an earlier backward; "
                             "call that one with retain_graph=True to run through the graph twice")
        return [self._unpack(entry) for entry in self._saved]

    def __call__(self, *inputs: Tensor):
        if mode.recording:
            needs = tuple([x.tracked for x in inputs])
            if True in needs:
                return self._record(inputs, needs)
        out = self.forward(*[x.array for x in inputs])
        return tuple([wrap(y) for y in out]) if out.__class__ is tuple else wrap(out)

    def _record(self, inputs, needs):
        self.needs = needs
        self.birth = next(clock)
        arrays = [x.array for x in inputs]
        out = self.forward(*arrays)
        self.edges = tuple([(x.op or x, x.index) if x.tracked else None for x in inputs])
        if out.__class__ is not tuple:
            y = wrap(out)
            array = y.array
            self.outputs = ((array.shape, array.dtype),)
            y.tracked, y.op = True, self
            if self._saved:
                self._saved = tuple([self._pack(a, inputs, arrays, (out,)) for a in self._saved])
            if mode.anomaly:
                anomaly.check_forward(self, arrays, (array,))
            return y
        ys = tuple([wrap(y) for y in out])
        self.outputs = tuple([(y.array.shape, y.array.dtype) for y in ys])
        for index, y in enumerate(ys):
            if y.array.dtype.kind == "f":
                y.tracked, y.op, y.index = True, self, index
        self._saved = tuple([self._pack(a, inputs, arrays, out) for a in self._saved])
        if mode.anomaly:
            anomaly.check_forward(self, arrays, [y.array for y in ys])
        return ys

    @staticmethod
    def _pack(array, inputs, arrays, outs):
        """An input is kept as its tensor; an output as index and array, since keeping its tensor would make a cycle."""
        for tensor, candidate in zip(inputs, arrays, strict=True):
            if candidate is array:
                return tensor
        for index, out in enumerate(outs):
            if out is array:
                return index, array
        return array if array is None else wrap(array)

    def _unpack(self, entry):
        if entry is None:
            return None
        if entry.__class__ is tuple:
            index, array = entry
            entry = wrap(array)
            entry.tracked, entry.op, entry.index = True, self, index
        if last_write(entry.array) > self.birth:
            raise GraphError(f"{self.name}: an array of shape {entry.shape} that backward needs was changed in place after "
                             "it was used; copy it first, or do the change after backward")
        return entry

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

    def _record(self, inputs, needs):
        self.inputs = inputs
        return super()._record(inputs, needs)

    def backward(self, *gys):
        if not mode.recording:
            return self.fast_backward(*gys)
        if self.inputs is None:
            raise GraphError(f"{self.name}: its inputs were freed by an earlier backward; "
                             "call that one with retain_graph=True to run through the graph twice")
        # Inputs that depend on each other would give total derivatives: differentiate for aliases, one for each input.
        aliases = [Alias()(self._unpack(x)) for x in self.inputs]
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


class Add(Op):
    """z = x + y, with broadcasting."""

    broadcasts = True

    def forward(self, x, y):
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
    """y = x in memory of its own."""

    def forward(self, x):
        return x.copy()

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
