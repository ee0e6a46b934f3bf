"""Pictures, drawings and notebook displays show what the numbers say."""

import io
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import GraphError, MissingDependencyError, ShapeError
from minidl.nn import functional as F
from minidl.study import graph, pictures, record


def drawn(figure) -> bytes:
    """The figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    return file.getvalue()


def images(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


@pytest.fixture
def seen():
    minidl.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)), minidl.randn(2, 1, 4, 4)
    with minidl.use_backend("portable"), record(model) as found:
        F.cross_entropy(model(x), minidl.tensor([0, 1])).backward()
    return found


@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (13, 3, 4, 2), (1, 2, 3, 3)])
def test_filters(shape):
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    figure = pictures.filters(weight)
    assert len(images(figure)) == shape[0]
    for image, kernel in zip(images(figure), weight, strict=True):
        expected = kernel.transpose(1, 2, 0) / np.abs(weight).max() / 2 + 0.5 if shape[1] == 3 else kernel.mean(0)
        assert np.allclose(image, expected)
    drawn(figure)
    drawn(pictures.filters(np.zeros(shape)))


def test_feature_maps_gradients_and_columns(seen):
    maps = pictures.feature_maps(seen[1], 1)
    assert all(np.array_equal(a, b) for a, b in zip(images(maps), minidl.Tensor(seen[1].outputs[0]).numpy()[1], strict=True))
    gradients, expected = pictures.gradient_maps(seen[0]), minidl.Tensor(seen[0].output_gradients[0]).numpy()[0]
    assert all(np.array_equal(a, b) for a, b in zip(images(gradients), expected, strict=True))
    matrix = pictures.columns(seen[0], 1)
    assert np.array_equal(images(matrix)[0], minidl.Tensor(seen[0].columns).numpy()[1])
    for figure in (maps, gradients, matrix, pictures.planes(np.zeros((70, 3, 2)), "many")):
        drawn(figure)
    assert "the first 64" in pictures.planes(np.zeros((70, 3, 2)), "many").get_suptitle()


def test_what_cannot_be_drawn(seen):
    with pytest.raises(ShapeError, match=r"Linear made an array of shape \(2, 2\)"):
        pictures.feature_maps(seen[3])
    with pytest.raises(GraphError, match="Relu has no im2col matrix"):
        pictures.columns(seen[1])
    with record(nn.Identity()) as other:
        F.relu(minidl.ones(1, 1, 2, 2))
    with pytest.raises(GraphError, match="no gradient has come to Relu"):
        pictures.gradient_maps(other[0])


def test_the_graph_names_leaves_and_groups_modules(seen):
    source = graph(seen).source
    assert re.search(r'subgraph "cluster 0" { label="0".*\n\s+op0 \[label="Conv2d"\];', source)
    assert '[label="0.weight", shape=ellipse]' in source and '[label="input", shape=ellipse]' in source
    assert 'op0 -> op1 [label="2x3x2x2"];' in source and "op3 -> op4" in source
    assert source.count("{") == source.count("}")


def test_names_in_graphs_are_quoted():
    x = minidl.ones(2)
    with record(nn.Identity()) as found:
        x * 2
    assert r'[label="a \"b\" &lt;c&gt;", shape=ellipse]' in graph(found, {'a "b" <c>': x}).source


def test_svg_where_graphviz_is_installed(seen, monkeypatch):
    if shutil.which("dot"):
        ElementTree.fromstring(graph(seen).svg())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="install Graphviz"):
        graph(seen).svg()
    assert graph(seen)._repr_mimebundle_() == {"text/plain": graph(seen).source}


def parsed(html: str):
    """HTML that is well-formed as XML too."""
    return ElementTree.fromstring(f"<div>{html.replace(' open>', '>')}</div>")


def test_tensors_in_a_notebook():
    x = minidl.tensor([[1.0, -2.0], [float("nan"), 0.5]], requires_grad=True)
    html = x._repr_html_()
    parsed(html)
    assert "shape (2, 2)" in html and "float32" in html and "requires a gradient" in html and "1 NaN or infinite" in html
    assert [cell.text for cell in parsed(html).iter("td")] == ["1", "-2", "nan", "0.5"]
    big = minidl.randn(30, 20)._repr_html_()
    assert len(list(parsed(big).iter("rect"))) == 24 and len(list(parsed(big).iter("tr"))) == 9
    assert "made by Mul" in (x * 2)._repr_html_()
    for odd in (minidl.zeros(0, 3), minidl.tensor(True), minidl.tensor(3), minidl.zeros(2) / 0, minidl.zeros(2, 3, 4)):
        parsed(odd._repr_html_())


def test_modules_and_records_in_a_notebook(seen):
    html = seen.model._repr_html_()
    parsed(html)
    assert "56 parameters" in html and "weight (3, 1, 3, 3)" in html and "<b>Linear</b>" in html
    table = parsed(seen._repr_html_())
    assert len(list(table.iter("tr"))) == 1 + len(seen)
    assert "conv2d (portable)" in "".join(table.itertext())
