"""The walk: from outputs back to leaves, in falling order of birth.

An op is born when it is applied, after everything it depends on, so births order the graph and no recursion is needed. The
walk first finds the ops behind the outputs, then takes them from the youngest to the oldest: each receives the sum of all
gradients of its outputs, and hands gradients of its inputs on along its edges.
"""

import contextlib
from collections.abc import Sequence
from heapq import heappop, heappush
from operator import attrgetter

from minidl import anomaly
from minidl.errors import GraphError, ShapeError
from minidl.kernels import namespace
from minidl.kernels.half import REAL
from minidl.tensor import Tensor, method, mode, wrap, written


class _Recording(contextlib.ContextDecorator):
    """Set recording on or off for a block or a function, in this thread."""

    value: bool

    def __enter__(self):
        self._before, mode.recording = (*getattr(self, "_before", ()), mode.recording), self.value

    def __exit__(self, *_):
        *self._before, mode.recording = self._before


class no_grad(_Recording):
    """Inside, ops are not recorded and parameters may be changed in place.

    >>> import minidl
    >>> x = minidl.ones(2, requires_grad=True)
    >>> with minidl.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    value = False


class enable_grad(_Recording):
    """Inside, ops are recorded, even within ``no_grad``."""

    value = True


class set_grad_enabled(_Recording):
    """Switch recording on or off: at once as a function, or for a block as a context manager."""

    def __init__(self, enabled: bool):
        self._before = (mode.recording,)
        self.value = mode.recording = bool(enabled)

    def __enter__(self):
        mode.recording = self.value

    def __call__(self, function):
        """As a decorator: nothing is switched now, but during each call."""
        self.__exit__()
        return (enable_grad if self.value else no_grad)()(function)


def is_grad_enabled() -> bool:
    """Whether ops are recorded now."""
    return mode.recording


@method()
def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None) -> None:
    """Add the gradient of this tensor to ``.grad`` of every leaf that it depends on (or only of ``inputs``).

    ``gradient`` is the gradient of some final value with respect to this tensor; it may be left out for a tensor with one
    element, and is then 1. The graph is freed on the way unless ``retain_graph``; with ``create_graph`` the gradients can
    themselves be differentiated.

    Raises GraphError if nothing was recorded or the graph was freed, ShapeError if ``gradient`` does not fit.
    """
    targets = [inputs] if isinstance(inputs, Tensor) else inputs
    found = walk([self], [gradient], targets, retain_graph, create_graph)
    _deposit(found, gradient)


def gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs=None, retain_graph=None,
              create_graph=False) -> list[Tensor | None]:
    """The gradients of the sum of ``outputs`` (weighted by ``grad_outputs``) for each of ``inputs``; None where unused."""
    found = walk(outputs, grad_outputs or [None] * len(outputs), inputs, retain_graph, create_graph)
    return [found.get(tensor) for tensor in inputs]


def walk(outputs, grad_outputs, targets, retain_graph, create_graph) -> dict[Tensor, Tensor]:
    """From leaf or target to its gradient. ``targets`` None means every leaf that is reached."""
    retain_graph = create_graph if retain_graph is None else retain_graph
    leading, accepting = (None, None) if targets is None else _leading_to(targets, outputs)
    watched = {(t.op, t.index): t for t in targets or () if t.op is not None}
    pending = _Pending()
    for output, gradient in zip(outputs, grad_outputs, strict=True):
        pending.add((output.op or output, output.index), _seed(output, gradient))
    found: dict[Tensor, Tensor] = {}
    before = mode.recording, mode.walking, mode.autocast
    mode.recording, mode.walking, mode.autocast = create_graph, True, None  # gradients have the dtypes of forward
    try:
        while pending.queue:
            op, gys = pending.youngest()
            if watched:
                found.update((watched[op, i], gy) for i, gy in enumerate(gys) if (op, i) in watched)
            if leading is None or op in leading:
                if mode.anomaly:
                    anomaly.check_backward(op, gys)
                _step(op, gys, pending, accepting)
            if not retain_graph:
                op.free()
        for (leaf, _), gradient in pending.sums.items():
            if leading is None or leaf in leading:
                found[leaf] = _run_hooks(leaf.hooks, gradient) if leaf.hooks else gradient
    finally:
        mode.recording, mode.walking, mode.autocast = before
    return found


class _Pending:
    """Gradients on their way: the sum so far for each output of an op or leaf, and a queue of ops by birth."""

    __slots__ = ("sums", "queue", "waiting")

    def __init__(self):
        self.sums: dict[tuple, Tensor] = {}  # keyed by edge: (op or leaf, index of its output)
        self.queue: list[int] = []  # negative births, a heap
        self.waiting: dict[int, object] = {}

    def add(self, edge, gradient: Tensor) -> None:
        """Add to what has arrived at an edge; in place where the sum so far is the walk's own."""
        have = self.sums.get(edge)
        if have is None:
            self.sums[edge] = gradient
            target = edge[0]
            birth = -target.birth  # 0 for a leaf
            if birth and birth not in self.waiting:
                self.waiting[birth] = target
                heappush(self.queue, birth)
        elif have.owned:
            have.array += gradient.array
        else:
            self.sums[edge] = total = have + gradient
            total.owned = not mode.recording

    def youngest(self) -> tuple:
        """The youngest op that waits, with the gradients of all its outputs: zeros for float outputs that received nothing."""
        op = self.waiting.pop(heappop(self.queue))
        if len(op.outputs) == 1 and not op.hooks:
            gy = self.sums.pop((op, 0))
            gy.owned = False  # from here on others may hold it
            return op, (gy,)
        gys = [self.sums.pop((op, index), None) for index in range(len(op.outputs))]
        if len(gys) > 1:
            _fill(op, gys)
        if op.hooks:
            for index, hooks in op.hooks.items():
                gys[index] = _run_hooks(hooks, gys[index])
        for gy in gys:
            if gy is not None:
                gy.owned = False
        return op, gys


