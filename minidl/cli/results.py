"""Pictures and numbers that commands leave, each file written whole."""

import json
from pathlib import Path


def save_figure(figure, path) -> None:
    """A figure as a PNG file."""
    from minidl.io import atomic_write

    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def save_results(folder, name: str, figure, results: dict, **more) -> None:
    """``NAME.png`` and ``NAME.json``, with the command and all versions, in a folder, which is made if need be; says where."""
    from minidl.io import write_text
    from minidl.train.versions import command, versions

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_figure(figure, folder / f"{name}.png")
    record = {"command": command(), "versions": versions(), **more, "results": results}
    write_text(folder / f"{name}.json", json.dumps(record, indent=1) + "\n")
    print(f"picture and numbers are in {folder}/{name}.png and .json")
