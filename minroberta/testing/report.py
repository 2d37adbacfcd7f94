"""The report of a comparison: a result that prints as a table, and converts to HTML or JSON."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from .page import notebook, page
from .result import Result
from .table import text


class Report(Result):
    """The result of `compare`, with rows in the order of computation.

    Its fields are those of `Result`. It prints as a table, and a notebook shows it as HTML.
    """

    def __str__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return notebook(self)

    def html(self) -> str:
        """An HTML page: the first wrong value, a plot of the error by depth, and a table of every value."""
        return page(self)

    def save_html(self, path: str | Path) -> None:
        """Write `html()` to a file."""
        Path(path).write_text(self.html(), encoding="utf-8")

    def to_json(self) -> str:
        """The whole report as strict JSON, for programs; NaN and infinity become null."""
        answers: dict[str, Any] = {"ok": self.ok, "first_bad": self.first_bad, "last_good": self.last_good}
        answers["suspicious"] = self.suspicious
        return json.dumps(_strict({**answers, **dataclasses.asdict(self)}), allow_nan=False)


def _strict(value: Any) -> Any:
    """The value with None for NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
