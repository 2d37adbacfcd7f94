"""The commands `minroberta golden make | show | check`."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy

from ..checkpoints.files import read_json
from ..errors import InputError, NotFoundError
from ..loading import Model, init
from ..loading import load as load_model
from ..testing import golden
from ..testing.compare import compare
from ..testing.diagnose import explain
from ..testing.runs import EPS
from ..testing.values import NAMES, read
from .console import Output, printable
from .options import takes_head

File = click.Path(path_type=Path)


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
@click.option("--suite", type=File, metavar="DIRECTORY", help="Write the suite of small cases to a directory.")
def make(
    name: str | None,
    output: Path | None,
    texts: Sequence[str],
    ids: Sequence[str],
    names: Sequence[str],
    seed: int | None,
    head: str | None,
    suite: Path | None,
) -> None:
    """Write a golden file: the values that a model computes for a text.

    NAME is a directory, a weights file, or a name on the Hugging Face hub. The same command writes the same bytes
    on every machine.
    """
    if suite:
        _refuse_beside_suite(name, output, *texts, *ids, *names)
        golden.suite(suite)
        return
    if not (name and output and bool(texts) != bool(ids)):
        raise click.UsageError("give NAME, -o FILE, and either --text or --ids; or --suite DIRECTORY alone")
    model = load_model(name, head=head) if seed is None else init(name, head, seed=seed)
    inputs: dict[str, Any] = (
        {"input_ids": [_row(row) for row in ids]} if ids else model.tokenize(texts, truncation=False)
    )
    command = _command(name, model, texts, ids, names, seed)
    golden.save(output, model, inputs, names or None, weights=name if seed is None else seed, command=command)


def _refuse_beside_suite(*others: Any) -> None:
    if any(others):
        raise click.UsageError("--suite has its own models and inputs: leave out NAME and the other options")


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
    default="float32",
    show_default=True,
    help="The dtype that the port computes in.",
)
@click.option("--html", type=File, metavar="FILE", help="Also write the report as an HTML page.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(file: Path, candidate: Path, names: str | None, precision: str, html: Path | None, as_json: bool) -> None:
    """Compare a port's values with a golden file, and name the mistake if it is a known one.

    CANDIDATE is an .npz or safetensors file, or a directory of .npy files. Its arrays may be named as in a golden file.
    The exit status is 0 if every step is right, 1 if one is wrong, 2 after an error.
    """
    reference, port, table = golden.load(file), golden.values_of(read(candidate)), _map(names)
    report = explain(compare(reference, port, names=table, precision=precision), reference, port, table)
    if html:
        report.save_html(html)
    click.echo(report.to_json() if as_json else str(report))
    sys.exit(0 if report.ok else 1)


def _map(names: str | None) -> str | dict[str, Any] | None:
    """A framework's name, unchanged, or the name translation read from a JSON file."""
    if names is None or names in NAMES:
        return names
    path = Path(names)
    if not path.is_file():
        raise NotFoundError(f"unknown names {names!r}: give a JSON file, or one of {', '.join(NAMES)}")
    table = read_json(path, InputError)
    if not all(isinstance(ours, str | None) for ours in table.values()):
        raise InputError(f"{path} must map each name to one of minroberta's names, or to null to leave it out")
    return table
