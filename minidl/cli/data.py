"""List the data sets that can be downloaded, or get one.

examples:
  minidl data list
  minidl data get mnist
  minidl data get mnist --dir data/mnist
  minidl data get voc2007                     PASCAL VOC, trainval and test
"""

import sys

from minidl.cli.choices import one_of
from minidl.errors import UsageError

ACTIONS = ("list", "get")


def arguments(parser) -> None:
    parser.add_argument("action", metavar="list|get", help="what to do")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the data set to get")
    parser.add_argument("--dir", metavar="DIR", help="where to put it (default: in MINIDL_DATA, or the user's cache folder)")


def run(options) -> None:
    from minidl.data.download import get, list_datasets

    one_of(options.action, ACTIONS, "action")
    sources = list_datasets()
    if options.action == "list":
        print("digits          in the package  1,797 handwritten digits of 8x8 (CC BY 4.0)")
        print("scenes          in the package  coloured shapes with boxes, masks and keypoints, drawn when they are asked for")
        for name, source in sources.items():
            print(f"{name:14}  {source.size / 1e6:11.1f} MB  {source.title} ({source.licence})")
        return
    if options.name is None:
        raise UsageError(f"data get needs a name: {', '.join(sources)}")
    source = sources[one_of(options.name, tuple(sources), "data set")]
    room = ", and room for as much again to unpack it" if source.parts else ""
    print(f"{options.name}: {source.size / 1e6:.1f} MB from {source.mirrors[0]}{room}")
    folder = get(options.name, options.dir, _progress if sys.stdout.isatty() else None)
    print(f"{options.name} is in {folder}")


def _progress(name: str, have: int, size: int) -> None:
    print(f"\r{name}  {have / 1e6:.1f} of {size / 1e6:.1f} MB", end="\n" if have == size else "", flush=True)
