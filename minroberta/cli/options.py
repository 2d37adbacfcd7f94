"""Options that several commands share, and loading the model that they name."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from .. import loading, weights
from ..checkpoints import halves, hub, read
from ..checkpoints.adapters import read_merged
from ..checkpoints.modules import describe
from ..config import HEADS, Config
from ..errors import WeightsError
from ..loading import Model

Command = TypeVar("Command", bound=Callable[..., Any])

takes_head = click.option(
    "--head",
    metavar="HEAD",
    type=click.Choice(list(HEADS)),
    help="encoder, masked_lm, ...; by default the head that the model was saved with.",
)


class Source(NamedTuple):
    """A model, as the options of a command name it."""

    name: str | Path
    dtype: str = "float32"
    adapter: str | None = None
    tokenizer: str | None = None
    trust_tokenizer: bool = False

    def load(self, head: str | None) -> Model:
        """Load the model. Messages do not mention `missing=` of `minroberta.load`, which is not an option here."""
        try:
            return loading.load(
                self.name,
                head=head,
                dtype=self.dtype,
                adapter=self.adapter,
                tokenizer=self.tokenizer,
                trust_tokenizer=self.trust_tokenizer,
            )
        except WeightsError as error:
            text = str(error).partition(": give missing=")[0]
            raise click.ClickException(_missing_head(self, head) or text) from error


def _missing_head(source: Source, head: str | None) -> str | None:
    """The message if only weights of the head are missing, otherwise None."""
    repository = describe(hub.locate(source.name))
    file = read_merged(repository, source.adapter)
    fields = read.fields_of(repository.model, file, repository.root)
    if fields.get("model_type") == halves.KIND:
        return None
    config = Config.from_dict(fields)
    head = head or config.head
    held = read.inventory(file, config)[0]
    missing = [weight for weight in weights.shapes(config, head) if weight not in held]
    wanted = weights.head_shapes(config, head)
    if head == "encoder" or not missing or not set(missing) <= wanted.keys():
        return None
    heads = ", ".join(weights.heads_in(held, config)) or "none"
    return (
        f"{source.name} has no head {head!r}: it lacks {', '.join(missing)}. Its heads: {heads}. "
        f"Give a model that has the head {head!r}"
    )


def takes_model(default: str | None = hub.EMBEDDED) -> Callable[[Command], Command]:
    """Add the options of a `Source`, which is passed to the command as `model`, and --json.

    --model is required if there is no default.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(
            model: str, dtype: str, adapter: str | None, tokenizer: str | None, trust_tokenizer: bool, **others: Any
        ) -> Any:
            if adapter and model == hub.EMBEDDED:
                raise click.UsageError(
                    "--adapter needs its base: give --model NAME as well, or give the adapter itself as --model"
                )
            return command(model=Source(model, dtype, adapter, tokenizer, trust_tokenizer), **others)

        for option in reversed(_options(default)):
            run = option(run)
        return run  # type: ignore[return-value]

    return decorate


def _options(default: str | None) -> list[Callable[[Callable], Callable]]:
    """The options of `takes_model`, in the order of the help."""
    return [
        click.option(
            "--model",
            metavar="NAME",
            default=default,
            show_default=default is not None,
            callback=_check_given,
            help="A directory, a weights file or a hub name." + ("" if default else "  [required]"),
        ),
        click.option("--adapter", metavar="NAME", help="Merge a LoRA adapter: a directory or a hub name."),
        click.option("--tokenizer", metavar="NAME", help="Use the tokenizer of another directory or hub name."),
        click.option("--trust-tokenizer", is_flag=True, help="Build whatever tokenizer.json says, at any cost."),
        click.option(
            "--dtype",
            type=click.Choice(["float64", "float32", "float16"]),
            default="float32",
            show_default=True,
            help="Dtype of the weights; float16 computes in float32.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON lines."),
    ]


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
