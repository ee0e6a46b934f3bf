"""Module: a tree of layers that owns parameters (learnt) and buffers (kept), with hooks and a state dict."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np

from minidl.dtypes import is_floating
from minidl.errors import CheckpointError
from minidl.tape import no_grad
from minidl.tensor import HookHandle, Tensor


class Parameter(Tensor):
    """A tensor that a module learns: assigned to an attribute of a Module, it is registered there.

    >>> import minidl
    >>> Parameter(minidl.zeros(2)).requires_grad
    True
    """

    def __init__(self, data: Tensor, requires_grad=True):
        super().__init__(data.array if isinstance(data, Tensor) else data, requires_grad)

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"


class Module:
    """Base of all layers and models. Assign parameters and modules as attributes in ``__init__``, compute in ``forward``.

    >>> import minidl
    >>> from minidl import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weight = nn.Parameter(minidl.ones(1))
    ...     def forward(self, x):
    ...         return x * self.weight
    >>> [name for name, _ in Scale().named_parameters()]
    ['weight']
    """

    training: bool

    def __init__(self):
        set_ = super().__setattr__
        set_("training", True)
        for table in ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            set_(table, {})
        set_("_transient", set())  # names of buffers that are not part of the state dict

    def forward(self, *args, **kwargs):
        """What the module computes; subclasses write it, users call the module itself."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args, **kwargs):
        if not (self._forward_pre_hooks or self._forward_hooks or self._backward_hooks):
            return self.forward(*args, **kwargs)
        for hook in list(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, args, output)
            output = output if changed is None else changed
        for hook in list(self._backward_hooks.values()):
            self._watch_backward(hook, args, output)
        return output

    # Attributes

    def __setattr__(self, name, value):
        tables = self.__dict__
        if "_parameters" not in tables:
            if isinstance(value, (Parameter, Module)):
                raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
            super().__setattr__(name, value)
            return
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self.register_module(name, value)
        elif name in self._parameters:
            if value is not None:
                raise TypeError(f"{name!r} is a parameter: assign an nn.Parameter or None, got {type(value).__name__}")
            self._parameters[name] = None
        elif name in self._modules:
            if value is not None:
                raise TypeError(f"{name!r} is a module: assign an nn.Module or None, got {type(value).__name__}")
            self._modules[name] = None
        elif name in self._buffers:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"{name!r} is a buffer: assign a Tensor or None, got {type(value).__name__}")
            self._buffers[name] = value
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name):
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        hint = "" if "_parameters" in self.__dict__ else " (was super().__init__() called?)"
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}{hint}")

    def __delattr__(self, name):
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                return
        super().__delattr__(name)

    def __dir__(self):
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def _register(self, table: str, name: str, value) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        if not name or "." in name:
            raise KeyError(f"a registered name must not be empty or contain a dot, got {name!r}")
        for other in ("_parameters", "_buffers", "_modules"):
            if other != table:
                self.__dict__[other].pop(name, None)
        self.__dict__.pop(name, None)
        self.__dict__[table][name] = value

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter; None keeps the name for one that is absent, as a layer without bias."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(f"a parameter must be an nn.Parameter or None, got {type(parameter).__name__}")
        self._register("_parameters", name, parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent=True) -> None:
        """Add a tensor that is kept but not learnt; one that is not ``persistent`` is left out of the state dict."""
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"a buffer must be a Tensor or None, got {type(tensor).__name__}")
        self._register("_buffers", name, tensor)
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: "Module | None") -> None:
        """Add a child module."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"a child must be an nn.Module or None, got {type(module).__name__}")
        self._register("_modules", name, module)

    add_module = register_module

    # The tree

    def named_modules(self, memo=None, prefix="") -> Iterator[tuple[str, "Module"]]:
        """This module and all below it, each once, with dotted names."""
        memo = set() if memo is None else memo
        if self not in memo:
            memo.add(self)
            yield prefix, self
            for name, module in self.named_children():
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator["Module"]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The modules directly below, with their names."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator["Module"]:
        """The modules directly below."""
        return (module for _, module in self.named_children())

    def _named(self, table: str, prefix: str, recurse: bool):
        seen = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name, value in module.__dict__[table].items():
                if value is not None and value not in seen:
                    seen.add(value)
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix="", recurse=True) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names, each once even if shared."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse=True) -> Iterator[Parameter]:
        """All parameters."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix="", recurse=True) -> Iterator[tuple[str, Tensor]]:
        """All buffers with dotted names."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse=True) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> "Module":
        """The module at a dotted path; "" is this one."""
        module = self
        for name in target.split(".") if target else []:
            if module._modules.get(name) is None:
                raise AttributeError(f"{type(module).__name__} has no module {name!r} (looking for {target!r})")
            module = module._modules[name]
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"there is no parameter {target!r}")
        return found

    def apply(self, function: Callable[["Module"], None]) -> "Module":
        """Call ``function`` on every module, children first."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    # Modes, dtypes, devices

    def train(self, mode=True) -> "Module":
        """Switch to training (dropout drops, batch norm measures), for all modules below too."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> "Module":
        """Switch to evaluation."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True) -> "Module":
        """Set whether the parameters want gradients."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none=True) -> None:
        """Forget the parameters' gradients, or set them to 0."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else parameter.grad.detach() * 0

    def to(self, *args, dtype=None, device=None) -> "Module":
        """Move or cast all parameters and buffers, as ``Tensor.to``; a dtype applies to floating-point ones only."""
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            moved = tensor.detach().to(*args, dtype=dtype, device=device)
            if moved.dtype == tensor.dtype or is_floating(tensor.dtype):
                tensor.data = moved
            else:
                tensor.data = moved.to(tensor.dtype)
            if tensor.grad is not None:
                tensor.grad = tensor.grad.to(tensor.dtype).to(tensor.device)
        return self

    def float(self) -> "Module":
        """All floating-point parameters and buffers as float32."""
        return self.to("float32")

    def double(self) -> "Module":
        """All floating-point parameters and buffers as float64."""
        return self.to("float64")

    def half(self) -> "Module":
        """All floating-point parameters and buffers as float16."""
        return self.to("float16")

    def cpu(self) -> "Module":
        """All parameters and buffers on the CPU."""
        return self.to("cpu")

    def cuda(self) -> "Module":
        """All parameters and buffers on the GPU."""
        return self.to("cuda")

    # Hooks

    def register_forward_pre_hook(self, hook) -> HookHandle:
        """Call ``hook(module, inputs)`` before forward; what it returns, if anything, replaces the inputs."""
        return _hooked(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook) -> HookHandle:
        """Call ``hook(module, inputs, output)`` after forward; what it returns, if anything, replaces the output."""
        return _hooked(self._forward_hooks, hook)

    def register_full_backward_hook(self, hook) -> HookHandle:
        """Call ``hook(module, grad_inputs, grad_outputs)`` when gradients for the first tensor input have been computed.

        Both are tuples with one entry for each input or output; only the first input's gradient is given. What the hook
        returns, if anything, replaces that gradient.
        """
        return _hooked(self._backward_hooks, hook)

    def _watch_backward(self, hook, inputs, output) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        arrived = [None] * len(outputs)

        def remember(gradient, place):
            arrived[place] = gradient

        for place, y in enumerate(outputs):
            if isinstance(y, Tensor) and y.tracked:
                y.register_hook(lambda g, place=place: remember(g, place))
        x = next((x for x in inputs if isinstance(x, Tensor) and x.tracked), None)
        if x is None:
            return

        def call(gradient):
            changed = hook(self, (gradient,), tuple(arrived))
            return changed[0] if isinstance(changed, tuple) else changed

        x.register_hook(call)

    # State

    def state_dict(self, prefix="") -> "OrderedDict[str, Tensor]":
        """All parameters and persistent buffers by dotted name, detached, sharing memory with the module."""
        state = OrderedDict()
        for path, module in self.named_modules():
            start = f"{prefix}{path}." if path else prefix
            for name, value in itertools.chain(module._parameters.items(), module._buffers.items()):
                if value is not None and name not in module._transient:
                    state[start + name] = value.detach()
        return state

    def load_state_dict(self, state_dict, strict=True) -> tuple[list[str], list[str]]:
        """Copy tensors or NumPy arrays into parameters and buffers of the same names and shapes.

        Everything is checked before anything is written. Raises CheckpointError that lists all missing, unexpected and
        misshapen names; without ``strict`` only misshapen ones are an error. Returns (missing, unexpected).
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        misshapen = [f"{name}: expected {own[name].shape}, got {tuple(np.shape(state_dict[name]))}" for name in own
                     if name in state_dict and tuple(state_dict[name].shape) != own[name].shape]
        if misshapen or (strict and (missing or unexpected)):
            lists = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
            found = "".join(f"\n  {kind}: {', '.join(names)}" for kind, names in lists.items() if names)
            raise CheckpointError(f"this state does not fit {type(self).__name__}:{found}")
        with no_grad():
            for name, tensor in own.items():
                if name in state_dict:
                    tensor.copy_(state_dict[name])
        return missing, unexpected

    # Display

    def extra_repr(self) -> str:
        """What a subclass wants to show of itself."""
        return ""

    def __repr__(self):
        lines = [f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join(([extra] if extra else []) + lines)
        return f"{type(self).__name__}(\n  {body}\n)"


def _hooked(table: dict, hook) -> HookHandle:
    handle = HookHandle(table)
    table[handle] = hook
    return handle
