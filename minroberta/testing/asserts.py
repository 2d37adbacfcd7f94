"""A test's last line: the candidate matches, or the failure says where it does not."""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

from ..trace import Trace
from .compare import Report, Row, compare
from .diagnose import explain
from .values import Names, Values

expected_precision: ContextVar[str] = ContextVar("expected_precision", default="float32")
"""What a candidate computes in where nobody says it: pytest's marker `roberta_precision` sets it for a test."""


class Mismatch(AssertionError):
    """It does not match: `report` is what `compare` found, `explained()` the same with what `diagnose` did."""

    def __init__(self, report: Report, message: str, explained: Callable[[], Report]) -> None:
        super().__init__(report, message, explained)
        self.report, self.message, self.explained = report, message, explained

    def __str__(self) -> str:
        return self.message


def assert_matches(
    candidate: Values,
    reference: Trace | Values,
    *,
    names: Names | None = None,
    precision: str | None = None,
    report: str | Path | None = None,
) -> Report:
    """Do nothing where the candidate matches, and say where it first differs where it does not.

        assert_matches(record(port, **inputs), trace(model, **inputs))

    candidate, reference, names: as `compare` takes them, the candidate first as in any assertion. precision: what the
    candidate computes in, by default float32, or what the marker `roberta_precision` of pytest's test says. report: a
    file for the HTML page of a mismatch.

    Returns the report. Raises Mismatch, an AssertionError that has it as `report`; InputError as `compare` does.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    found = compare(reference, candidate, names=names, precision=precision or expected_precision.get())
    if found.ok:
        return found
    message = essentials(found, isinstance(reference, Trace))
    explained = functools.partial(explain, found, reference, candidate, names)
    if report is not None:
        explained().save_html(report)
        message += f"\n{'page':<12}{report}"
    raise Mismatch(found, message, explained)


def essentials(report: Report, has_model: bool) -> str:
    """What is wrong first and by how much, what else is, and what to do next; a line each."""
    first = next(row for row in report.rows if not row.ok)
    lines = {
        "first bad": f"{first.name}, {first.verdict}" + (f": {first.note}" if first.note else ""),
        "last good": report.last_good or "none",
        "error": _error(first, report.precision),
        "worst at": _place(first),
        "in all": _counts(report),
        "unavailable": "; ".join(report.unavailable),
        "next": _next(has_model),
    }
    return "\n".join(f"{title:<12}{text}" for title, text in lines.items() if text)


def _error(row: Row, precision: str) -> str:
    """How far it is off; nothing where the numbers are not to be compared one by one."""
    if row.verdict != "wrong":
        return ""
    alone = "" if row.alone is None else f"; this step by itself {row.alone:.3g} times"
    return f"{row.absolute:.3g}, {row.multiple:.3g} times the rounding of {precision} here{alone}"


def _place(row: Row) -> str:
    if row.verdict != "wrong" or not row.place:
        return ""
    place = ", ".join(f"{axis} {index}" for axis, index in row.place.items())
    return f"{place}: {row.candidate:.9g} instead of {row.reference:.9g}"


def _counts(report: Report) -> str:
    bad = sum(not row.ok for row in report.rows)
    follow = sum(row.verdict == "follows" for row in report.rows)
    lacking = f"; {len(report.missing)} more were not given" if report.missing else ""
    return f"{bad} of {len(report.rows)} values are bad, and {follow} off because of them{lacking}"


def _next(has_model: bool) -> str:
    model = "trace.model, trace.inputs" if has_model else "model, inputs"
    return f"minroberta.testing.diagnose({model}, candidate) names the mistake if it is a known one"