def _fill(op, gys) -> None:
    xp = namespace(next(gy for gy in gys if gy is not None).array)
    for index, (shape, dtype) in enumerate(op.outputs):
        if gys[index] is None and dtype.kind in REAL:
            gys[index] = wrap(xp.zeros(shape, dtype))


def _ops_behind(outputs) -> list:
    """All ops that the outputs depend on, the oldest first."""
    stack = [output.op for output in outputs if output.op is not None]
    seen = set(stack)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge[0].birth and edge[0] not in seen:
                seen.add(edge[0])
                stack.append(edge[0])
    return sorted(seen, key=attrgetter("birth"))


def _leading_to(targets, outputs) -> tuple[set, set]:
    """What must run to reach the targets (target leaves, ops on a path to one), and that with the ops that made targets."""
    goals = {target.op or target for target in targets}
    leading = {target for target in targets if target.op is None}
    for op in _ops_behind(outputs):
        if any(edge is not None and (edge[0] in leading or edge[0] in goals) for edge in op.edges):
            leading.add(op)
    return leading, leading | goals


def _seed(output: Tensor, gradient) -> Tensor:
    """The gradient that the walk starts from, checked."""
    if not output.tracked:
        raise GraphError("this tensor does not require a gradient: nothing it depends on does, or it was made under no_grad")
    if gradient is None:
        if output.array.size != 1:
            raise ShapeError(f"the gradient can be left out only for one element; this tensor has shape {output.shape}: "
                             "reduce it, as with .sum(), or pass gradient=")
        return wrap(namespace(output.array).ones_like(output.array))
    if gradient.shape != output.shape or gradient.dtype != output.dtype:
        raise ShapeError(f"the gradient must have the shape and dtype of the tensor, {output.shape} {output.dtype}, "
                         f"got {gradient.shape} {gradient.dtype}")
    return gradient


def _run_hooks(hooks, gradient: Tensor) -> Tensor:
    for hook in list(hooks.values()):
        replaced = hook(gradient)
        gradient = gradient if replaced is None else replaced
    return gradient


def _step(op, gys, pending, accepting) -> None:
    """One op's backward, and its gradients handed on (None accepting: to everyone)."""
    gxs = op.backward(gys[0]) if len(gys) == 1 else op.backward(*gys)
    if gxs.__class__ is not tuple:
        gxs = (gxs,)
    if len(gxs) != len(op.edges):
        raise GraphError(f"{op.name}.backward returned {len(gxs)} gradients for {len(op.edges)} inputs")
    for edge, gx in zip(op.edges, gxs):  # noqa: B905  (lengths are checked above; strict= costs time here)
        if edge is None or gx is None:
            continue
        target, index = edge
        if accepting is not None and target not in accepting:
            continue
        shape, dtype = target.outputs[index]
        array = gx.array
        if array.shape != shape or array.dtype is not dtype:
            gx = _fit(op, gx, shape, dtype)
        pending.add(edge, gx)


def _fit(op, gx: Tensor, shape, dtype) -> Tensor:
    """Undo broadcasting, for ops that broadcast; any other misfit is a bug in the op's backward."""
    if gx.dtype == dtype and (op.broadcasts or gx.shape == shape):
        return gx.sum_to_size(shape)
    raise GraphError(f"{op.name}.backward gave a gradient of shape {gx.shape} and dtype {gx.dtype} "
                     f"for an input of shape {shape} and dtype {dtype}")


def _deposit(found, given) -> None:
    """Add gradients to ``.grad``. A buffer that someone else may hold is copied, so that no two gradients share memory."""
    taken = {id(given.array)} if given is not None else set()
    for leaf, gradient in found.items():
        if leaf.grad is None:
            if gradient.array.base is not None or id(gradient.array) in taken:
                gradient = gradient.clone() if gradient.tracked else wrap(gradient.array.copy())
            taken.add(id(gradient.array))
            gradient.owned = False
            leaf.grad = gradient
        elif leaf.grad.tracked or gradient.tracked:
            leaf.grad = leaf.grad + gradient
        else:
            leaf.grad.array += gradient.array
            written(leaf.grad.array)
