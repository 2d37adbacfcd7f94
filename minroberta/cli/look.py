"""The commands that look inside a run: trace, bench."""

import fnmatch
from typing import Any

import click
import numpy

from ..checkpoints import hub
from ..trace import trace as traced
from .console import Output, print_facts, print_json, printable
from .options import Source, takes_head, takes_model


@click.command()
@click.argument("name", default=hub.EMBEDDED)
@click.option(
    "--rounds", type=click.IntRange(1), default=9, show_default=True, help="Number of rounds; medians are shown."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def bench(name: str, rounds: int, as_json: bool) -> None:
    """Compare a model's time with that of its matrix products alone.

    The floor is the time of the products with the weights. The ratio is the model's time divided by the floor.
    """
    from . import bench as measures

    model, facts = Source(name).load("encoder"), measures.machine()
    hindrances = list(measures.hindrances(facts))
    if as_json:
        print_json({**facts, "hindrances": hindrances})
    else:
        print_facts(facts)
        for line in hindrances:
            click.echo(printable(f"slowed down: {line}"))
        click.echo()
    output = Output(False, "batch", "length", "ms", "floor_ms", "ratio")
    for shape in measures.shapes(model, rounds):
        if as_json:
            print_json(shape)
        else:
            output.write([shape])


@click.command()
@click.argument("text")
@click.option(
    "--name", "pattern", metavar="PATTERN", default="*", help='Show only names that match, such as "encoder.layer.0.*".'
)
@takes_head
@takes_model()
def trace(text: str, pattern: str, head: str | None, model: Source, as_json: bool) -> None:
    """Show every intermediate value, with its shape, mean and std.

    With --json, prints one line for each value.
    """
    loaded = model.load(head)
    values = traced(loaded, **loaded.tokenize(text, truncation=False))  # type: ignore[arg-type]  # no key is `edit`
    names = fnmatch.filter(values, pattern)
    if not names:
        raise click.UsageError(f"no value of this run matches {pattern!r}: leave out --name to see all names")
    rows = [_summary(name, values[name]) for name in names]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        Output(False, "mean", "std", "shape", "name").write(rows)


def _summary(name: str, value: numpy.ndarray) -> dict[str, Any]:
    exact = value.astype(float)
    return {"name": name, "shape": value.shape, "mean": float(exact.mean()), "std": float(exact.std())}
