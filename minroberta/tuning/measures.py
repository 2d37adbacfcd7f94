"""Measures of a model on examples that it was not trained on: the loss, and the usual measure of each head."""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ..backend.arrays import to_host, widen
from ..backend.schedule import steady
from ..config import HEADS
from ..loading import Model
from ..text.running import label_names, progress
from .examples import Example
from .labels import MULTI, REGRESSION
from .rows import IGNORED, Labelled, batch_of

AT_ONCE = 32
"""Number of rows in a batch."""

Scores = dict[str, float]
"""Figures by name, of which the first decides between two models."""


def measure(
    model: Model, rows: Sequence[Labelled], examples: Sequence[Example], max_length: int | None = None
) -> Scores:
    """The scores of a model on the rows of some examples, with the same masked tokens in each call.

    accuracy: of texts, words, choices, or predicted tokens. f1: of several labels or of entities, over all examples
    together. pearson: the correlation of predicted numbers. exact_match, f1: of answers, as for SQuAD (Rajpurkar et al.
    2016, section 6.1), the mean over the questions. loss: the mean over texts, or over predicted tokens and words.
    """
    losses, weights, found = [], [], []
    by_length = sorted(rows, key=lambda row: row.length)
    with progress(len(rows), "rows") as advance:
        for start in range(0, len(rows), AT_ONCE):
            some = by_length[start : start + AT_ONCE]
            batch = batch_of(model, some, seed=(0, start))
            with steady(model.xp):
                output = model(**batch)
            losses.append(float(to_host(output["loss"])))
            weights.append(_weight(model, batch))
            found += [] if model.head == "question_answering" else _predicted(model, output["logits"], batch)
            advance(len(some))
    total = math.fsum(loss * weight for loss, weight in zip(losses, weights, strict=True) if weight)
    loss = {"loss": total / sum(weights) if any(weights) else math.nan}
    if model.head == "question_answering":
        return {**_of_answers(model, examples, max_length), **loss}
    if model.head in ("masked_lm", "causal_lm"):
        return {**loss, **_of_predictions(model, found)}
    return {**_of_predictions(model, found), **loss}


def better(one: Scores, other: Scores) -> bool:
    """True if the first measure of `one` is better than that of `other`; of equal ones, if its loss is smaller."""
    return _order(one) > _order(other)


def _order(scores: Scores) -> tuple[float, float]:
    """Larger is better. NaN, as from weights that have grown without bound, is worst."""
    first = next(iter(scores))
    both = (-scores[first] if first == "loss" else scores[first], -scores["loss"])
    return both if all(map(math.isfinite, both)) else (-math.inf, -math.inf)


def _weight(model: Model, batch: dict[str, Any]) -> int:
    """The number of terms in the mean that the loss is: words and tokens with a label, or texts."""
    labels = batch.get("labels")
    if labels is None or HEADS[model.head].labels != "BL":
        return len(batch["input_ids"])
    return int(((labels[:, 1:] if model.head == "causal_lm" else labels) != IGNORED).sum())


def _predicted(model: Model, logits: Any, batch: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Predictions and right labels, for each text, or for the labelled positions of each row."""
    logits, labels = to_host(widen(logits)), batch["labels"]
    if labels.dtype.kind == "f":
        regresses = model.config.problem(integer_labels=False) == REGRESSION
        guesses = logits.reshape(labels.shape) if regresses else logits > 0
        return list(zip(guesses, labels, strict=True))
    guesses = logits.argmax(-1)
    if model.head == "causal_lm":
        guesses, labels = guesses[:, :-1], labels[:, 1:]
    if labels.ndim == 1:
        return list(zip(guesses, labels, strict=True))
    return [(guess[own != IGNORED], own[own != IGNORED]) for guess, own in zip(guesses, labels, strict=True)]


def _of_predictions(model: Model, found: Sequence[tuple[Any, Any]]) -> Scores:
    problem = model.config.problem_type if model.head == "sequence_classification" else None
    guesses, right = (numpy.concatenate([numpy.atleast_1d(one[side]) for one in found]) for side in (0, 1))
    if problem == REGRESSION or (right.dtype.kind == "f" and model.config.num_labels == 1):
        error = float(((guesses - right) ** 2).mean())
        return {"pearson": _correlation(guesses, right), "squared_error": error}
    if problem == MULTI or right.dtype.kind == "f":
        return {"f1": _f1(int((guesses * right).sum()), int(guesses.sum()), int(right.sum()))}
    accuracy = {"accuracy": float((guesses == right).mean()) if len(right) else float("nan")}
    names = [str(name) for name in label_names(model.config)] if model.head == "token_classification" else []
    if any(name.startswith(("B-", "I-")) for name in names):
        tags = [tuple([names[i] for i in one] for one in both) for both in found]
        return {"f1": _of_entities(tags), **accuracy}
    return accuracy


def _correlation(x: numpy.ndarray, y: numpy.ndarray) -> float:
    """Pearson's, or 0 if one of them is constant."""
    x, y = x - x.mean(), y - y.mean()
    size = float(numpy.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / size if size else 0.0


def _f1(shared: int, found: int, right: int) -> float:
    """2 P R / (P + R), with precision P = shared / found and recall R = shared / right."""
    return 2 * shared / (found + right) if found + right else 1.0


# --- entities -------------------------------------------------------------------------------------------------------


def _of_entities(pairs: Sequence[tuple[Sequence[str], ...]]) -> float:
    """The F1 of whole entities: kind, first and last word must be right (Tjong Kim Sang and De Meulder 2003)."""
    spans = [(_entities(guess), _entities(own)) for guess, own in pairs]
    return _f1(sum(len(a & b) for a, b in spans), sum(len(a) for a, _ in spans), sum(len(b) for _, b in spans))


def _entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Kind, start and end of each run of tags of one kind; a B- begins a new run."""
    found, start = set(), 0
    for index in range(1, len(tags) + 1):
        before = tags[index - 1]
        kind = before[2:] if before.startswith(("B-", "I-")) else before
        if index == len(tags) or tags[index] != f"I-{kind}":
            if kind != "O":
                found.add((kind, start, index))
            start = index
    return found


# --- answers --------------------------------------------------------------------------------------------------------


def _of_answers(model: Model, examples: Sequence[Example], max_length: int | None) -> Scores:
    questions, contexts = (list(texts) for texts in zip(*(example.texts for example in examples), strict=True))
    may_lack = any(not example.label for example in examples)
    answers = model.answer(questions, contexts, handle_impossible_answer=may_lack, max_seq_len=max_length)
    given = [found[0]["answer"] for found in answers]
    right = [[example.texts[1][start:end] for start, end in example.label] or [""] for example in examples]
    return {
        "exact_match": _mean(given, right, lambda one, other: float(_plain(one) == _plain(other))),
        "f1": _mean(given, right, _shared_words),
    }


def _mean(given: Sequence[str], right: Sequence[Sequence[str]], score: Callable[[str, str], float]) -> float:
    """The mean over the questions of the best score with any of the right answers."""
    pairs = zip(given, right, strict=True)
    return float(numpy.mean([max(score(one, other) for other in several) for one, several in pairs]))


def _plain(text: str) -> list[str]:
    """The words in lower case, without punctuation and articles."""
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(DELETED)).split()


DELETED = str.maketrans("", "", string.punctuation)


def _shared_words(one: str, other: str) -> float:
    a, b = _plain(one), _plain(other)
    return _f1(sum((Counter(a) & Counter(b)).values()), len(a), len(b))
