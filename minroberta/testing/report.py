"""How a report is shown: a table in a terminal, HTML in a notebook, a page of its own, JSON for programs.

    text(report), notebook(report), page(report), as_json(report)

Names and notes may come from somebody's file: they are made printable for the one, and escaped for the other.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .picture import parts_of, picture
from .sentences import (
    LAYER,
    MEANING,
    NONE_BEFORE,
    count_verdicts,
    first_bad_row,
    headline,
    in_short,
    left_out,
    merged,
    plain,
    reasons,
    shortened,
    summary,
    times,
    two_numbers,
    verdict_in_two,
    what_is_wrong,
    where_worst,
)

if TYPE_CHECKING:
    from .compare import Report, Row

LINES = 26
"""Of a table in a terminal: the whole report is to be seen without scrolling."""

WORST = 6
"""Of the values where all are right."""


def text(report: "Report") -> str:
    """A table for a terminal, under 40 lines: what is wrong, what is around the first, and how many are left out."""
    rest = [f"{what}: {which}" for what, which in left_out(report)]
    return "\n".join([headline(report), *summary(report), "", *_short_table(report), *([""] if rest else []), *rest])


def as_json(report: "Report") -> str:
    """All of a report in strict JSON: a number that is none (NaN, infinite) is null."""
    content = {
        "ok": report.ok,
        "first_bad": report.first_bad,
        "last_good": report.last_good,
        **dataclasses.asdict(report),
    }
    return json.dumps(_strict(content), allow_nan=False)


def _strict(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- the table ------------------------------------------------------------------------------------------------------

HEADINGS = (
    "value", "verdict", "× rounding", "alone ×", "difference", "relative", "worst at", "candidate", "reference", "",
)  # fmt: skip


def _cells(row: "Row") -> tuple[str, ...]:
    """One value under `HEADINGS`; the last is its note."""
    place = f"[{', '.join(map(str, row.place.values()))}]" if row.place else "-"
    return (
        plain(row.name),
        row.verdict,
        times(row.multiple),
        times(row.alone),
        in_short(row.absolute),
        in_short(row.relative),
        place,
        *two_numbers(row),
        plain(row.note, 200),
    )


def _short_table(report: "Report") -> list[str]:
    """The lines of a table: the rows that matter, and how many are between."""
    lines = [(plain(row.name, 52), *_cells(row)[1:]) for row in report.rows]
    stretches = list(_stretches(report))
    table = [HEADINGS, *(line for start, stop, seen in stretches if seen for line in lines[start:stop])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    result = [_aligned(HEADINGS, widths)]
    for start, stop, seen in stretches:
        counted = [f"  ... {count_verdicts(report.rows[start:stop])}"]
        result += [_aligned(line, widths) for line in lines[start:stop]] if seen else counted
    return result


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    words = [f"{line[0]:<{widths[0]}}", f"{line[1]:<{widths[1]}}"]
    numbers = [f"{cell:>{width}}" for cell, width in zip(line[2:-1], widths[2:-1], strict=True)]
    return "  ".join([*words, *numbers, line[-1]]).rstrip()


def _stretches(report: "Report") -> Iterator[tuple[int, int, bool]]:
    """The rows in stretches, each from `start` to `stop`, and whether a short table shows them or only counts them."""
    seen = _chosen(report)
    for shown, stretch in groupby(range(len(report.rows)), lambda index: index in seen):
        indices = list(stretch)
        yield indices[0], indices[-1] + 1, shown


def _chosen(report: "Report") -> set[int]:
    """The rows that matter, as many as there is room for."""
    seen: set[int] = set()
    for index in _by_weight(report):
        if _height(seen | {index}, len(report.rows)) > LINES:
            break
        seen.add(index)
    return _filled(seen, len(report.rows))


def _by_weight(report: "Report") -> list[int]:
    """All rows: those around the first bad value, then what is wrong, then the last; of right ones the worst first."""
    wrong = [index for index, row in enumerate(report.rows) if not row.ok]
    around = range(max(0, wrong[0] - 4), min(len(report.rows), wrong[0] + 3)) if wrong else ()
    by_error = sorted(range(len(report.rows)), key=lambda index: -report.rows[index].multiple)
    short = len(report.rows) <= LINES
    return [*around, *wrong, len(report.rows) - 1, *(by_error if short else () if wrong else by_error[:WORST])]


def _height(seen: set[int], count: int) -> int:
    """Lines of a table: the rows seen, and one for each stretch of others."""
    return len(seen) + sum(index not in seen and (index == 0 or index - 1 in seen) for index in range(count))


def _filled(seen: set[int], count: int) -> set[int]:
    """A row alone between two that are seen is seen too, since to count it takes the same line."""
    return seen | {i for i in range(count) if (i == 0 or i - 1 in seen) and (i + 1 == count or i + 1 in seen)}


# --- HTML -----------------------------------------------------------------------------------------------------------

STYLE = """
.minroberta { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --dim: #626871; --line: #d9dce1; --head: #f3f4f6;
  --wrong: #b83a00; --wrong-paper: #fdeee6; --order: #8b3fa0; --order-paper: #f7edfa; --follows: #1f6cab;
  --good: #177a6c;
  color: var(--ink); background: var(--paper); font: 14px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
@media (prefers-color-scheme: dark) { .minroberta { --ink: #e4e6ea; --paper: #16181b; --dim: #9aa1ab; --line: #363a40;
  --head: #22252a; --wrong: #ff8a50; --wrong-paper: #3a2015; --order: #d79be6; --order-paper: #33203a;
  --follows: #7cb9ea; --good: #58c3b3 } }
.minroberta h1 { font-size: 1.6em; line-height: 1.25; margin: 0 0 .3em; overflow-wrap: anywhere }
div.minroberta { padding: .8em; max-width: 1100px; overflow-x: auto }
div.minroberta h1 { font-size: 1.3em }
div.minroberta th, div.minroberta td { white-space: nowrap } div.minroberta wbr { display: none }
div.minroberta th:nth-child(5), div.minroberta td:nth-child(5), div.minroberta th:nth-child(6),
div.minroberta td:nth-child(6) { display: none }
body.minroberta { margin: 0 }
.minroberta main table { table-layout: fixed } .minroberta main col { width: 8% }
.minroberta main col:first-child { width: 30% } .minroberta main col:nth-child(2) { width: 7% }
.minroberta main col:nth-child(3) { width: 9% } .minroberta main col:nth-child(n+7) { width: 10% }
.minroberta .wrong { color: var(--wrong) } .minroberta .layout, .minroberta .shape { color: var(--order) }
.minroberta .follows { color: var(--follows) } .minroberta .good { color: var(--good) }
.minroberta dl { display: grid; grid-template-columns: max-content 1fr; gap: .25em 1.2em; margin: 0 0 1.2em }
.minroberta dt { color: var(--dim) } .minroberta dd { margin: 0; overflow-wrap: anywhere }
.minroberta code, .minroberta td, .minroberta dd { font-variant-numeric: tabular-nums }
.minroberta code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .93em }
.minroberta figure { margin: 0 0 1.2em; overflow-x: auto } .minroberta svg { min-width: 700px; display: block }
.minroberta table { width: 100%; border-collapse: collapse; font-size: 13px; margin: 0 }
.minroberta th, .minroberta td { padding: .22em .6em; text-align: right; vertical-align: top; overflow-wrap: anywhere;
  border: 0; border-bottom: 1px solid var(--line); background: none; color: inherit }
.minroberta th { background: var(--head); font-weight: 600; overflow-wrap: normal }
.minroberta th:nth-child(-n+2), .minroberta td:nth-child(-n+2), .minroberta td[colspan] { text-align: left }
.minroberta td:nth-child(2) { font-weight: 600 }
.minroberta tr.bad td { background: var(--wrong-paper) } .minroberta tr.order td { background: var(--order-paper) }
.minroberta tr { background: none }
.minroberta .dim, .minroberta .note { color: var(--dim) } .minroberta .note { display: block }
.minroberta .sticky { position: sticky; top: 0; z-index: 1 }
.minroberta summary { padding: .3em .6em; cursor: pointer; border-bottom: 1px solid var(--line) }
.minroberta summary b { display: inline-block; min-width: 8em }
.minroberta main { max-width: 1180px; min-width: 900px; margin: 0 auto; padding: 1.6em; box-sizing: border-box }
@media print { .minroberta main { min-width: 0; padding: 0; font-size: 11px } .minroberta table { font-size: 9px }
  .minroberta .sticky { position: static } .minroberta tr, .minroberta figure { break-inside: avoid } }
"""


def page(report: "Report") -> str:
    """A page of its own, with nothing fetched and nothing run: the finding, the picture, every value."""
    style = f"<style>{STYLE}@page {{ size: landscape; margin: 12mm }}</style>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(verdict_in_two(report)[0])}</title>{style}</head>"
        f'<body class="minroberta"><main>{_title(report)}{_facts(report)}<figure>{picture(report)}</figure>'
        f"{_everything(report)}{_glossary(report)}</main></body></html>\n"
    )


def notebook(report: "Report") -> str:
    """The finding, the picture and the values that matter, as HTML for a notebook."""
    rows = []
    for start, stop, seen in _stretches(report):
        if seen:
            rows += [_tr(row) for row in report.rows[start:stop]]
        else:
            counted = f"... {count_verdicts(report.rows[start:stop])}"
            rows.append(f'<tr><td colspan="{len(HEADINGS) - 1}" class="dim">{counted}</td></tr>')
    return (
        f'<style>{STYLE}</style><div class="minroberta">{_title(report)}{_facts(report)}'
        f"<figure>{picture(report)}</figure>{_table(rows, _thead())}</div>"
    )


def _title(report: "Report") -> str:
    """The verdict in large letters; where all is right, all of it."""
    row = first_bad_row(report)
    title = verdict_in_two(report)[0] if row else headline(report)
    return f'<h1 class="{row.verdict if row else "good"}">{escape(title[0].upper() + title[1:])}</h1>'


def _facts(report: "Report") -> str:
    """What there is to know at once, as pairs of a word and what it says."""
    row = first_bad_row(report)
    facts = [*(_findings(row, report) if row else ()), ("Values", count_verdicts(report.rows))]
    bound = f"{report.precision}'s; up to {times(report.bound)} times it, a difference is no mistake"
    facts.append(("Rounding", escape(bound)))
    facts += [(escape(what.capitalize()), escape(which)) for what, which in left_out(report)]
    return f"<dl>{''.join(f'<dt>{what}</dt><dd>{which}</dd>' for what, which in facts)}</dl>"


def _findings(row: "Row", report: "Report") -> Iterator[tuple[str, str]]:
    """Of the first bad value, each in HTML."""
    wrong = row.verdict == "wrong"
    alone = ", judged alone on the candidate's own values before it" if wrong and row.alone is not None else ""
    note = f"; {plain(row.note, 200)}" if wrong and row.note else ""
    yield "What", f'<b class="{row.verdict}">{escape(what_is_wrong(row, report))}</b>{escape(alone + note)}'
    for joint, name, words in reasons(report):
        yield "" if joint else "Why", f'{joint}<b class="{row.verdict}">{escape(name)}</b>{escape(words)}'
    if wrong and row.place is not None:
        candidate, reference = two_numbers(row)
        yield "Worst at", f"{escape(where_worst(row))}<b>{candidate}</b> where the reference has <b>{reference}</b>"
    between = f"; missing in between: {escape(shortened(merged(report.between)))}" if report.between else ""
    yield "Last good", f"<code>{escape(plain(report.last_good))}</code>{between}" if report.last_good else NONE_BEFORE
    bad = [row.name for row in report.rows if not row.ok]
    if len(bad) > 1:
        yield f"All {len(bad)} bad", f"<code>{escape(shortened(merged(bad)))}</code>"


def _everything(report: "Report") -> str:
    """Every value, by the parts of the network; in a long report only the part of the first bad value is unfolded."""
    first = first_bad_row(report)
    parts = []
    for part, start, stop in parts_of(report):
        rows = report.rows[start:stop]
        unfold = " open" if len(report.rows) <= LINES or first in rows else ""
        table = _table([_tr(row) for row in rows])
        parts.append(f"<details{unfold}><summary>{_summary(part, rows)}</summary>{table}</details>")
    return f'<div class="sticky">{_table([], _thead())}</div>{"".join(parts)}'


def _summary(part: str, rows: Sequence["Row"]) -> str:
    """What is in a part of the network, and what of it is bad."""
    worst = max(rows, key=lambda row: list(MEANING).index(row.verdict)).verdict
    bad = shortened([f'<code class="{row.verdict}">{_split(row)}</code>' for row in rows if not row.ok], 3)
    return f'<b class="{worst}">{part}</b> {count_verdicts(rows)}{bad and ": "}{bad}'


def _glossary(report: "Report") -> str:
    """What the words and columns of this report mean."""
    alone = any(row.alone is not None for row in report.rows)
    words = MEANING if alone else {**MEANING, "wrong": "off by more than rounding, here or in what it is made from"}
    verdicts = {row.verdict for row in report.rows}
    meanings = [f"<b>{verdict}</b>: {meaning}" for verdict, meaning in words.items() if verdict in verdicts]
    meanings.append("<b>× rounding</b>: the largest difference, as a multiple of what rounding moves this value by")
    if alone:
        meanings.append("<b>alone ×</b>: the same of this step alone, made from the candidate's own values before it")
    return f'<p class="dim">{"; ".join(meanings)}.</p>'


def _table(rows: Sequence[str], head: str = "") -> str:
    """Of the same columns wherever it stands, so that tables beneath each other are one to the eye."""
    columns = "<col>" * (len(HEADINGS) - 1)
    return f"<table><colgroup>{columns}</colgroup>{head}<tbody>{''.join(rows)}</tbody></table>"


def _thead() -> str:
    cells = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in HEADINGS[:-1])
    return f"<thead><tr>{cells}</tr></thead>"


def _tr(row: "Row") -> str:
    _, verdict, *numbers, note = _cells(row)
    note = f'<span class="note">{escape(note)}</span>' if note else ""
    kind = "" if row.ok else ' class="bad"' if row.verdict == "wrong" else ' class="order"'
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in numbers)
    name = f"<td><code>{_split(row)}</code>{note}</td>"
    return f'<tr{kind}>{name}<td class="{row.verdict}">{escape(verdict)}</td>{cells}</tr>'


def _split(row: "Row") -> str:
    """A name whose layer steps back behind what it is of the layer, and which may break at its dots."""
    name = plain(row.name)
    found = LAYER.search(name)
    end = found.end() + 1 if found and found.end() < len(name) else 0
    first, rest = (escape(part).replace(".", ".<wbr>") for part in (name[:end], name[end:]))
    return f'<span class="dim">{first}</span>{rest}' if first else rest
