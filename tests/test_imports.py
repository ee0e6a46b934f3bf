"""The floors: imports only go down, never in circles, and `import minidl` loads NumPy alone."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"kernels": 0, "minidl": 1, "models": 2, "cli": 3}


def modules() -> dict[str, Path]:
    """Every module by its installed name."""
    found = {}
    for top in ("minidl", "kernels", "models"):
        for path in (ROOT / top).rglob("*.py"):
            if top == "minidl" and path.relative_to(ROOT / top).parts[0] in ("kernels", "models"):
                continue  # the links
            parts = list(path.relative_to(ROOT).with_suffix("").parts)
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join(parts if top == "minidl" else ["minidl", *parts])] = path
    return found


MODULES = modules()


def floor(name: str) -> int:
    parts = name.replace("__main__", "cli").split(".")
    return FLOORS[parts[1]] if len(parts) > 1 and parts[1] in FLOORS else FLOORS["minidl"]


def imports(name: str, path: Path, top_level_only: bool):
    """(imported module, line) for each import statement; relative ones resolved."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
             for n in ast.walk(f)}
    for node in ast.walk(tree):
        if top_level_only and id(node) in inner:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in MODULES else node.module), node.lineno


def test_imports_go_down():
    wrong = [f"{path}:{line} imports {target}" for name, path in MODULES.items()
             for target, line in imports(name, path, top_level_only=False)
             if target.split(".")[0] == "minidl" and name != "minidl" and target != "minidl" and floor(target) > floor(name)]
    bare = [f"{path}:{line} imports {target} bare" for name, path in MODULES.items()
            for target, line in imports(name, path, top_level_only=False) if target.split(".")[0] in ("kernels", "models")]
    assert not wrong and not bare


def test_no_cycles():
    edges = {name: {t for t, _ in imports(name, path, top_level_only=True) if t in MODULES and t != name}
             for name, path in MODULES.items()}
    for name in edges:  # a package's gathering __init__ may import its own parts
        edges[name] = {t for t in edges[name] if not name.startswith(t + ".")}
    done: set[str] = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path[path.index(name):], name])
        if name not in done:
            for target in edges[name]:
                visit(target, [*path, name])
            done.add(name)

    for name in edges:
        visit(name, [])


def run(code: str, cwd: Path = ROOT) -> str:
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)
    return result.stdout + result.stderr


def test_import_loads_numpy_alone():
    loaded = run("import sys, numpy; before = set(sys.modules); import minidl\n"
                 "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
                 "print(sorted(new))")
    assert loaded.strip() == "['minidl']"


@pytest.mark.parametrize("floor", ["kernels", "models"])
def test_bare_import_is_refused(floor):
    assert f"minidl.{floor}" in run(f"import {floor}").splitlines()[-1]


def test_works_where_links_did_not_survive(tmp_path):
    """A ZIP of the tree turns the links into small text files."""
    archive = tmp_path / "tree.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for top in ("minidl", "kernels", "models"):
            for path in (ROOT / top).rglob("*"):
                parts = path.relative_to(ROOT).parts
                if path.is_file() and parts[:2] not in (("minidl", "kernels"), ("minidl", "models")):
                    zipped.write(path, path.relative_to(ROOT))
        zipped.writestr("minidl/kernels", "../kernels")
        zipped.writestr("minidl/models", "../models")
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(tmp_path)
    out = run("import minidl, minidl.models; from minidl import kernels; print(minidl.ones(2).sum().item(), kernels.__name__)",
              cwd=tmp_path)
    assert out.strip() == "2.0 minidl.kernels"


def test_every_op_is_listed():
    from minidl import ops

    public = {name for name, value in vars(ops).items() if callable(value) and not name.startswith("_")}
    assert set(ops.__all__) == public and len(ops.__all__) == len(public)
