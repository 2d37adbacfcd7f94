"""`answer`: the span of a text that answers a question."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypedDict, overload

import numpy

from .. import ops
from ..backend.arrays import to_host, widen
from ..errors import InputError, TokenizerError, check_integer
from ..model import Network
from .running import Output, Row, best, ready, run
from .texts import as_given, as_texts, which
from .tokenizer import Tokenizer
from .windows import positions_of

if TYPE_CHECKING:
    import tokenizers

LONGEST = 384
"""Maximum number of tokens in a window, as in transformers' pipeline."""

SHARED = 128
"""Maximum number of tokens that neighbouring windows share, as in transformers' pipeline."""


class Answer(TypedDict):
    """An answer: a span of the context, with its score."""

    score: float
    start: int
    end: int
    answer: str


@overload
def answer(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network,
    question: str,
    context: str | Iterable[str],
    top_k: int = 1,
    max_answer_len: int = 15,
    align_to_words: bool = True,
) -> list[Answer]: ...
@overload
def answer(
    model: Network,
    question: Iterable[str],
    context: str | Iterable[str],
    top_k: int = 1,
    max_answer_len: int = 15,
    align_to_words: bool = True,
) -> list[list[Answer]]: ...
def answer(
    model: Network,
    question: str | Iterable[str],
    context: str | Iterable[str],
    top_k: int = 1,
    max_answer_len: int = 15,
    align_to_words: bool = True,
) -> list[Answer] | list[list[Answer]]:
    """The spans of a context that answer a question: a list of {score, start, end, answer}, best first.

    `answer` is context[start:end]. It has at most `max_answer_len` tokens; if `align_to_words` is True, it is then
    extended to whole words. `score` is the product of two probabilities, that of the start and that of the end. Each
    comes from a softmax over the positions of the context and of the first token, which stands for "no answer".
    Several questions may share one context, or there may be a context for each question.

    A long context is read in windows of at most 384 tokens, question included, or fewer if the model's maximum length
    is smaller. Neighbouring windows share 128 tokens of the context, or half a window's length if that is less. If the
    room that the question leaves for the context is no larger than this overlap, the overlap is half of that room. The
    softmax is taken in each window separately. As in transformers' pipeline, the same answer may be listed twice: from
    two windows, or from two spans within the same words.

    Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "answer", "question_answering")
    check_integer("top_k", top_k, 1)
    check_integer("max_answer_len", max_answer_len, 1)
    questions, contexts = _given(question, context)
    windows = _windows(tokenizer, questions, contexts)
    ends = iter(run(model, [window.ids for group in windows for window in group], _read_ends, unit="windows"))
    results = []
    for text, group in zip(contexts, windows, strict=True):
        found = [span for window in group for span in _spans(window, next(ends), top_k, max_answer_len)]
        found.sort(key=lambda span: span.score, reverse=True)
        results.append([_as_answer(text, span, align_to_words) for span in found[:top_k]])
    return as_given(question, results)


def _given(question: str | Iterable[str], context: str | Iterable[str]) -> tuple[list[str], list[str]]:
    """The questions, and one context for each question. No text is empty. Raises InputError, TokenizerError."""
    questions, contexts = as_texts(question, "question"), as_texts(context, "context")
    for name, texts in (("question", questions), ("context", contexts)):
        for index, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"{which(index, texts, name)} is empty: give some text")
    if isinstance(context, str):
        contexts *= len(questions)
    if len(questions) != len(contexts):
        raise InputError(
            f"{len(questions)} questions, but {len(contexts)} contexts: give one context for each question, or a "
            "single str for all questions"
        )
    return questions, contexts


def _windows(tokenizer: Tokenizer, questions: list[str], contexts: list[str]) -> list[list["tokenizers.Encoding"]]:
    longest = min(tokenizer.longest, LONGEST)
    stride = min(longest // 2, SHARED)
    windows = []
    for index, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        try:
            group = tokenizer.windows(question, context, stride=stride, max_length=longest)
        except TokenizerError as error:  # a long question leaves no room
            raise TokenizerError(f"{which(index, questions, 'question')}: {error}") from error
        if not any(positions_of(window, 1) for window in group):
            raise InputError(f"{which(index, contexts, 'context')} has no tokens: give some text")
        windows.append(group)
    return windows


def _read_ends(output: Output, _: Row) -> list[numpy.ndarray]:
    """Start and end logits, each (L,)."""
    return [to_host(widen(output[name]))[:, 0] for name in ("start_logits", "end_logits")]


class Span(NamedTuple):
    """A span of a window's tokens, from `first` to `last` inclusive."""

    window: "tokenizers.Encoding"
    first: int
    last: int
    score: float


def _spans(
    window: "tokenizers.Encoding", logits: list[numpy.ndarray], top_k: int, max_answer_len: int
) -> Iterator[Span]:
    """The best spans of a window's context. logits: start and end logits, each (L,)."""
    context = positions_of(window, 1)
    starts, ends = (ops.softmax(row[[0, *context]])[1:] for row in logits)  # (L,) -> (positions,)
    longest = min(max_answer_len, len(context))
    padded = numpy.concatenate([ends, numpy.zeros(longest - 1, ends.dtype)])
    following_ends = numpy.lib.stride_tricks.sliding_window_view(padded, longest)  # (positions, longest)
    scores = starts[:, None] * following_ends
    for i in best(scores.reshape(-1), top_k):
        first, length = divmod(int(i), longest)
        if first + length < len(context):
            yield Span(window, context[first], context[first + length], float(scores[first, length]))


def _as_answer(context: str, span: Span, align_to_words: bool) -> Answer:
    window, first, last = span.window, span.first, span.last
    if align_to_words:
        positions, words = positions_of(window, 1), window.word_ids
        first = next(i for i in positions if words[i] == words[first])
        last = next(i for i in reversed(positions) if words[i] == words[last])
    start, end = window.offsets[first][0], window.offsets[last][1]
    return {"score": span.score, "start": start, "end": end, "answer": context[start:end]}
