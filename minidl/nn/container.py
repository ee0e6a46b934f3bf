"""Containers: modules in sequence, in a list, in a dict."""

from collections.abc import Iterable, Iterator, Mapping

from minidl.nn.module import Module


class _Ordered(Module):
    """Modules in order; all but those that ``Sequential`` takes with names are called "0", "1", and so on."""

    def append(self, module: Module):
        """Add a module at the end. Returns the container, as ``extend`` and ``insert`` do."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]):
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module):
        """Add a module before the one at ``index``; all modules are numbered anew."""
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take a module out and return it; those left are numbered anew."""
        module = self[index]
        del self[index]
        return module

    def _renumber(self, modules: list[Module]) -> None:
        self._modules.clear()
        self.extend(modules)

    def __len__(self):
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __setitem__(self, index: int, module: Module):
        self.register_module(list(self._modules)[index], module)

    def __delitem__(self, index: int | slice):
        modules = list(self)
        del modules[index]
        self._renumber(modules)


class Sequential(_Ordered):
    """Modules applied one after another; takes modules, or one dict of names to modules. A slice is a Sequential.

    >>> import minidl
    >>> from minidl import nn
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    >>> len(net), net[1].weight.shape, net[:1](minidl.ones(5, 3)).shape
    (2, (2, 4), (5, 4))
    """

    def __init__(self, *modules):
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], Mapping) else enumerate(modules)
        for name, module in named:
            self.register_module(str(name), module)

    def forward(self, input):
        for module in self._modules.values():
            input = module(input)
        return input

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return list(self)[index]


class ModuleList(_Ordered):
    """A list of modules whose parameters belong to the module that holds it. A slice is a ModuleList.

    >>> from minidl import nn
    >>> layers = nn.ModuleList(nn.Linear(n, n + 1, bias=False) for n in (3, 4))
    >>> [p.shape for p in layers.parameters()]
    [(4, 3), (5, 4)]
    """

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)

    def __getitem__(self, index: int | slice) -> Module:
        return ModuleList(list(self)[index]) if isinstance(index, slice) else list(self)[index]


class ModuleDict(Module):
    """A dict of names to modules whose parameters belong to the module that holds it.

    >>> from minidl import nn
    >>> heads = nn.ModuleDict({"boxes": nn.Linear(3, 4)})
    >>> heads["masks"] = nn.Identity()
    >>> list(heads), heads["boxes"].weight.shape
    (['boxes', 'masks'], (4, 3))
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()):
        super().__init__()
        self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules by name."""
        for name, module in dict(modules).items():
            self[name] = module

    def pop(self, name: str) -> Module:
        """Take a module out and return it."""
        return self._modules.pop(name)

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def keys(self):
        """The names."""
        return self._modules.keys()

    def values(self):
        """The modules."""
        return self._modules.values()

    def items(self):
        """Pairs of name and module."""
        return self._modules.items()

    def __len__(self):
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str):
        return name in self._modules

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module):
        self.register_module(name, module)

    def __delitem__(self, name: str):
        del self._modules[name]
