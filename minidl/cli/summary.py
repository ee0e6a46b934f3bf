"""A model layer by layer: output shapes, parameters, multiply-adds, bytes kept for backward, receptive field.

examples:
  minidl summary lenet
  minidl summary lenet --batch 64
"""

from minidl.cli.choices import MODELS, build
from minidl.errors import UsageError

HEADER = ("layer", "type", "output", "parameters", "multiply-adds", "kept bytes", "field")


def arguments(parser) -> None:
    parser.add_argument("model", help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--batch", type=int, default=1, help="images in a batch (default: 1)")


def run(options) -> None:
    from minidl.study import summarize

    if options.batch < 1:
        raise UsageError(f"--batch must be at least 1, got {options.batch}")
    model = build(options.model)
    rows = summarize(model, (options.batch, *model.input_shape))
    table = [(row.name, row.layer, _by(row.output), f"{row.parameters:,}", f"{row.multiply_adds:,}", f"{row.saved_bytes:,}",
              "-" if row.receptive_field is None else _by((row.receptive_field,) * 2)) for row in rows]
    sums = (f"{sum(getattr(row, name) for row in rows):,}" for name in ("parameters", "multiply_adds", "saved_bytes"))
    print_table([HEADER, *table, ("total", "", "", *sums, "")], 3)


def print_table(rows: list[tuple[str, ...]], left: int) -> None:
    """Columns as wide as they must be, the first ``left`` to the left and the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) if place < left else cell.rjust(width)
                 for place, (cell, width) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())


def _by(sizes) -> str:
    return "x".join(map(str, sizes))
