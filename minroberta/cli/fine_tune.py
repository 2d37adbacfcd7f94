"""The command fine-tune: from a file of labelled examples to a model that has learned from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..config import HEADS, PROBLEM_TYPES
from .options import Source, takes_model

HEADS_WITH_LOSS = [head for head, row in HEADS.items() if row.targets]

PARTS = ("all", "head", "lora")
"""Parts of a model that may be trained."""


def _as_columns(_: click.Context, __: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """Roles and columns, from options such as text=body."""
    for one in given:
        if "=" not in one:
            raise click.UsageError(f"--column takes a role and a column, such as text=body, not {one}")
    return dict(one.split("=", 1) for one in given)


@click.command(name="fine-tune")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--head",
    type=click.Choice(HEADS_WITH_LOSS),
    metavar="HEAD",
    required=True,
    help=f"What is learned: {', '.join(HEADS_WITH_LOSS)}.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Directory of the new model."
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    callback=_as_columns,
    help="The column of a role, such as text=body or label=2, or choices=3,4; by default, found by usual names.",
)
@click.option(
    "--problem-type",
    type=click.Choice(PROBLEM_TYPES),
    metavar="TYPE",
    help=f"What a text's label means: {', '.join(PROBLEM_TYPES)}. By default, fractions are numbers to predict, "
    "and JSON lists are several labels.",
)
@click.option(
    "--held-out",
    default="0.1",
    show_default=True,
    metavar="SHARE|FILE",
    help="The share of the examples, or the other file, that the model is measured with.",
)
@click.option(
    "--train",
    "what",
    type=click.Choice(PARTS),
    default="all",
    show_default=True,
    help="All weights, the head alone, or the head and LoRA's matrices, which are saved as peft saves them.",
)
@click.option("--rank", type=click.IntRange(1), default=8, show_default=True, help="Rank of LoRA's matrices.")
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="How often the examples are read.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Examples in a step.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    help="By default, it depends on the size of the model and on --train.",
)
@click.option("--max-length", type=click.IntRange(8), help="Largest number of tokens of an example.")
@click.option("--dropout/--no-dropout", default=True, show_default=True, help="As the model's configuration says.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all that is random.")
@takes_model()
def command(data: Path, output: Path, model: Source, head: str, what: str, as_json: bool, **options: Any) -> None:
    """Train a model on examples of your own, with NumPy alone.

    \b
      minroberta fine-tune data.csv --head sequence_classification --output critic
      minroberta classify --model critic "A moving story."

    DATA is a file of examples: .csv, .tsv, .jsonl, .json (a list, or SQuAD's), .conll, .conllu or .txt. The columns of
    a text, its label and so on are found by usual names, or told with --column; a table whose first line does not name
    them has the columns 1, 2 and so on. A part of the examples is held out, and the model is measured with it before
    training and after each epoch; the best one is kept in DIR, and opens in transformers.

    Ctrl-C ends the run, and keeps the best model so far. The same command then goes on.
    """
    if what == "lora" and model.adapter:
        raise click.UsageError("--train lora needs a base without --adapter: merge the adapter first, with convert")
    from .training import Asked, tuned  # other commands need none of it

    tuned(Asked(data, output, model, head, what, as_json, options))
