"""What a gradient check found."""

from dataclasses import dataclass, field
from typing import NamedTuple

from minidl.errors import MinidlError

SHOWN = 10  # wrong entries printed in full


class GradcheckError(MinidlError, AssertionError):
    """An analytic gradient differs from the numeric one. ``report`` holds all that was found."""

    def __init__(self, report: "Report"):
        super().__init__(str(report))
        self.report = report


class Entry(NamedTuple):
    """One element of a Jacobian: d output[output_element] / d input[input_element]. ``input_element`` None stands for several
    elements of all inputs, moved together.
    """

    input: int | None
    input_element: tuple[int, ...] | None
    output: int
    output_element: tuple[int, ...]
    analytic: float
    numeric: float

    def __str__(self):
        at = "tied elements moved together" if self.input is None else f"input {self.input}{_brackets(self.input_element)}"
        return (f"d output {self.output}{_brackets(self.output_element)} / d {at}: "
                f"analytic {self.analytic:.8g}, numeric {self.numeric:.8g}")


@dataclass
class Report:
    """The result of a gradient check: true if it passed.

    ``failures`` are wrong entries of the Jacobian, ``kinks`` the (input, element) pairs where the function has no derivative
    (there the analytic value need only lie between the slopes to both sides), ``problems`` faults of another kind, as gradients
    of the wrong shape, or results that change from call to call.
    """

    shapes: list[tuple[int, ...]]
    checked: int = 0
    largest_error: float = 0.0
    failures: list[Entry] = field(default_factory=list)
    kinks: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures and not self.problems

    def __bool__(self):
        return self.passed

    def __str__(self):
        lines = [f"{'passed' if self.passed else 'FAILED'}: {self.checked} derivatives checked, {len(self.failures)} wrong, "
                 f"largest error {self.largest_error:.2g}", *self.problems]
        lines += [f"  {entry}" for entry in self.failures[:SHOWN]]
        if len(self.failures) > SHOWN:
            lines.append(f"  ... and {len(self.failures) - SHOWN} more")
        if self.kinks:
            places = ", ".join(f"input {i}{_brackets(at)}" for i, at in self.kinks[:SHOWN])
            lines.append(f"  kinks, where no derivative exists: {places}{' ...' if len(self.kinks) > SHOWN else ''}")
        return "\n".join(lines)


def _brackets(element) -> str:
    return f"[{', '.join(map(str, element))}]" if element else ""
