"""Module: a tree of layers that owns parameters (learnt) and buffers (kept), with hooks and a state dict."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

from minidl.dtypes import is_floating
from minidl.errors import DtypeError
from minidl.nn.hooks import BackwardWatch
from minidl.nn.state import LoadResult, load_into
from minidl.ops.create import zeros_like
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
    chains: tuple[tuple[str, ...], ...] = ()  # names of children that forward applies one directly after another, for ``fuse``

    def __init__(self):
        tables = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        # _transient: names of buffers that are not part of the state dict
        self.__dict__.update({table: {} for table in tables}, _transient=set(), training=True)

    def forward(self, *args, **kwargs):
        """What the module computes; subclasses write it, users call the module itself."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args, **kwargs):
        if not (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks):
            return self.forward(*args, **kwargs)
        for hook in list(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        watch = BackwardWatch(self, list(self._backward_hooks.values())) if self._backward_hooks else None
        output = self.forward(*(watch.enter(args) if watch else args), **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, args, output)
            output = output if changed is None else changed
        return watch.leave(output) if watch else output

    # Attributes: what is assigned or registered lives in one of three tables

    def __setattr__(self, name, value):
        table = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
        if table:
            if table in self.__dict__:  # the name may have stood for something else
                self._transient.discard(name)
                for place in (self.__dict__, *(self.__dict__[other] for other in _KINDS if other != table)):
                    place.pop(name, None)
            self._register(table, name, value)
            return
        for table in _KINDS:
            if name in self.__dict__.get(table, ()):
                self._register(table, name, value)
                return
        super().__setattr__(name, value)

    def __getattr__(self, name):
        tables = self.__dict__
        for table in _KINDS:
            if name in tables.get(table, ()):
                return tables[table][name]
        hint = "" if "_parameters" in self.__dict__ else " (was super().__init__() called?)"
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}{hint}")

    def __delattr__(self, name):
        for table in _KINDS:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._transient.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self):
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def _register(self, table: str, name: str, value) -> None:
        if table not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        kind, expected = _KINDS[table]
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name!r} must be {expected} or None, got {type(value).__name__}")
        if not name or "." in name:
            raise KeyError(f"a registered name must not be empty or contain a dot, got {name!r}")
        if name not in self.__dict__[table] and hasattr(self, name):
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}: choose another name")
        self.__dict__[table][name] = value

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter; None keeps the name for one that is absent, as a layer without bias."""
        self._register("_parameters", name, parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent=True) -> None:
        """Add a tensor that is kept but not learnt; one that is not ``persistent`` is left out of the state dict."""
        self._register("_buffers", name, tensor)
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: "Module | None") -> None:
        """Add a child module."""
        self._register("_modules", name, module)

    add_module = register_module

    # The tree

    def named_modules(self, memo=None, prefix="", remove_duplicate=True) -> Iterator[tuple[str, "Module"]]:
        """This module and all below it, with dotted names; each once, unless duplicates are wanted."""
        memo = set() if memo is None else memo
        if self not in memo:
            if remove_duplicate:
                memo.add(self)
            yield prefix, self
            for name, module in self._modules.items():
                if module is not None:
                    yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator["Module"]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The modules directly below, with their names, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

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
        """The module at a dotted path; "" is this one. Raises AttributeError if there is none."""
        module = self
        for name in target.split(".") if target else []:
            if module._modules.get(name) is None:
                raise AttributeError(f"{type(module).__name__} has no module {name!r} (looking for {target!r})")
            module = module._modules[name]
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path. Raises AttributeError if there is none."""
        return self._get("_parameters", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path. Raises AttributeError if there is none."""
        return self._get("_buffers", target)

    def _get(self, table: str, target: str):
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if module.__dict__[table].get(name) is None:
            raise AttributeError(f"{type(module).__name__} has no {table[1:-1]} {name!r} (looking for {target!r})")
        return module.__dict__[table][name]

    def apply(self, function: Callable[["Module"], None]) -> "Module":
        """Call ``function`` on every module, children first."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    # Modes, dtypes, devices

    def train(self, mode=True) -> "Module":
        """Switch to training (dropout drops, batch norm measures), for all modules below too."""
        if not isinstance(mode, bool):
            raise TypeError(f"train() switches training on or off and expects a bool, got {type(mode).__name__}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """Switch to evaluation."""
        return self.train(False)

    def fuse(self) -> "Module":
        """Make inference faster, in place, after ``eval()``: batch norms are folded into the convolutions before them and ReLUs
        into their last pass. Both become ``Identity``; the state dict then has the folded weights. What kernels make of the
        weights is kept from call to call; a write that minidl cannot see, as through ``.numpy()``, would leave it as it was.

        It knows Sequential, and modules whose class names in ``chains`` which children its forward applies one directly after
        another. Layers with hooks or with several parents stay as they are. Whoever takes single layers out of a Sequential gets
        fused ones. Raises UsageError if the module or one in it is in training mode.

        >>> from minidl import nn
        >>> nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()).eval().fuse()
        Sequential(
          (0): FusedConv2d(3, 4, kernel_size=(1, 1), stride=(1, 1), relu=True)
          (1): Identity()
          (2): Identity()
        )
        """
        from minidl.nn.fuse import fuse

        return fuse(self)

    def requires_grad_(self, requires_grad=True) -> "Module":
        """Set whether the parameters want gradients."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none=True) -> None:
        """Forget the parameters' gradients, or set them to 0."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else zeros_like(parameter.grad)

    def to(self, *args, dtype=None, device=None) -> "Module":
        """Move or cast all parameters and buffers, as ``Tensor.to``; a dtype applies to floating-point ones only. An optimizer of
        the parameters stays theirs, and its state follows them to another device.

        Raises DtypeError for a dtype that is not floating point.
        """
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            moved = tensor.detach().to(*args, dtype=dtype, device=device)
            if not is_floating(tensor.dtype):
                moved = tensor.detach().to(device=moved.device)
            elif not is_floating(moved.dtype):
                raise DtypeError(f"a module can be cast to floating-point dtypes only, got {moved.dtype}")
            tensor.data = moved
            if tensor.grad is not None:
                tensor.grad = tensor.grad.detach().to(moved)
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

    def bfloat16(self) -> "Module":
        """All floating-point parameters and buffers as bfloat16, which needs the package ml_dtypes."""
        return self.to("bfloat16")

    def cpu(self) -> "Module":
        """All parameters and buffers on the CPU."""
        return self.to("cpu")

    def cuda(self, device="cuda") -> "Module":
        """All parameters and buffers on a GPU, given by its number or name; on the current one unless told otherwise."""
        return self.to(device=device)

    # Hooks

    def register_forward_pre_hook(self, hook) -> HookHandle:
        """Call ``hook(module, inputs)`` before forward; what it returns, if anything, replaces the inputs."""
        return HookHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook) -> HookHandle:
        """Call ``hook(module, inputs, output)`` after forward; what it returns, if anything, replaces the output."""
        return HookHandle(self._forward_hooks, hook)

    def register_full_backward_hook(self, hook) -> HookHandle:
        """Call ``hook(module, grad_inputs, grad_outputs)`` when the gradients of all positional inputs are known.

        Both are tuples with one entry for each input or output, None where it wants no gradient. If no input wants one, the
        hook is called when the gradients of the outputs are known. What it returns, if anything, replaces ``grad_inputs``.
        """
        return HookHandle(self._backward_hooks, hook)

    # State

    def state_dict(self, prefix="") -> "OrderedDict[str, Tensor]":
        """All parameters and persistent buffers by dotted name, detached, sharing memory with the module.

        What is shared between modules appears under each of its names.
        """
        state = OrderedDict()
        for path, module in self.named_modules(remove_duplicate=False):
            start = f"{prefix}{path}." if path else prefix
            for name, value in itertools.chain(module._parameters.items(), module._buffers.items()):
                if value is not None and name not in module._transient:
                    state[start + name] = value.detach()
        return state

    def load_state_dict(self, state_dict: Mapping, strict=True) -> LoadResult:
        """Copy tensors or NumPy arrays into parameters and buffers of the same names and shapes.

        Everything is checked before anything is written. Raises CheckpointError that lists all missing, unexpected and
        misshapen names; without ``strict`` only misshapen ones are an error. Returns what was missing and unexpected.
        """
        return load_into(self.state_dict(), state_dict, strict, type(self).__name__)

    # Display

    def extra_repr(self) -> str:
        """What a subclass wants to show of itself."""
        return ""

    def __repr__(self):
        extra = self.extra_repr()
        children = [f"({name}): {module!r}" for name, module in self._modules.items()]
        if not children and "\n" not in extra:
            return f"{type(self).__name__}({extra})"
        body = "\n".join(([extra] if extra else []) + children).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"

    def _repr_html_(self) -> str:
        from minidl.study.display import module_html

        return module_html(self)


_KINDS = {"_parameters": (Parameter, "an nn.Parameter"), "_buffers": (Tensor, "a Tensor"), "_modules": (Module, "an nn.Module")}
