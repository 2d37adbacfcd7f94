"""The result of a comparison as data: a row for each value, and the mistakes that explain them."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Row:
    """One value of the candidate beside the reference's.

    verdict: "good"; "wrong", where this step is wrong, given the candidate's own values before it; "follows", where the
    step is right and the value is off because those before it are; "layout", right numbers in another order; "shape".
    absolute: the largest difference; relative: the same as a part of the reference's largest number; noise: how far
    rounding moves this value; multiple: absolute / noise; alone: the step's own difference as a multiple of its own
    noise, None where it cannot be judged alone. place: where the difference is largest, by axis; reference and
    candidate: the two numbers there.
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

    @property
    def ok(self) -> bool:
        """True if this step is right."""
        return self.verdict in ("good", "follows")

    @property
    def error(self) -> float:
        """The multiple of the rounding that decides: of the step alone, or of the whole value if that is unknown."""
        return self.multiple if self.alone is None else self.alone


@dataclass(frozen=True)
class Finding:
    """A mistake that explains a candidate.

    name, explanation, fix: as in the catalogue. remaining: the largest error of a step once this mistake, and those
    that are found with it, are made, as a multiple of rounding there. If it is beyond `compare`'s bound, the mistake is
    certain, and there is something unknown beside it. on_top_of: the mistake beside which this one was found. seen_in:
    a real project's report of it, if one is known.
    """

    name: str
    explanation: str
    fix: str
    remaining: float
    on_top_of: str | None = None
    seen_in: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.explanation} {self.fix}"


@dataclass(frozen=True)
class Result:
    """The result of a comparison, in the order of computation; `Report` can also show it.

    rows: a `Row` for each value that both have; missing: the reference's other names; unknown: the candidate's other
    names; unavailable: what could not be determined, and what that needs; precision: the dtype whose rounding was
    allowed; bound: the multiple of the noise up to which a difference is rounding; findings: what `diagnose` answered,
    None if it was not asked; between: the reference's other names from the last good value to the first bad one.
    """

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    unavailable: tuple[str, ...]
    precision: str
    bound: float
    findings: tuple[Finding, ...] | None = None
    between: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if every step that could be judged is right."""
        return all(row.ok for row in self.rows)

    @property
    def bad(self) -> list[Row]:
        """The rows whose own step is wrong."""
        return [row for row in self.rows if not row.ok]

    @property
    def first_bad(self) -> str | None:
        """The first value whose own step is wrong."""
        return next((row.name for row in self.bad), None)

    @property
    def last_good(self) -> str | None:
        """The last value before the first bad one, or the last of all if none is bad."""
        good = [row.name for row in itertools.takewhile(lambda row: row.ok, self.rows)]
        return good[-1] if good else None

    def explained(self, findings: Iterable[Finding]) -> Self:
        """The same result with what `diagnose` found, so that table and page say why."""
        return replace(self, findings=tuple(findings))
