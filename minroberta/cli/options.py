"""Options that several commands share, and loading the model that they name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .. import loading, weights
from ..checkpoints import hub, read
from ..checkpoints.adapters import read_merged
from ..config import HEADS
from ..errors import WeightsError
from ..loading import Model

Command = TypeVar("Command", bound=Callable[..., Any])

takes_head = click.option(
    "--head",
    metavar="HEAD",
    type=click.Choice(list(HEADS)),
    help="encoder, masked_lm, ...; by default the head that the model was saved with.",
)


def takes_model(default: str | None = hub.EMBEDDED) -> Callable[[Command], Command]:
    """Add --model (required if there is no default), --dtype and --json."""

    def decorate(command: Command) -> Command:
        command = click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")(command)
        command = click.option(
            "--dtype",
            type=click.Choice(["float64", "float32", "float16"]),
            default="float32",
            show_default=True,
            help="Dtype of the weights; float16 computes in float32.",
        )(command)
        return click.option(
            "--model",
            metavar="NAME",
            default=default,
            show_default=default is not None,
            callback=_check_given,
            help="A directory, a weights file or a hub name." + ("" if default else "  [required]"),
        )(command)

    return decorate


def _check_given(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Refuse a missing --model. Unlike click's own message, this message says why there is no default model."""
    if name is None and not context.resilient_parsing:
        raise click.UsageError(
            f"missing option --model: {hub.EMBEDDED} has no head for {context.info_name}; give --model NAME"
        )
    return name


def takes_texts(command: Command) -> Command:
    """Add texts as arguments, and --file."""
    help = "Read texts from a UTF-8 file, one per line; - is standard input."
    command = click.option("--file", type=click.File("rb"), metavar="FILE", help=help)(command)
    return click.argument("texts", nargs=-1, metavar="[TEXT]...")(command)


def load(name: str | Path, head: str | None = None, dtype: str = "float32") -> Model:
    """Load a model. Errors about missing weights do not mention the option `missing`, which commands do not have."""
    try:
        return loading.load(name, head=head, dtype=dtype)
    except WeightsError as error:
        text = str(error).partition(": give missing=")[0]
        raise click.ClickException(_missing_head(name, head) or text) from error


def _missing_head(name: str | Path, head: str | None) -> str | None:
    """The message if only weights of the head are missing, otherwise None."""
    path = hub.locate(name)
    file = read_merged(path)
    config = read.config_of(path, file)
    head = head or config.head
    held = read.inventory(file, config)[0]
    missing = [weight for weight in weights.shapes(config, head) if weight not in held]
    wanted = weights.head_shapes(config, head)
    if head == "encoder" or not missing or not set(missing) <= wanted.keys():
        return None
    heads = ", ".join(weights.heads_in(held, config)) or "none"
    return (
        f"{name} has no head {head!r}: it lacks {', '.join(missing)}. Its heads: {heads}. "
        f"Give a model that has the head {head!r}"
    )
