"""The commands `minroberta golden make | suite | show | check`."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy

from ..checkpoints.files import read_json
from ..errors import Error, InputError, NotFoundError
from ..loading import Model, init
from ..loading import load as load_model
from ..testing import golden
from ..testing.audit import audit
from ..testing.compare import compare
from ..testing.diagnose import LIMIT, explain
from ..testing.report import Report
from ..testing.runs import EPS
from ..testing.values import NAMES, read
from .console import Output, print_json, printable, say
from .options import takes_head

File = click.Path(path_type=Path)
Table = str | dict[str, Any] | None
"""A framework's name, or a translation of names."""


@click.group()
def commands() -> None:
    """Write, show and check golden files."""


@commands.command()
@click.argument("name", required=False)
@click.option("-o", "--output", type=File, metavar="FILE", help="The file to write.")
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text to call the model with; may be repeated.")
@click.option(
    "--ids", multiple=True, metavar="IDS", help='Ids instead of a text, such as "0 31 42 2"; may be repeated.'
)
@click.option(
    "--names", multiple=True, metavar="PATTERN", help='Values to store, such as "encoder.layer.0.*"; may be repeated.'
)
@click.option(
    "--seed", type=click.IntRange(0), help="Seed for random weights; then only the configuration comes from NAME."
)
@takes_head
def make(
    name: str | None,
    output: Path | None,
    texts: Sequence[str],
    ids: Sequence[str],
    names: Sequence[str],
    seed: int | None,
    head: str | None,
) -> None:
    """Write a golden file: the values that a model computes for a text.

    NAME is a directory, a weights file, or a name on the Hugging Face hub. The same command writes the same bytes
    on every machine.
    """
    if not (name and output and bool(texts) != bool(ids)):
        raise click.UsageError("give NAME, -o FILE, and either --text or --ids")
    model = load_model(name, head=head) if seed is None else init(name, head, seed=seed)
    inputs: dict[str, Any] = (
        {"input_ids": [_row(row) for row in ids]} if ids else model.tokenize(texts, truncation=False)
    )
    command = _command(name, model, texts, ids, names, seed)
    golden.save(output, model, inputs, names or None, weights=name if seed is None else seed, command=command)
    if unseen := audit(model, inputs).of_inputs:
        say("note", unseen)


