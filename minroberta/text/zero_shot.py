"""`zero_shot`: labels that a model was not trained on, ranked by means of natural language inference."""

from collections.abc import Iterable
from typing import TypedDict, overload

import numpy

from .. import ops
from ..backend.arrays import to_host, widen
from ..errors import InputError, check_flag
from ..model import Network
from .running import Output, Row, best, label_names, ready, run, warn_of_cut
from .texts import as_given, as_texts, which
from .tokenizer import Row as Tokenized
from .tokenizer import Tokenizer


class Ranking(TypedDict):
    """A text's labels, best first, with their scores."""

    sequence: str
    labels: list[str]
    scores: list[float]


@overload
def zero_shot(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network,
    texts: str,
    labels: str | Iterable[str],
    hypothesis_template: str = "This example is {}.",
    multi_label: bool = False,
) -> Ranking: ...
@overload
def zero_shot(
    model: Network,
    texts: Iterable[str],
    labels: str | Iterable[str],
    hypothesis_template: str = "This example is {}.",
    multi_label: bool = False,
) -> list[Ranking]: ...
def zero_shot(
    model: Network,
    texts: str | Iterable[str],
    labels: str | Iterable[str],
    hypothesis_template: str = "This example is {}.",
    multi_label: bool = False,
) -> Ranking | list[Ranking]:
    """The given labels, ranked for each text: {sequence, labels, scores}, best first.

    The model must be trained on natural language inference, which is to say whether a text entails a hypothesis. Each
    label takes the place of {} in `hypothesis_template`, and its logit is that of entailment, the model's first label
    whose name begins with "entail". `sequence` is the text.

    labels: several labels, or a str in which commas separate them. multi_label: if False, the scores are the softmax
    over the labels, so that they sum to 1. If True, or if there is a single label, each score is the softmax over two
    logits of its label alone: that of entailment and that of contradiction, which is the model's first label, or the
    last if the first is entailment. A text that is too long is truncated, with a warning; hypotheses are read whole.

    Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "zero_shot", "sequence_classification")
    check_flag("multi_label", multi_label)
    entailment = _entailment([str(name) for name in label_names(model.config)])
    names = _labels(labels)
    hypotheses = _hypotheses(hypothesis_template, names)
    inputs = as_texts(texts)
    rows = _rows(tokenizer, inputs, hypotheses)
    each = len(names)
    warn_of_cut(
        [max(rows[i : i + each], key=lambda row: len(row.rest)) for i in range(0, len(rows), each)], tokenizer.longest
    )
    logits = run(model, rows, _read_logits, [[0]] * len(rows), unit="pairs")
    results = []
    for index, text in enumerate(inputs):
        of_text = numpy.stack(logits[index * each : (index + 1) * each])  # (labels, N)
        scores = _scores(of_text, entailment, multi_label or len(names) == 1)
        order = best(scores, None)
        ranking = Ranking(sequence=text, labels=[names[i] for i in order], scores=[float(scores[i]) for i in order])
        results.append(ranking)
    return as_given(texts, results)


# --- labels and hypotheses ------------------------------------------------------------------------------------------


def _entailment(names: list[str]) -> int:
    """Index of the model's label for entailment. Raises InputError."""
    for index, name in enumerate(names):
        if name.lower().startswith("entail"):
            return index
    raise InputError(
        f"zero_shot needs a label whose name begins with 'entail', but this model has {', '.join(names)}: load a model "
        "of natural language inference, or name its labels with load(..., config={'id2label': ...})"
    )


def _labels(labels: str | Iterable[str]) -> list[str]:
    given = labels.split(",") if isinstance(labels, str) else labels
    names = as_texts(given, "label")
    if isinstance(labels, str):
        names = [name.strip() for name in names if name.strip()]
    if not names:
        raise InputError("no labels: give at least one")
    return names


def _hypotheses(template: str, names: list[str]) -> list[str]:
    """The template with each label. Raises InputError."""
    problem = InputError(f"hypothesis_template must be a str with {{}} where the label goes, not {template!r}")
    if not isinstance(template, str):
        raise problem
    try:
        hypotheses = [template.format(name) for name in names]
    except (LookupError, ValueError, AttributeError) as error:  # such as {other}, {1}, a single brace or {0.x}
        raise problem from error
    if hypotheses[0] == template:
        raise problem
    return hypotheses


# --- computation ----------------------------------------------------------------------------------------------------


def _rows(tokenizer: Tokenizer, texts: list[str], hypotheses: list[str]) -> list[Tokenized]:
    """Ids of each text with each hypothesis. Raises InputError."""
    for index, row in enumerate(tokenizer.rows([("", hypothesis) for hypothesis in hypotheses])):
        if len(row) >= tokenizer.longest:
            raise InputError(
                f"{which(index, hypotheses, 'hypothesis')} leaves no room for text in the {tokenizer.longest} tokens "
                "that this model reads: shorten the label or the hypothesis_template"
            )
    pairs = [(text, hypothesis) for text in texts for hypothesis in hypotheses]
    return tokenizer.rows(pairs, tokenizer.longest, truncation="only_first")


def _read_logits(output: Output, _: Row) -> numpy.ndarray:
    return to_host(widen(output["logits"]))[0]  # (1, N) -> (N,)


def _scores(logits: numpy.ndarray, entailment: int, each: bool) -> numpy.ndarray:
    """Score of each label: (labels, N) -> (labels,). each: compare entailment with contradiction, not the labels."""
    if not each:
        return ops.softmax(logits[:, entailment])
    contradiction = -1 if entailment == 0 else 0
    return ops.softmax(logits[:, [contradiction, entailment]])[:, 1]
