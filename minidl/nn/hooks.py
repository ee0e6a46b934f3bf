"""Full backward hooks: a module's inputs, and its outputs, each pass through one node that sees their gradients together."""

from minidl.op import Op
from minidl.tensor import Tensor


class Boundary(Op):
    """y = x for several tensors at once; ``see`` gets their gradients and returns those to hand on."""

    def __init__(self, see):
        self.see = see

    def forward(self, *xs):
        return xs

    def backward(self, *gradients):
        return self.see(gradients)


class BackwardWatch:
    """One call of a module with backward hooks, which run when the gradients of all its inputs are known; or those of its
    outputs, if no input wants one.
    """

    def __init__(self, module, hooks):
        self.module, self.hooks = module, hooks
        self.grad_outputs: tuple = ()

    def enter(self, inputs: tuple) -> tuple:
        """The inputs, behind a boundary."""
        self.count, self.places = len(inputs), _tracked(inputs)
        return _bounded(inputs, self.places, self._run_hooks)

    def leave(self, output):
        """The output, a tensor or a tuple of tensors, behind a boundary. Raises TypeError for anything else."""
        outputs = (output,) if isinstance(output, Tensor) else output
        if not isinstance(outputs, tuple):
            raise TypeError("full backward hooks need a module that returns a tensor or a tuple of tensors; "
                            f"{type(self.module).__name__} returned {type(output).__name__}")
        places = _tracked(outputs)

        def arrived(gradients):
            self.grad_outputs = _spread(gradients, places, len(outputs))
            if not self.places:
                self._run_hooks(())
            return gradients

        passed = _bounded(outputs, places, arrived)
        return passed[0] if outputs is not output else passed

    def _run_hooks(self, gradients):
        grad_inputs = _spread(gradients, self.places, self.count)
        for hook in self.hooks:
            changed = hook(self.module, grad_inputs, self.grad_outputs)
            if changed is not None:
                grad_inputs = (changed,) if isinstance(changed, Tensor) else tuple(changed)
                if len(grad_inputs) != self.count:
                    raise ValueError(f"a backward hook of {type(self.module).__name__} returned {len(grad_inputs)} gradients "
                                     f"for {self.count} inputs")
        self.grad_outputs = ()
        return tuple(grad_inputs[place] for place in self.places)


def _tracked(values: tuple) -> list[int]:
    return [place for place, value in enumerate(values) if isinstance(value, Tensor) and value.tracked]


def _bounded(values: tuple, places: list[int], see) -> tuple:
    """``values``, those at ``places`` passed through one Boundary."""
    if not places:
        return values
    passed = dict(zip(places, Boundary(see)(*[values[place] for place in places]), strict=True))
    behind = [passed.get(place, value) for place, value in enumerate(values)]
    return values._make(behind) if hasattr(values, "_make") else tuple(behind)


def _spread(gradients, places: list[int], count: int) -> tuple:
    """One entry for each of ``count`` values: its gradient, or None."""
    found = dict(zip(places, gradients, strict=True))
    return tuple(found.get(place) for place in range(count))
