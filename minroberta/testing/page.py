"""A result as HTML: a self-contained page, and a shorter form for notebooks."""

from collections.abc import Iterator, Sequence
from html import escape

from .picture import parts_of, picture
from .result import Result, Row
from .sentences import (
    LAYER,
    MEANING,
    NONE_BEFORE,
    count_verdicts,
    headline,
    left_out,
    merged,
    plain,
    reasons,
    shortened,
    times,
    two_numbers,
    verdict_in_two,
    what_is_wrong,
    where_worst,
)
from .table import HEADINGS, LINES, cells, stretches

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


def page(result: Result) -> str:
    """An HTML page of the finding, the plot and every value. It loads no other files and runs no scripts."""
    style = f"<style>{STYLE}@page {{ size: landscape; margin: 12mm }}</style>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(verdict_in_two(result)[0])}</title>{style}</head>"
        f'<body class="minroberta"><main>{_title(result)}{_facts(result)}<figure>{picture(result)}</figure>'
        f"{_everything(result)}{_glossary(result)}</main></body></html>\n"
    )


def notebook(result: Result) -> str:
    """The finding, the plot and the values that matter, as HTML for a notebook."""
    rows = []
    for start, stop, shown in stretches(result):
        if shown:
            rows += [_tr(row) for row in result.rows[start:stop]]
        else:
            counted = f"... {count_verdicts(result.rows[start:stop])}"
            rows.append(f'<tr><td colspan="{len(HEADINGS) - 1}" class="dim">{counted}</td></tr>')
    return (
        f'<style>{STYLE}</style><div class="minroberta">{_title(result)}{_facts(result)}'
        f"<figure>{picture(result)}</figure>{_table(rows, _thead())}</div>"
    )


def _title(result: Result) -> str:
    """The verdict as a heading, or the whole headline if all is right."""
    title = headline(result) if result.ok else verdict_in_two(result)[0]
    verdict = "good" if result.ok else result.bad[0].verdict
    return f'<h1 class="{verdict}">{escape(title[0].upper() + title[1:])}</h1>'


def _facts(result: Result) -> str:
    """The finding and the counts, as a list of labels and descriptions."""
    facts = [*(() if result.ok else _finding(result)), ("Values", count_verdicts(result.rows))]
    bound = f"{result.precision}; a difference of up to {times(result.bound)} times its rounding error is not a mistake"
    facts.append(("Rounding", escape(bound)))
    facts += [(escape(what.capitalize()), escape(which)) for what, which in left_out(result)]
    return f"<dl>{''.join(f'<dt>{what}</dt><dd>{which}</dd>' for what, which in facts)}</dl>"


def _finding(result: Result) -> Iterator[tuple[str, str]]:
    """Facts about the first bad value, each a label and a description in HTML."""
    row = result.bad[0]
    wrong = row.verdict == "wrong"
    alone = "; the step is judged alone, on the candidate's own inputs" if wrong and row.alone is not None else ""
    yield "What", f'<b class="{row.verdict}">{escape(what_is_wrong(row, result.precision))}</b>{alone}'
    for joint, name, words in reasons(result):
        yield "" if joint else "Why", f'{joint}<b class="{row.verdict}">{escape(name)}</b>{escape(words)}'
    if wrong and row.place is not None:
        candidate, reference = two_numbers(row)
        yield "Worst at", f"{escape(where_worst(row))}<b>{candidate}</b> where the reference has <b>{reference}</b>"
    between = f"; missing in between: {escape(shortened(merged(result.between)))}" if result.between else ""
    yield "Last good", f"<code>{escape(plain(result.last_good))}</code>{between}" if result.last_good else NONE_BEFORE
    bad = [row.name for row in result.bad]
    if len(bad) > 1:
        yield f"All {len(bad)} bad", f"<code>{escape(shortened(merged(bad)))}</code>"


def _everything(result: Result) -> str:
    """Every value, by part of the network; in a long report only the part with the first bad value is expanded."""
    first, parts = next(iter(result.bad), None), []
    for part, start, stop in parts_of(result):
        rows = result.rows[start:stop]
        unfold = " open" if len(result.rows) <= LINES or any(row is first for row in rows) else ""
        table = _table([_tr(row) for row in rows])
        parts.append(f"<details{unfold}><summary>{_part(part, rows)}</summary>{table}</details>")
    return f'<div class="sticky">{_table([], _thead())}</div>{"".join(parts)}'


def _part(part: str, rows: Sequence[Row]) -> str:
    """The summary line for a part of the network: its name, its verdicts and its bad values."""
    worst = max(rows, key=lambda row: list(MEANING).index(row.verdict)).verdict
    bad = shortened([f'<code class="{row.verdict}">{_split(row)}</code>' for row in rows if not row.ok], 3)
    return f'<b class="{worst}">{part}</b> {count_verdicts(rows)}{bad and ": "}{bad}'


def _glossary(result: Result) -> str:
    """The meaning of the verdicts and columns in this report."""
    alone = any(row.alone is not None for row in result.rows)
    words = MEANING if alone else {**MEANING, "wrong": "off by more than rounding error, here or in an earlier step"}
    verdicts = {row.verdict for row in result.rows}
    meanings = [f"<b>{verdict}</b>: {meaning}" for verdict, meaning in words.items() if verdict in verdicts]
    meanings.append("<b>× rounding</b>: the largest difference, as a multiple of this value's rounding error")
    if alone:
        meanings.append("<b>alone ×</b>: the same for this step alone, from the candidate's own earlier values")
    return f'<p class="dim">{"; ".join(meanings)}.</p>'


def _table(rows: Sequence[str], head: str = "") -> str:
    """A table with fixed column widths, so that consecutive tables look like one."""
    columns = "<col>" * (len(HEADINGS) - 1)
    return f"<table><colgroup>{columns}</colgroup>{head}<tbody>{''.join(rows)}</tbody></table>"


def _thead() -> str:
    headings = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in HEADINGS[:-1])
    return f"<thead><tr>{headings}</tr></thead>"


def _tr(row: Row) -> str:
    _, verdict, *numbers, note = cells(row)
    note = f'<span class="note">{escape(note)}</span>' if note else ""
    kind = "" if row.ok else ' class="bad"' if row.verdict == "wrong" else ' class="order"'
    others = "".join(f"<td>{escape(cell)}</td>" for cell in numbers)
    name = f"<td><code>{_split(row)}</code>{note}</td>"
    return f'<tr{kind}>{name}<td class="{row.verdict}">{escape(verdict)}</td>{others}</tr>'


def _split(row: Row) -> str:
    """A value's name in HTML: dimmed up to its layer, and with line breaks allowed after dots."""
    name = plain(row.name)
    found = LAYER.search(name)
    end = found.end() + 1 if found and found.end() < len(name) else 0
    first, rest = (escape(part).replace(".", ".<wbr>") for part in (name[:end], name[end:]))
    return f'<span class="dim">{first}</span>{rest}' if first else rest
