"""A recorded graph as a drawing: Graphviz source, and SVG where Graphviz is installed.

Boxes are ops, grouped by module; ellipses are what no recorded op made: inputs and parameters. Edges carry shapes.
"""

import shutil
import subprocess
from html import escape

from minidl.errors import MissingDependencyError

STYLE = 'node [shape=box, style=rounded, fontname="Helvetica", fontsize=11]; edge [fontname="Helvetica", fontsize=9];'
SECONDS = 30  # the most that drawing may take


class Graph:
    """``source`` is the drawing in Graphviz's language; ``svg()`` draws it, as Jupyter does by itself."""

    def __init__(self, source: str):
        self.source = source

    def svg(self) -> str:
        """The drawing as SVG; raises MissingDependencyError where Graphviz is not installed."""
        dot = shutil.which("dot")
        if dot is None:
            raise MissingDependencyError("drawing needs the program dot: install Graphviz (as `apt install graphviz`), "
                                         "or paste .source into a Graphviz viewer")
        drawn = subprocess.run([dot, "-Tsvg"], input=self.source, capture_output=True, text=True, check=True, timeout=SECONDS)
        return drawn.stdout

    def _repr_mimebundle_(self, include=None, exclude=None):
        shown = {"text/plain": self.source}
        if shutil.which("dot"):
            shown["image/svg+xml"] = self.svg()
        return shown

    def __str__(self):
        return self.source


def graph(seen, names=None) -> Graph:
    """The ops of a record and what flows between them. ``names`` (name -> tensor) label leaves, beside the model's parameters.

    >>> import minidl
    >>> from minidl import nn
    >>> from minidl.study import record
    >>> layer = nn.Linear(3, 2)
    >>> with record(layer) as seen:
    ...     _ = layer(minidl.ones(1, 3))
    >>> print(graph(seen))
    digraph {
      node [shape=box, style=rounded, fontname="Helvetica", fontsize=11]; edge [fontname="Helvetica", fontsize=9];
      op0 [label="Linear"];
      leaf0 [label="input", shape=ellipse];
      leaf1 [label="weight", shape=ellipse];
      leaf2 [label="bias", shape=ellipse];
      leaf0 -> op0 [label="1x3"];
      leaf1 -> op0 [label="2x3"];
      leaf2 -> op0 [label="2"];
    }
    """
    known = {id(p.array): name for name, p in seen.model.named_parameters()} | {
        id(t.array): name for name, t in (names or {}).items()}
    made, leaves, edges = {}, {}, []
    for op in seen:
        for x in op.inputs:
            source = made.get(id(x))
            if source is None:
                source = leaves.setdefault(id(x), (f"leaf{len(leaves)}", known.get(id(x), "input")))[0]
            edges.append(f'  {source} -> op{op.number} [label="{"x".join(map(str, x.shape)) or "scalar"}"];')
        made.update((id(y), f"op{op.number}") for y in op.outputs)
    return Graph("\n".join([
        "digraph {", f"  {STYLE}",
        *_clusters(seen),
        *(f'  {node} [label="{_quoted(name)}", shape=ellipse];' for node, name in leaves.values()), *edges, "}"]))


def _clusters(seen):
    """The ops, those of one module in a frame with its path."""
    for module in dict.fromkeys(op.module for op in seen):
        nodes = [f'op{op.number} [label="{_quoted(op.name)}"];' for op in seen if op.module == module]
        if module:
            yield f'  subgraph "cluster {_quoted(module)}" {{ label="{_quoted(module)}"; color=gray; fontsize=10;'
            yield from (f"    {node}" for node in nodes)
            yield "  }"
        else:
            yield from (f"  {node}" for node in nodes)


def _quoted(text: str) -> str:
    return escape(text, quote=False).replace("\\", "\\\\").replace('"', '\\"')
