"""Options that several commands share, and the model that they name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .. import loading, weights
from ..checkpoints import hub, read
from ..config import HEADS
from ..errors import WeightsError
from ..loading import Model

Command = TypeVar("Command", bound=Callable[..., Any])

takes_head = click.option(
    "--head",
    metavar="HEAD",
    type=click.Choice(list(HEADS)),
    help="encoder, masked_lm, ...; by default the one that the model was saved with.",
)


def takes_model(default: str | None = hub.EMBEDDED) -> Callable[[Command], Command]:
    """--model, which is required if there is no default, --dtype and --json."""

    def decorate(command: Command) -> Command:
        command = click.option("--json", "as_json", is_flag=True, help="Print lines of JSON.")(command)
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
    """A sentence for the two commands that the embedded model cannot serve; click's own would not say why."""
    if name is None and not context.resilient_parsing:
        raise click.UsageError(
            f"missing option --model: {hub.EMBEDDED} has no head for {context.info_name}; give --model NAME"
        )
    return name


def takes_texts(command: Command) -> Command:
    """Texts as arguments, and --file."""
    help = "Read texts from a file in UTF-8, one a line; - is standard input."
    command = click.option("--file", type=click.File("rb"), metavar="FILE", help=help)(command)
    return click.argument("texts", nargs=-1, metavar="[TEXT]...")(command)


def load(name: str | Path, head: str | None = None, dtype: str = "float32") -> Model:
    """The model of a name. Errors about a head's weights leave out `missing`, which commands do not have."""
    try:
        return loading.load(name, head=head, dtype=dtype)
    except WeightsError as error:
        text = str(error).partition(": give missing=")[0]
        raise click.ClickException(_missing_head(name, head) or text) from error


def _missing_head(name: str | Path, head: str | None) -> str | None:
    """A sentence, if the weights lack only what belongs to the head."""
    path = hub.locate(name)
    file = read.read(path)
    config = read.config_of(path, file)
    head = head or config.head
    held = read.inventory(file, config)[0]
    missing = [weight for weight in weights.shapes(config, head) if weight not in held]
    wanted = weights.head_shapes(config, head)
    if head == "encoder" or not missing or not set(missing) <= wanted.keys():
        return None
    heads = ", ".join(weights.heads_in(held, config)) or "none"
    return f"{name} has no head {head!r}: it lacks {', '.join(missing)}. Its heads: {heads}. Give a model that has it"
