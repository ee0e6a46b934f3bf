"""``minidl gradcheck``: tables, exit codes, mistakes."""

import pytest

from minidl.cli import main

SOURCE = """
import minidl
from minidl import nn
from minidl.op import Op

def swish(x):
    return x * x.sigmoid()

class HalfSquare(Op):
    def forward(self, x):
        self.save(x)
        return x**2
    def backward(self, gy):
        (x,) = self.saved
        return gy * x

def half(x, y):
    return HalfSquare()(x) * y

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
    def forward(self, x):
        return self.linear(x).relu()

layer = Layer()
three = 3
"""


@pytest.fixture
def target(tmp_path):
    (tmp_path / "layers.py").write_text(SOURCE)
    return lambda name: f"{tmp_path / 'layers.py'}:{name}"


def run(capsys, *arguments):
    code = main(["gradcheck", *arguments])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("options", [[], ["--fast"], ["--second"], ["--fast", "--second"]])
def test_a_right_gradient(target, capsys, options):
    code, out, err = run(capsys, target("swish"), "--shapes", "2,3", *options)
    assert code == 0 and not err and out.count("passed:") == (2 if "--second" in options else 1)
    assert ["x0", "2x3", "0", "0"] in [line.split() for line in out.splitlines()]


@pytest.mark.parametrize("options", [[], ["--fast"]])
def test_a_wrong_gradient(target, capsys, options):
    code, out, err = run(capsys, target("half"), "--shapes", "2,3", "3", *options)
    assert code == 1 and not err and "FAILED" in out
    assert "d input 0[" in out and "d input 1" not in out


@pytest.mark.parametrize("name", ["Layer", "layer"])
def test_a_module_with_its_parameters(target, capsys, name):
    code, out, _ = run(capsys, target(name), "--shapes", "4,3")
    assert code == 0 and "linear.weight  2x3" in out and "linear.bias" in out


@pytest.mark.parametrize("name, shapes, message", [
    ("swich", ["2"], "did you mean swish?"), ("three", ["2"], "not a function or module"),
    ("swish", ["2,a"], "a shape is numbers"), ("Layer", ["4,5"], "ShapeError: linear needs input"), ("half", ["2"], "TypeError"),
    ("not a name", ["2"], "expected FILE.py:NAME")])
def test_mistakes(target, capsys, name, shapes, message):
    code, out, err = run(capsys, target(name), "--shapes", *shapes)
    assert code == 2 and not out and message in err and "Traceback" not in err


def test_files_that_cannot_be_run(tmp_path, capsys):
    (tmp_path / "broken.py").write_text("1 / 0")
    assert "cannot be run: ZeroDivisionError" in run(capsys, f"{tmp_path / 'broken.py'}:f", "--shapes", "1")[2]
    assert "there is no file" in run(capsys, f"{tmp_path / 'none.py'}:f", "--shapes", "1")[2]
    (tmp_path / "text.txt").write_text("x")
    assert "not a Python file" in run(capsys, f"{tmp_path / 'text.txt'}:f", "--shapes", "1")[2]
    assert run(capsys, f"{tmp_path / 'broken.py'}:f", "--shapes", "1", "--eps", "0")[0] == 2
