"""List the runs in a folder, or lay two or more over each other.

examples:
  minidl runs                                  what is in runs/
  minidl runs runs/mnist-1 runs/mnist-2        what differs, and their curves in one picture
"""

from pathlib import Path

from minidl.errors import MinidlError, UsageError

HEADER = ("run", "model", "data", "epochs", "last score", "best", "seconds")


def arguments(parser) -> None:
    parser.add_argument("paths", nargs="*", metavar="RUN", help="run folders to compare (default: list those in --folder)")
    parser.add_argument("--folder", default="runs", help="where runs lie (default: runs)")
    parser.add_argument("--out", metavar="PNG", default="runs.png", help="the picture of a comparison (default: runs.png)")


def run(options) -> None:
    from minidl.cli.summary import print_table
    from minidl.train import RunFolder

    if options.paths:
        _compare([RunFolder(path).open() for path in options.paths], options.out)
        return
    found = sorted(path.parent for path in Path(options.folder).glob("*/config.json"))
    if not found:
        raise UsageError(f"there are no runs in {options.folder}: `minidl train lenet` makes one")
    rows = []
    for path in found:
        try:
            rows.append(_row(RunFolder(path).open()))
        except MinidlError as error:
            rows.append((str(path), f"cannot be read: {error}", *[""] * (len(HEADER) - 2)))
    print_table([HEADER, *rows], 3)


def _row(folder) -> tuple[str, ...]:
    """A run in the table; the score of a classifier is its accuracy, that of a detector its mAP@0.5."""
    from minidl.train.run import score

    config, history = folder.config, folder.metrics()
    scores = [100 * value for row in history if (value := score(row)) is not None]
    return (str(folder.path), str(config.get("model")), str(config.get("data")), f"{len(history)}/{config.get('epochs')}",
            f"{scores[-1]:.2f} %" if scores else "-", f"{max(scores):.2f} %" if scores else "-",
            f"{sum(row['seconds'] for row in history):.1f}")


def _compare(folders, out) -> None:
    from minidl.cli.results import save_figure
    from minidl.cli.summary import print_table
    from minidl.train.plots import overlay

    if not Path(out).parent.is_dir():
        raise UsageError(f"--out: there is no folder {Path(out).parent}")
    histories = {str(folder.path): folder.metrics() for folder in folders}
    empty = [path for path, history in histories.items() if not history]
    if empty:
        raise UsageError(f"{empty[0]} has no finished epoch yet: there is no curve to draw")
    configs = [folder.config for folder in folders]
    print_table([HEADER, *map(_row, folders)], 3)
    names = sorted({name for config in configs for name in config} - {"classes"})  # which may be a thousand
    differing = [name for name in names if len({repr(config.get(name)) for config in configs}) > 1]
    if differing:
        print()
        print_table([("differs", *(str(folder.path) for folder in folders)),
                     *((name, *(str(config.get(name, "-")) for config in configs)) for name in differing)], 1 + len(folders))
    save_figure(overlay(histories), out)
    print(f"\ncurves are in {out}")