def _row(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise click.UsageError(f'invalid --ids {text!r}: give integers, such as "0 31 42 2"') from None


def _command(
    name: str, model: Model, texts: Sequence[str], ids: Sequence[str], names: Sequence[str], seed: int | None
) -> str:
    """The command that recreates the file, with FILE in place of the file's name."""
    options = {"--text": texts, "--ids": ids, "--names": names, "--head": [model.head]}
    seeded = [] if seed is None else ["--seed", str(seed)]
    given = [part for option, values in options.items() for value in values for part in (option, value)]
    return shlex.join(["minroberta", "golden", "make", name, "-o", "FILE", *given, *seeded])


@commands.command()
@click.argument("directory", type=File)
@click.option("--raw", is_flag=True, help="Also write each array to a file of its own: plain little-endian numbers.")
def suite(directory: Path, raw: bool) -> None:
    """Write the suite of small cases to a directory.

    It holds a golden file for each case, and index.json. With --raw it also holds a directory for each case, with
    index.json and a .bin file for each array.
    """
    golden.suite(directory, raw)


@commands.command()
@click.argument("file", type=File)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
def show(file: Path, as_json: bool) -> None:
    """Show a golden file: its metadata, inputs, values and their noise."""
    held = golden.load(file)
    facts = {name: text for name, text in held.metadata.items() if name != "noise"}
    rows = [_summary(name, value, held.noise[name]) for name, value in held.items()]
    inputs = golden.flat_inputs(held.inputs)
    if as_json:
        click.echo(json.dumps({**facts, "inputs": {name: x.tolist() for name, x in inputs.items()}, "values": rows}))
        return
    for name, text in facts.items():
        click.echo(printable(f"{name:<18}{text}"))
    for name, array in inputs.items():
        click.echo(f"\n{printable(name)}  {array.dtype} {array.shape}\n{array}")
    click.echo()
    Output(False, "noise", "largest", "dtype", "shape", "name").write(rows)


def _summary(name: str, value: numpy.ndarray, noise: float) -> dict[str, Any]:
    largest = float(abs(value).max(initial=0))
    return {"name": name, "shape": value.shape, "dtype": str(value.dtype), "largest": largest, "noise": noise}


@commands.command()
@click.argument("file", type=File)
@click.argument("candidate", type=File)
@click.option("--names", metavar="NAMES", help="keras_hub, fairseq, or a JSON file that maps names to minroberta's.")
@click.option(
    "--precision",
    type=click.Choice(list(EPS)),
    help="The dtype that the port computes in: by default float32, or what the suite says of each case.",
)
@click.option(
    "--limit",
    type=click.FloatRange(0),
    default=LIMIT,
    show_default=True,
    metavar="SECONDS",
    help="The longest time to search for the mistake in each file.",
)
@click.option("--html", type=File, metavar="FILE", help="Also write the report as an HTML page.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(
    file: Path,
    candidate: Path,
    names: str | None,
    precision: str | None,
    limit: float,
    html: Path | None,
    as_json: bool,
) -> None:
    """Compare a port's values with a golden file, and name the mistake if it is a known one.

    CANDIDATE is an .npz or safetensors file, or a directory of .npy files. Its arrays may be named as in a golden file.
    FILE may also be the directory of a suite: then CANDIDATE is a directory, with such a file or directory for each
    case that the port supports, such as masked-lm.npz.
    The exit status is 0 if every step is right, 1 if one is wrong, 2 after an error.
    """
    if file.is_dir():
        if html:
            raise click.UsageError("--html is for a single golden file: give the file of one case")
        sys.exit(0 if _check_suite(file, candidate, _map(names), precision, limit, as_json) else 1)
    report = _report(file, candidate, _map(names), precision or "float32", limit)
    if html:
        report.save_html(html)
    click.echo(report.to_json() if as_json else str(report))
    sys.exit(0 if report.ok else 1)


def _report(file: Path, candidate: Path, table: Table, precision: str, limit: float) -> Report:
    reference, port = golden.load(file), golden.values_of(read(candidate))
    return explain(compare(reference, port, names=table, precision=precision), reference, port, table, limit=limit)


def _check_suite(
    suite: Path, candidates: Path, table: Table, precision: str | None, limit: float, as_json: bool
) -> bool:
    """Check each case that has a candidate, and print the results. True if all are right."""
    cases, given = golden.cases_of(suite), _candidates(candidates)
    names = [case["name"] for case in cases]
    if others := sorted(given.keys() - set(names)):
        raise InputError(
            f"unknown case {others[0]!r} in {candidates}: give values of cases that {suite}/index.json lists"
        )
    if not given:
        raise NotFoundError(f"{candidates} holds no values: write CASE.npz, CASE.safetensors or CASE/NAME.npy")
    chosen = [case for case in cases if case["name"] in given]
    results = [_checked(suite, case, given[case["name"]], table, precision, limit) for case in chosen]
    missing = [name for name in names if name not in given]
    ok = all(result["ok"] for result in results)
    if as_json:
        print_json(
            {"ok": ok, "cases": results, "in_every_wrong_case": _in_every_wrong_case(results), "missing": missing}
        )
    else:
        _print_suite(results, missing)
    return ok


def _checked(
    suite: Path, case: Mapping[str, str], candidate: Path, table: Table, precision: str | None, limit: float
) -> dict[str, Any]:
    """The result of one case. An error says which case it is about."""
    try:
        report = _report(suite / case["file"], candidate, table, precision or case["precision"], limit)
    except Error as error:
        raise InputError(f"case {case['name']}: {error}") from error
    return _result(case["name"], report)


def _print_suite(results: Sequence[Mapping[str, Any]], missing: Sequence[str]) -> None:
    """Print a row for each case, and a summary."""
    Output(False, "case", "result", "values", "first wrong", "why").write([_line(result) for result in results])
    count = {name: sum(result[name] for result in results) for name in ("ok", "right", "values")}
    click.echo(f"\n{count['ok']} of {len(results)} cases are right, {count['right']} of {count['values']} values.")
    if common := _in_every_wrong_case(results):
        click.echo(f"Every wrong case is explained by {' or '.join(common)}.")
    if unknown := sorted({name for result in results for name in result["unknown"]}):
        click.echo(f"Unknown names, not compared: {printable(', '.join(unknown[:5]))}{', …' * (len(unknown) > 5)}")
    if missing:
        click.echo(f"Not given: {len(missing)} other cases; --json lists them.")


def _in_every_wrong_case(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The mistakes that every wrong case names: a case alone may not distinguish a mistake from others."""
    named = [result["findings"] for result in results if not result["ok"]]
    return [name for name in named[0] if all(name in others for others in named)] if len(named) > 1 else []


def _candidates(directory: Path) -> dict[str, Path]:
    """The files and directories of a port's values by case. Raises InputError if a case has two."""
    if not directory.is_dir():
        raise NotFoundError(f"{directory} is not a directory: give one that holds a file or directory for each case")
    found: dict[str, Path] = {}
    for path in sorted(path for path in directory.iterdir() if not path.name.startswith(".")):
        if path.is_dir() or path.suffix in (".npz", ".safetensors"):
            name = path.name if path.is_dir() else path.stem
            if name in found:
                raise InputError(f"{directory} holds values of {name} twice: {found[name].name} and {path.name}")
            found[name] = path
    return found


def _result(name: str, report: Report) -> dict[str, Any]:
    right = sum(row.ok for row in report.rows)
    found = [finding.name for finding in report.findings or ()]
    facts = {"name": name, "ok": report.ok, "values": len(report.rows), "right": right}
    return {**facts, "first_bad": report.first_bad, "findings": found, "unknown": report.unknown}


def _line(result: Mapping[str, Any]) -> dict[str, Any]:
    """A case's row in the table."""
    verdict, values = "right" if result["ok"] else "WRONG", f"{result['right']} of {result['values']}"
    why = ", ".join(result["findings"]) or ("" if result["ok"] else "not a known mistake")
    first = result["first_bad"] or ""
    return {"case": result["name"], "result": verdict, "values": values, "first wrong": first, "why": why}


def _map(names: str | None) -> Table:
    """A framework's name, unchanged, or the name translation read from a JSON file."""
    if names is None or names in NAMES:
        return names
    path = Path(names)
    if not path.is_file():
        raise NotFoundError(f"unknown names {names!r}: give a JSON file, or one of {', '.join(NAMES)}")
    return read_json(path, InputError)
