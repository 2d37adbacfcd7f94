"""From examples to rows of tokens with their labels, and from rows to the arrays of a batch."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy

from ..errors import InputError, check_integer
from ..model import Network
from ..text.answer import LONGEST, SHARED
from ..text.encodings import positions_of
from ..text.running import ready
from ..text.tokenizer import Encoding, Row, Tokenizer
from ..train import masked
from .examples import Example
from .labels import numbers_of

IGNORED = -100


class Labelled(NamedTuple):
    """A row of tokens, or one for each choice, with its label.

    label: a number, or a list of numbers; for words, those of the row's positions; for an answer, two positions.
    """

    rows: tuple[Row, ...]
    label: Any

    @property
    def length(self) -> int:
        """Number of tokens of the longest row."""
        return max(map(len, self.rows))


def rows_of(model: Network, examples: Sequence[Example], max_length: int | None = None) -> list[Labelled]:
    """The rows of the examples. Texts that are too long are cut, or divided if the head can read them in parts.

    max_length: the largest number of tokens in a row; by default the model's. Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "fine-tuning", model.head)
    limit = min(tokenizer.longest, LONGEST) if model.head == "question_answering" else tokenizer.longest
    if max_length is not None:
        limit = check_integer("max_length", max_length, 1, tokenizer.longest)
    match model.head:
        case "masked_lm" | "causal_lm":
            return list(_of_texts(tokenizer, examples, limit))
        case "question_answering":
            return list(_of_questions(tokenizer, examples, limit))
        case "multiple_choice":
            return _all_of(_of_choices(tokenizer, examples, limit), limit)
    labels = numbers_of(examples, model.head, model.config)
    if model.head == "token_classification":
        return _all_of(_of_words(tokenizer, examples, labels, limit), limit)
    return _all_of(_of_labelled_texts(tokenizer, examples, labels, limit), limit)


def _all_of(rows: Iterable[Labelled], limit: int) -> list[Labelled]:
    """The rows, with a warning if some were cut."""
    found = list(rows)
    if cut := sum(any(row.rest for row in one.rows) for one in found):
        warnings.warn(
            f"{cut} of {len(found)} examples have more than {limit} tokens: the rest is left out", stacklevel=4
        )
    return found


def _of_labelled_texts(
    tokenizer: Tokenizer, examples: Sequence[Example], labels: Sequence[Any], limit: int
) -> Iterator[Labelled]:
    inputs = [example.texts[0] if len(example.texts) == 1 else example.texts for example in examples]
    for row, label in zip(tokenizer.rows(inputs, limit), labels, strict=True):
        yield Labelled((row,), label)


def _of_texts(tokenizer: Tokenizer, examples: Sequence[Example], limit: int) -> Iterator[Labelled]:
    for example in examples:
        for window in tokenizer.windows(example.texts[0], stride=0, max_length=limit):
            yield Labelled((tokenizer.row(window),), None)


def _of_choices(tokenizer: Tokenizer, examples: Sequence[Example], limit: int) -> Iterator[Labelled]:
    counts = {len(example.texts) for example in examples}
    if len(counts) > 1:
        few, many = min(counts) - 1, max(counts) - 1
        raise InputError(f"examples have {few} to {many} choices: give the same number of choices in each")
    for (prompt, *choices), label in examples:
        yield Labelled(tuple(tokenizer.rows([(prompt, choice) for choice in choices], limit)), label)


def _of_words(
    tokenizer: Tokenizer, examples: Sequence[Example], labels: Sequence[Sequence[int]], limit: int
) -> Iterator[Labelled]:
    """A word's label is that of its first token, and the other tokens have none (Devlin et al. 2019, section 5.3)."""
    texts = [" ".join(example.texts) for example in examples]
    for index, row in enumerate(tokenizer.rows(texts, limit, places=True)):
        own, known = [IGNORED] * len(row), set()
        of_character = [word for word, text in enumerate(examples[index].texts) for _ in f"{text} "]
        for position, (start, end) in enumerate(row.offsets):
            if start < end and (word := of_character[end - 1]) not in known:
                known.add(word)
                own[position] = labels[index][word]
        yield Labelled((row,), own)


def _of_questions(tokenizer: Tokenizer, examples: Sequence[Example], limit: int) -> Iterator[Labelled]:
    """The positions of an answer's first and last token; of the first token, if the answer is not in the window."""
    for texts, answers in examples:
        for window in tokenizer.windows(*texts, stride=min(limit // 2, SHARED), max_length=limit):
            span = _positions(window, *answers[0]) if answers else (0, 0)
            yield Labelled((tokenizer.row(window),), span)


def _positions(window: Encoding, start: int, end: int) -> tuple[int, int]:
    positions, offsets = positions_of(window, 1), window.offsets
    inside = [i for i in positions if offsets[i][1] > start and offsets[i][0] < end]
    if not inside or offsets[positions[0]][0] > start or offsets[positions[-1]][1] < end:
        return 0, 0
    return inside[0], inside[-1]


# --- batches --------------------------------------------------------------------------------------------------------


def batch_of(model: Network, some: Sequence[Labelled], seed: Any) -> dict[str, Any]:
    """The inputs of a call with a loss, padded to the longest row. seed: of the tokens that a masked model predicts."""
    tokenizer = ready(model, "fine-tuning", model.head)
    arrays = tokenizer.padded([row for one in some for row in one.rows], side="right")
    ids, mask = arrays["input_ids"], arrays["attention_mask"]  # (B, L); for choices, (B·C, L)
    match model.head:
        case "masked_lm":
            arrays["input_ids"], labels = _masked(ids, model, tokenizer, seed)
        case "causal_lm":
            labels = numpy.where(mask == 1, ids, IGNORED)
        case "token_classification":
            labels = numpy.full(ids.shape, IGNORED)
            labels[mask == 1] = numpy.concatenate([one.label for one in some])
        case "question_answering":
            start, end = numpy.transpose([one.label for one in some])  # (B, 2) -> (B,) twice
            return {**arrays, "start_positions": start, "end_positions": end}
        case "multiple_choice":
            arrays = {name: x.reshape(len(some), -1, x.shape[1]) for name, x in arrays.items()}  # (B·C, L) -> (B, C, L)
            labels = numpy.asarray([one.label for one in some])
        case _:
            labels = numpy.asarray([one.label for one in some])
            labels = labels if labels.dtype.kind == "i" else labels.astype(model.dtype.name)
    return {**arrays, "labels": labels}


DRAWS = 100
"""Largest number of attempts to choose masked tokens for a batch: a few short rows may have none at first."""


def _masked(ids: numpy.ndarray, model: Network, tokenizer: Tokenizer, seed: Any) -> tuple[numpy.ndarray, numpy.ndarray]:
    if tokenizer.mask_token_id is None:
        raise InputError("the tokenizer has no mask token: give a model whose tokenizer has one, or another head")
    drawn = (
        masked(ids, model.config, tokenizer.mask_token_id, tokenizer.special_ids, (*numpy.atleast_1d(seed), draw))
        for draw in range(DRAWS)
    )
    return next((pair for pair in drawn if (pair[1] != IGNORED).any()), (ids, numpy.full_like(ids, IGNORED)))
