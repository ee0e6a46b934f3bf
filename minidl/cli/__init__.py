"""The command line: ``minidl COMMAND``."""

import argparse
import difflib
import os
import sys

from minidl.cli import (
    compare,
    data,
    detect,
    evaluate,
    experiment,
    gradcheck,
    info,
    look,
    lr_find,
    predict,
    runs,
    summary,
    train,
    transfer,
)
from minidl.device import get_default_device, set_default_device
from minidl.errors import MinidlError

COMMANDS = {"train": train, "transfer": transfer, "eval": evaluate, "predict": predict, "detect": detect, "look": look,
            "summary": summary, "compare": compare, "experiment": experiment, "gradcheck": gradcheck, "lr-find": lr_find,
            "runs": runs, "info": info, "data": data}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns 0, 1 if what was checked failed, 2 for a mistake that the user can mend, 130 for Ctrl-C.

    >>> main(["summary", "--help"])  # doctest: +ELLIPSIS
    usage: minidl summary [-h] ...
    0
    """
    device = get_default_device()
    try:
        options = _options(sys.argv[1:] if arguments is None else arguments)
        code = COMMANDS[options.command].run(options)
        sys.stdout.flush()
        return code or 0
    except SystemExit as end:  # from argparse: --help, --version, or a wrong option
        return end.code or 0
    except MinidlError as error:
        return _fail(str(error))
    except BrokenPipeError:  # `minidl ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    finally:
        set_default_device(device)  # a command may have chosen another


def _options(arguments: list[str]) -> argparse.Namespace:
    """The command and its options; each command has a parser of its own."""
    import minidl

    commands = "\n".join(f"  {name:10} {module.__doc__.splitlines()[0]}" for name, module in COMMANDS.items())
    top = Parser("minidl", "Train and study the networks of a computer-vision lecture.",
                 f"commands:\n{commands}\n\nexamples:\n  minidl train lenet\n  minidl predict digit.png\n  minidl train --help")
    top.add_argument("--version", action="version", version=f"minidl {minidl.__version__}")
    top.add_argument("command", metavar="COMMAND", help="what to do")
    top.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its options")
    found = top.parse_args(arguments)
    if found.command not in COMMANDS:
        top.error(f"unknown command {found.command!r}", tuple(COMMANDS), found.command)
    module = COMMANDS[found.command]
    title, _, examples = module.__doc__.partition("\n\n")
    parser = Parser(f"minidl {found.command}", title, examples)
    module.arguments(parser)
    return parser.parse_args(found.rest, argparse.Namespace(command=found.command))


class Parser(argparse.ArgumentParser):
    """Errors in one line, with a suggestion, and exit code 2."""

    def __init__(self, prog: str, description: str, epilog: str):
        super().__init__(prog=prog, description=description, epilog=epilog, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str, known: tuple[str, ...] = (), word: str | None = None):
        """End with ``message``, and the one of ``known`` words that is next to ``word``."""
        if word is None:
            known = tuple(option for action in self._actions for option in action.option_strings)
            word = next((w.split("=")[0] for w in message.split() if w.startswith("-") and w.split("=")[0] not in known), "")
        close = difflib.get_close_matches(word, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"see `{self.prog} --help`"
        self.exit(2, f"{self.prog}: {message}; {hint}\n")


def _fail(message: str, code: int = 2) -> int:
    print(f"minidl: {message}", file=sys.stderr)
    return code
