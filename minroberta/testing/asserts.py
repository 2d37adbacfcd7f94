"""An assertion for tests: if a candidate does not match the reference, the failure says where."""

import functools
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..trace import Trace
from .compare import compare
from .diagnose import explain
from .diagnose_gradients import explain_gradients
from .gradients import Gradients
from .report import Report
from .sentences import headline, in_brief
from .values import Names, Values

expected_precision: ContextVar[str] = ContextVar("expected_precision", default="float32")
"""The default `precision`. pytest's marker `roberta_precision` sets it for a test."""


class Mismatch(AssertionError):
    """Failure of `assert_matches`.

    `report` is the report of `compare`; `explained()` returns it with the findings of `diagnose` added.
    """

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
    packed: Any = None,
    report: str | Path | None = None,
) -> Report:
    """Assert that the candidate matches the reference; the failure says where it first differs.

        assert_matches(record(port, **inputs), trace(model, **inputs))

    candidate, reference, names, packed: as for `compare`, but with the candidate first, as usual in assertions.
    precision: the dtype that the candidate computes in; by default, the one that pytest's marker `roberta_precision`
    sets, or float32 without the marker. report: path of an HTML page, which is written if the candidate does not match.

    Returns the report. Warns if a value is suspicious: it is within the bound, so it may be right, but right ports are
    closer. Raises Mismatch, an AssertionError that holds the report, if the candidate does not match, and
    InputError as `compare` does.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    found = compare(reference, candidate, names=names, precision=precision or expected_precision.get(), packed=packed)
    if found.suspicious:
        warnings.warn(headline(found), stacklevel=2)
    if found.ok:
        return found
    explained = functools.partial(explain, found, reference, candidate, names, packed)
    if isinstance(reference, Gradients):
        explained = functools.partial(explain_gradients, found, reference, candidate, names)
    lines = [*in_brief(found), _next(reference)]
    if report is not None:
        explained().save_html(report)
        lines.append(f"page: {report}")
    raise Mismatch(found, "\n".join(lines), explained)


def _next(reference: Trace | Values) -> str:
    call = "diagnose(model, inputs, candidate)"
    if isinstance(reference, Trace):
        call = "diagnose(trace.model, trace.inputs, candidate)"
    elif isinstance(reference, Gradients):
        call = "diagnose_gradients(model, inputs, candidate, labels)"
    return f"next: minroberta.testing.{call} names the mistake if it is a known one"
