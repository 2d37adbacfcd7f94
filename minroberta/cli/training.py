"""What the command fine-tune does: data, model and training, shown as they are found. It is imported only for that."""

import contextlib
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import click

from ..backward import check_dtype
from ..checkpoints import hub
from ..errors import ConfigError, InputError, WeightsError
from ..loading import Model, load
from ..text.running import label_names
from ..train import Part
from ..tuning.examples import Example, read_examples
from ..tuning.heads import new_to_each_task, with_new_head
from ..tuning.labels import REGRESSION, SINGLE, label_fields, names_in, numbers_of
from ..tuning.loop import Progress, divided, fine_tune, usual_rate
from ..tuning.lora import Lora
from ..tuning.measures import Scores, better, measure
from ..tuning.rows import rows_of
from ..tuning.run import Run
from ..weights import flat
from .console import cell, print_facts, print_json, printable, say
from .options import Source

RATES = {"all": 1, "head": 50, "lora": 25}
"""The factor of the usual learning rate for each part that may be trained."""

SHOWN = 20
"""Number of labels that are shown."""


class Asked(NamedTuple):
    """The user's request. what: the part that is trained, a key of RATES. options: all other options, by name."""

    data: Path
    output: Path
    model: Source
    head: str
    what: str
    as_json: bool
    options: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that must be the same for a run to go on, with checksums of the examples."""
        own = {"model": str(self.model.name), "adapter": self.model.adapter, "tokenizer": self.model.tokenizer}
        files = [path for path in (self.data, Path(self.options["held_out"])) if path.is_file()]
        checksums = {f"checksum of {path}": zlib.crc32(path.read_bytes()) for path in files}
        return {**own, "dtype": self.model.dtype, "head": self.head, "train": self.what, **self.options, **checksums}


class Data(NamedTuple):
    """The examples to train on and to measure with, and the column of each role."""

    examples: list[Example]
    held_out: list[Example]
    columns: dict[str, str]


def tuned(asked: Asked) -> None:
    """Train a model as asked, and print what was found, the scores, and the step that is kept."""
    run = Run(asked.output, asked.settings)
    given = _data(asked)
    base, which_head = _model(asked, given)
    part = _part(asked, base)
    facts = _facts(asked, given, base, which_head, part)
    if not asked.as_json:
        print_facts(facts)
    _train(asked, run, base, part, given)
    (_, before), (step, after) = run.history[0], run.best
    if asked.as_json:
        scores = {"before": before, "after": after, "step": step, "history": run.history}
        print_json({"directory": str(asked.output), **facts, **scores})
    else:
        click.echo(printable(f"{asked.output}: {_in_words(before)} before, {_in_words(after)} after step {step:,}"))
    if not better(after, before):
        say(
            "warning",
            f"training made the model no better on the held-out examples, but {asked.output} holds the trained one: "
            "try more examples, another --learning-rate, or another number of --epochs",
        )


# --- what is given --------------------------------------------------------------------------------------------------


def _data(asked: Asked) -> Data:
    """The examples of a file, and those held out: a share of them, or those of another file."""
    columns, held_out = asked.options["columns"], asked.options["held_out"]
    examples, found = read_examples(asked.data, asked.head, columns)
    try:
        share = float(held_out)
    except ValueError:
        return Data(examples, read_examples(held_out, asked.head, columns)[0], found)
    if not 0 < share < 1:
        raise click.UsageError(f"--held-out takes a share between 0 and 1, or a file, not {held_out}")
    return Data(*divided(examples, asked.head, share, asked.options["seed"]), found)


def _model(asked: Asked, given: Data) -> tuple[Model, str]:
    """The model, with its own head if that knows the labels, or else with a new one; and which of them it is."""
    examples, head = [*given.examples, *given.held_out], asked.head
    how: dict[str, Any] = {**asked.model._asdict(), "head": head}
    if head == "causal_lm":
        return load(**how, config={"is_decoder": True}), "its own head"
    fields, which = label_fields(examples, head, asked.options["problem_type"]), "a new head"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again below
            own = load(**how)
            which += f" (its own knows {', '.join(map(str, label_names(own.config))):.100})" if fields else ""
            numbers_of(examples, head, own.config)
        fits = fields.get("problem_type") in (None, own.config.problem(integer_labels=True))
    except (ConfigError, InputError, WeightsError):
        fits = False
    if fits:
        return load(**how), "its own head"
    seed = asked.options["seed"]
    return with_new_head(load(**how, missing="init", seed=seed, config=fields), seed), which


def _part(asked: Asked, model: Model) -> Part:
    if asked.what == "lora":
        return Lora(model, asked.options["rank"], seed=asked.options["seed"])
    if asked.what == "all":
        return Part(model)
    head = set(new_to_each_task(model))
    if not head:
        raise click.UsageError("--train head is for heads that are new to a task, not for language models")
    return Part(model, head.__contains__)


def _facts(asked: Asked, given: Data, model: Model, which_head: str, part: Part) -> dict[str, Any]:
    """A description of data, model and training, to be checked by a person."""
    examples = [*given.examples, *given.held_out]
    several = {role: [f"column {column}"] for role, column in given.columns.items()}
    counts: Counter[str] = Counter()
    if model.head in ("sequence_classification", "token_classification") and model.config.problem_type != REGRESSION:
        for example in examples:
            label = example.label
            counts.update(label if isinstance(label, list) else names_in(label, model.config.problem_type or SINGLE))
    labels = [f"{name} {count:,}" for name, count in counts.most_common(SHOWN)]
    labels += [f"and {len(counts) - SHOWN} more"] if len(counts) > SHOWN else []
    trained, all_weights = (sum(x.size for x in some.values()) for some in (part.weights, flat(model.params)))
    return {
        "examples": len(given.examples),
        "held out": len(given.held_out),
        **several,
        **({"labels": labels} if labels else {}),
        "model": f"{asked.model.name}, {model.head}, with {which_head}",
        "trained": f"{trained:,} weights; the model has {all_weights:,}",
        "learning rate": cell(_rate(asked, model)),
    }


def _rate(asked: Asked, model: Model) -> float:
    given: float | None = asked.options["learning_rate"]
    return RATES[asked.what] * usual_rate(model) if given is None else given


# --- training -------------------------------------------------------------------------------------------------------


def _train(asked: Asked, run: Run, model: Model, part: Part, given: Data) -> None:
    """Train, keep the best model in the run's directory, and note all scores there."""
    options = asked.options
    check_dtype(model)

    def measured(model: Model) -> Scores:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of long texts, which training gives too
            rows = rows_of(model, given.held_out, options["max_length"])
        return measure(model, rows, given.held_out, options["max_length"])

    if moments := run.resumed(part):
        say("note", f"{run.directory} holds the first {moments.steps:,} steps of this run: it goes on from there")
    else:
        run.begin(measured(model))
    _show(asked, "before", run.history[0][1])

    def keep(progress: Progress, scores: Scores) -> None:
        if run.is_best(scores):
            _save(asked, progress, part)
        run.add(progress.step, scores)
        done = f"{progress.step.number:,} of {progress.steps:,} steps"
        _show(asked, done, {**scores, "training loss": fmean(losses)})
        losses.clear()

    last, losses = None, list[float]()
    how = {name: options[name] for name in ("epochs", "batch_size", "max_length", "dropout", "seed")}
    steps = fine_tune(
        model, given.examples, given.held_out, learning_rate=_rate(asked, model), part=part, moments=moments, **how
    )
    try:
        with _bar(asked.as_json) as show:
            for last in steps:
                losses.append(last.step.loss)
                show(last, losses)
                if last.scores is not None:
                    keep(last, last.scores)
    except KeyboardInterrupt:
        if last is not None and last.scores is None:
            say("note", f"measuring the model of step {last.step.number:,}; Ctrl-C again to leave it out")
            keep(last, measured(last.model))
        kept = f"{run.directory} holds the best model so far" if len(run.history) > 1 else "nothing was trained yet"
        say("note", f"interrupted: {kept}; the same command goes on")
        raise
    run.end()


def _save(asked: Asked, progress: Progress, part: Part) -> None:
    """The whole model, or LoRA's matrices, for which the base must be found by its name or its whole path."""
    model, name = progress.model, asked.model.name
    if not isinstance(part, Lora):
        model.save(asked.output)
        return
    part.save(asked.output, progress.step.weights, model, str(Path(name).resolve() if hub.exists(Path(name)) else name))


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[Progress, Sequence[float]], None]]:
    """A progress bar with the mean loss of the last steps, if standard error is a terminal."""
    if quiet or not (sys.stderr and sys.stderr.isatty()):
        yield lambda progress, losses: None
        return
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(unit=" steps", leave=False) as bar:

        def show(progress: Progress, losses: Sequence[float]) -> None:
            bar.total, bar.n = progress.steps, progress.step.number
            bar.set_postfix_str(f"loss {fmean(losses[-50:]):.4f}")

        yield show


def _show(asked: Asked, when: str, scores: Scores) -> None:
    """Print a line of scores."""
    if not asked.as_json:
        click.echo(printable(f"{when:<24}{_in_words(scores)}"))


def _in_words(scores: Scores) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {cell(value)}" for name, value in scores.items())
