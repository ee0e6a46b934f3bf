"""Check the gradients of your own function or layer against differences.

NAME is a function of tensors, a module, or a class of modules that needs no arguments. Its inputs are drawn at random in
float64, in the shapes given; the parameters of a module are checked as well.

examples:
  minidl gradcheck layers.py:swish --shapes 2,3
  minidl gradcheck layers.py:Attention --shapes 2,5,8 2,5,8 --second
  minidl gradcheck layers.py:Conv --shapes 64,3,32,32 --fast      large inputs: random products
"""

import importlib.util
import sys
from pathlib import Path

from minidl.cli.choices import one_of
from minidl.cli.summary import print_table
from minidl.errors import UsageError

HEADER = ("input", "shape", "wrong", "kinks")


def arguments(parser) -> None:
    parser.add_argument("target", metavar="FILE.py:NAME", help="the file and the name in it")
    parser.add_argument("--shapes", nargs="+", required=True, metavar="N,M,...", help="the shape of each input; () for a number")
    parser.add_argument("--eps", type=float, default=1e-6, help="step of the differences (default: 1e-6)")
    parser.add_argument("--atol", type=float, default=1e-5, help="error allowed, absolute (default: 1e-5)")
    parser.add_argument("--rtol", type=float, default=1e-3, help="error allowed, relative (default: 1e-3)")
    parser.add_argument("--fast", action="store_true", help="compare random products with the Jacobian, not every entry")
    parser.add_argument("--second", action="store_true", help="check second derivatives too")
    parser.add_argument("--seed", type=int, default=0, help="decides the inputs (default: 0)")


def run(options) -> int:
    import minidl
    from minidl import nn
    from minidl.testing import examine
    from minidl.testing.gradcheck import gradient_of

    if min(options.eps, options.atol, options.rtol) < 0 or options.eps == 0:
        raise UsageError("--eps must be above 0, --atol and --rtol not below 0")
    shapes = [_shape(text) for text in options.shapes]
    minidl.manual_seed(options.seed)
    target = _load(options.target)
    names = [f"x{i}" for i in range(len(shapes))]
    inputs = [minidl.randn(*shape, dtype=minidl.float64, requires_grad=True) for shape in shapes]
    function = target
    if isinstance(target, nn.Module):
        target.to(minidl.float64)
        names += [name for name, _ in target.named_parameters()]
        inputs += [p for _, p in target.named_parameters()]
        function = lambda *values: target(*values[: len(shapes)])  # noqa: E731  (the rest are its parameters)
    settings = dict(eps=options.eps, atol=options.atol, rtol=options.rtol, fast_mode=options.fast)
    try:
        reports = {"first derivatives": examine(function, inputs, **settings)}
        if options.second:
            gradient, points = gradient_of(function, inputs)
            reports["second derivatives"] = examine(gradient, points, **settings)
    except Exception as error:
        raise UsageError(f"{options.target} failed on inputs of shapes {', '.join(map(str, shapes))}: "
                         f"{type(error).__name__}: {error}") from None
    for title, report in reports.items():
        _print(title, report, names)
    return 0 if all(reports.values()) else 1


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.strip("()").split(",") if part)
    except ValueError:
        shape = (-1,)
    if any(n < 0 for n in shape):
        raise UsageError(f"a shape is numbers with commas, as 2,3, got {text!r}")
    return shape


def _load(target: str):
    """The function or module that FILE.py:NAME names; the file is run."""
    from minidl import nn

    path, _, name = target.rpartition(":")
    if not path or not name.isidentifier():
        raise UsageError(f"expected FILE.py:NAME, got {target!r}")
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path!r}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None:
        raise UsageError(f"{path!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(Path(path).parent))  # the file's neighbours, as when it is run
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be run: {type(error).__name__}: {error}") from None
    finally:
        sys.path.pop(0)
    found = getattr(module, one_of(name, [n for n in vars(module) if not n.startswith("_")], f"name in {path}:"))
    if isinstance(found, type) and issubclass(found, nn.Module):
        found = found()
    if not callable(found):
        raise UsageError(f"{name} in {path} is a {type(found).__name__}, not a function or module")
    return found


def _print(title: str, report, names: list[str]) -> None:
    names = names + [f"dy{i}" for i in range(len(report.shapes) - len(names))]
    rows = [HEADER] + [(name, "x".join(map(str, shape)) or "scalar", str(sum(e.input == i for e in report.failures)),
                        str(sum(at == i for at, _ in report.kinks))) for i, (name, shape) in enumerate(zip(names, report.shapes,
                                                                                                       strict=True))]
    print(f"{title}:")
    print_table(rows, 2)
    print(report)
