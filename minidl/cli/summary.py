"""A model layer by layer: shapes, parameters, multiply-adds, memory, receptive field.

examples:
  minidl summary lenet
  minidl summary lenet --batch 64
"""

from minidl.cli.choices import MODELS, build
from minidl.errors import UsageError

INPUTS = {"lenet": (1, 28, 28)}


def arguments(parser) -> None:
    parser.add_argument("model", help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--batch", type=int, default=1, help="batch size (default 1)")


def run(options) -> None:
    from minidl.study import summarize

    if options.batch < 1:
        raise UsageError(f"--batch must be at least 1, got {options.batch}")
    model = build(options.model)
    rows = summarize(model, (options.batch, *INPUTS[options.model]))
    header = ("layer", "type", "output", "parameters", "multiply-adds", "kept bytes", "field")
    table = [(r.name, r.layer, "x".join(map(str, r.output)), f"{r.parameters:,}", f"{r.multiply_adds:,}", f"{r.saved_bytes:,}",
              "-" if r.receptive_field is None else f"{r.receptive_field}x{r.receptive_field}") for r in rows]
    total = ("total", "", "", *(f"{sum(getattr(r, name) for r in rows):,}"
                                for name in ("parameters", "multiply_adds", "saved_bytes")), "")
    widths = [max(map(len, column)) for column in zip(header, *table, total, strict=True)]
    for row in (header, *table, total):
        cells = [cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())
