"""The result of a comparison as data: a row for each value, and the mistakes that explain the differences."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Row:
    """A value of the candidate, compared with the reference's.

    verdict: "good"; "wrong" if this step is wrong, given the candidate's values before it; "follows" if the step is
    right but the value is off because earlier values are; "suspicious" if the value is within the bound, but further
    off than those of right ports are; "layout" if the right elements are in a different order, which is accepted;
    "shape" if the shape does not fit the reference's.
    absolute: the largest difference. relative: the largest difference, as a fraction of the reference's largest
    element. multiple: the largest ratio of an element's difference to its noise. alone: the same for this step judged
    alone, or None if that is not possible. place: the index of the element with the largest ratio, by axis name. noise:
    the largest change that rounding makes to that element. reference, candidate: the values of that element. layout:
    the recognised layout in words, or "" if it is the reference's.
    """

    name: str
    verdict: str
    shape: tuple[int, ...]
    dtype: str
    absolute: float = math.nan
    relative: float = math.nan
    noise: float = math.nan
    multiple: float = math.nan
    alone: float | None = None
    place: Mapping[str, int] | None = None
    reference: float = math.nan
    candidate: float = math.nan
    note: str = ""
    layout: str = ""

    @property
    def ok(self) -> bool:
        """True if this step is not wrong."""
        return self.verdict in ("good", "follows", "suspicious", "layout")

    @property
    def error(self) -> float:
        """The multiple that decides the verdict: `alone` if it is known, otherwise `multiple`."""
        return self.multiple if self.alone is None else self.alone


@dataclass(frozen=True)
class Finding:
    """A known mistake that explains a candidate's errors.

    name, explanation, fix: as in the catalogue. remaining: the largest error of any step, as a multiple of the noise,
    if the reference makes this mistake (or both mistakes of a pair). If `remaining` exceeds `compare`'s bound, the
    mistake is certain, but there is an unknown error as well. on_top_of: for the second mistake of a pair, the name of
    the first; otherwise None. seen_in: the URL of a report in a real project, or "" if no report is known. left: names
    of the wrong steps that neither this nor another finding explains. wrong: number of wrong steps in all.
    """

    name: str
    explanation: str
    fix: str
    remaining: float
    on_top_of: str | None = None
    seen_in: str = ""
    left: tuple[str, ...] = ()
    wrong: int = 0

    def __str__(self) -> str:
        return f"{self.name}: {self.explanation} {self.fix}{self.rest}"

    @property
    def rest(self) -> str:
        """A sentence about the steps that remain unexplained, or "" if there are none."""
        if not self.left:
            return ""
        more = f" and {len(self.left) - 1} more" if len(self.left) > 1 else ""
        explained = f" This explains {self.wrong - len(self.left)} of {self.wrong} wrong steps"
        return f"{explained}; at {self.left[0]}{more} something unknown remains."


class Findings(list[Finding]):
    """The findings of `diagnose`: a list, with what else there is to say.

    left_out: kinds of mistakes that were not all tried, because the time was up. hint: a sentence about the precision,
    or "".
    """

    def __init__(self, findings: Iterable[Finding] = (), left_out: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(findings)
        self.left_out, self.hint = tuple(left_out), hint

    @property
    def sentences(self) -> list[str]:
        """Sentences about what was not tried, and about the precision."""
        cut = f"the time was up before these were all tried: {', '.join(self.left_out)}; give a longer limit"
        return [*([cut] if self.left_out else []), *([self.hint] if self.hint else [])]


@dataclass(frozen=True)
class Result:
    """The result of a comparison, with values in the order of computation. The subclass `Report` can also display it.

    rows: a `Row` for each value that reference and candidate share. missing: names that only the reference has.
    unknown: names that only the candidate has. unavailable: sentences that say what could not be determined, and what
    would be needed. precision: the dtype in which the candidate computes. bound: the multiple of the noise up to which
    a difference counts as rounding error. findings: the findings of `diagnose`, or None if it was not called. between:
    the missing names between the last good value and the first bad one. audit: a sentence about the mistakes that these
    inputs cannot show, or "".
    """

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    unavailable: tuple[str, ...]
    precision: str
    bound: float
    findings: tuple[Finding, ...] | None = None
    between: tuple[str, ...] = ()
    audit: str = ""

    @property
    def ok(self) -> bool:
        """True if every step that could be judged is right."""
        return all(row.ok for row in self.rows)

    @property
    def bad(self) -> list[Row]:
        """The rows that are not ok."""
        return [row for row in self.rows if not row.ok]

    @property
    def suspicious(self) -> list[str]:
        """Names of the values that are within the bound, but further off than those of right ports."""
        return [row.name for row in self.rows if row.verdict == "suspicious"]

    @property
    def first_bad(self) -> str | None:
        """Name of the first value whose row is not ok, or None."""
        return next((row.name for row in self.bad), None)

    @property
    def last_good(self) -> str | None:
        """Name of the last value before any bad one, or None if the first value is bad."""
        good = [row.name for row in itertools.takewhile(lambda row: row.ok, self.rows)]
        return good[-1] if good else None

    def explained(self, findings: Iterable[Finding]) -> Self:
        """The same result with the findings of `diagnose`, so that the table and the page give the reason."""
        said = tuple(findings.sentences) if isinstance(findings, Findings) else ()
        return replace(self, findings=tuple(findings), unavailable=(*self.unavailable, *said))
