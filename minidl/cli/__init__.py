"""The command line: ``minidl train|eval|predict|summary|info|data``."""

import argparse
import difflib
import sys

from minidl.cli import data, evaluate, info, predict, summary, train
from minidl.errors import MinidlError

COMMANDS = {"train": train, "eval": evaluate, "predict": predict, "summary": summary, "info": info, "data": data}


class Parser(argparse.ArgumentParser):
    """Errors in one line, with a suggestion, and exit code 2."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message):
        known = [option for action in self._actions for option in action.option_strings]
        wrong = next((word for word in message.split() if word.startswith("--") and word.split("=")[0] not in known), None)
        close = difflib.get_close_matches(wrong, known, 1) if wrong else []
        hint = f"; did you mean {close[0]}?" if close else f" (see `{self.prog} --help`)"
        self.exit(2, f"{self.prog}: {message}{hint}\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = Parser(prog="minidl", description="Train and study the networks of a computer-vision lecture.",
                 epilog="examples:\n  minidl train lenet --data digits\n  minidl predict digit.png\n  minidl COMMAND --help")
    import minidl

    top.add_argument("--version", action="version", version=f"minidl {minidl.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name, module in COMMANDS.items():
        lines = module.__doc__.strip().splitlines()
        sub = commands.add_parser(name, help=lines[0].rstrip("."), description=lines[0], epilog="\n".join(lines[1:]).strip())
        module.arguments(sub)
        sub.set_defaults(run=module.run, parser=sub)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns 0, 2 for a mistake that the user can mend, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    word = next((a for a in arguments if not a.startswith("-")), None)
    if word is not None and word not in COMMANDS and not {"-h", "--help", "--version"} & set(arguments[: arguments.index(word)]):
        close = difflib.get_close_matches(word, COMMANDS, 1)
        print(f"minidl: unknown command {word!r}" + (f"; did you mean {close[0]}?" if close else
                                                    f": choose from {', '.join(COMMANDS)}"), file=sys.stderr)
        return 2
    try:
        options, unknown = parser().parse_known_args(arguments)
        if unknown:
            options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        options.run(options)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except MinidlError as error:
        print(f"minidl {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"minidl {options.command}: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the last checkpoint is intact", file=sys.stderr)
        return 130
    return 0
