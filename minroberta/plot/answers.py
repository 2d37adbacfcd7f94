"""The answers of each head for one text, as rows of a table: subject, answer, and its score in words."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from ..text.classify import classify
from ..text.running import label_names, probabilities
from ..text.texts import Text
from ..trace import Trace
from . import values

Answer = tuple[str, str, str]
"""Subject of an answer, such as a token, or ""; the answer; and its score."""

BEST = 5
"""Number of answers about the same."""

WITHOUT = {
    "encoder": "This head gives vectors. It answers nothing.",
    "masked_lm": "There is no mask in this text. Choose a token to see what the head says for it, below.",
    "multiple_choice": "This head compares choices. One text alone has no answer.",
}
"""The sentence for a head that has no answer to this text."""


def answers(trace: Trace, text: Text) -> list[Answer]:
    """Return the answers of a traced model's head to the text or pair of the trace; [] if it has none."""
    return list(OF_HEAD[trace.model.head](trace, text)) if trace.model.head in OF_HEAD else []


def about(trace: Trace, position: int) -> str:
    """A token and its position, in words."""
    return f"{values.tokens(trace)[position]} (token {position})"


def _masked(trace: Trace, text: Text) -> Iterator[Answer]:
    for position in values.masks(trace):
        yield from _likeliest(trace, about(trace, position), position)


def _next(trace: Trace, text: Text) -> Iterator[Answer]:
    yield from _likeliest(trace, "the next token", -1)


def _likeliest(trace: Trace, what: str, position: int) -> Iterator[Answer]:
    chances = probabilities(trace.output.logits[0, position])  # (V,)
    for token in numpy.argsort(-chances, kind="stable")[:BEST]:
        yield what, values.name_of(trace, int(token)), percent(chances[token])


def _class(trace: Trace, text: Text) -> Iterator[Answer]:
    regression = trace.model.config.problem_type == "regression"
    for found in classify(trace.model, text, top_k=BEST):
        yield "", found["label"], f"{found['score']:.4g}" if regression else percent(found["score"])


def _tags(trace: Trace, text: Text) -> Iterator[Answer]:
    chances, names = probabilities(trace.output.logits)[0], label_names(trace.model.config)  # (L, N)
    for position, row in enumerate(chances):
        yield about(trace, position), names[int(row.argmax())], percent(row.max())


def _span(trace: Trace, text: Text) -> Iterator[Answer]:
    for what, logits in (("start", trace.output.start_logits), ("end", trace.output.end_logits)):
        chances = probabilities(logits)[0]  # (L,)
        for position in numpy.argsort(-chances, kind="stable")[:BEST]:
            yield f"{what} of the answer", about(trace, int(position)), percent(chances[position])


def percent(share: Any) -> str:
    """A share of 1 as a percentage with one decimal."""
    return f"{float(share):.1%}"


OF_HEAD: dict[str, Callable[[Trace, Text], Iterator[Answer]]] = {
    "masked_lm": _masked,
    "causal_lm": _next,
    "sequence_classification": _class,
    "token_classification": _tags,
    "question_answering": _span,
}
"""The answers of each head that has any."""
