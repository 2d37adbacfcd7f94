"""`answer`: the span of a text that answers a question."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypedDict, overload

import numpy

from .. import ops
from ..backend.arrays import to_host, widen
from ..errors import InputError, TokenizerError, check_flag, check_integer
from ..model import Network
from .encodings import positions_of
from .running import Output, Row, best, ready, run
from .texts import as_given, as_texts, which
from .tokenizer import Encoding, Tokenizer

LONGEST = 384
"""Default for the maximum number of tokens in a window, as in transformers' pipeline."""

SHARED = 128
"""Default for the number of tokens that neighbouring windows share, as in transformers' pipeline."""


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
    handle_impossible_answer: bool = False,
    max_seq_len: int | None = None,
    doc_stride: int | None = None,
    max_question_len: int | None = None,
    merge_equal: bool = False,
) -> list[Answer]: ...
@overload
def answer(
    model: Network,
    question: Iterable[str],
    context: str | Iterable[str],
    top_k: int = 1,
    max_answer_len: int = 15,
    align_to_words: bool = True,
    handle_impossible_answer: bool = False,
    max_seq_len: int | None = None,
    doc_stride: int | None = None,
    max_question_len: int | None = None,
    merge_equal: bool = False,
) -> list[list[Answer]]: ...
def answer(
    model: Network,
    question: str | Iterable[str],
    context: str | Iterable[str],
    top_k: int = 1,
    max_answer_len: int = 15,
    align_to_words: bool = True,
    handle_impossible_answer: bool = False,
    max_seq_len: int | None = None,
    doc_stride: int | None = None,
    max_question_len: int | None = None,
    merge_equal: bool = False,
) -> list[Answer] | list[list[Answer]]:
    """The spans of a context that answer a question: a list of {score, start, end, answer}, best first.

    `answer` is context[start:end]. It has at most `max_answer_len` tokens; if `align_to_words` is True, it is then
    extended to whole words. `score` is the product of two probabilities, that of the start and that of the end. Each
    comes from a softmax over the positions of the context and of the first token, which stands for "no answer".
    Several questions may share one context, or there may be a context for each question.

    handle_impossible_answer: if True, "no answer" competes with the spans for the `top_k` best. It has start and end 0,
    an empty `answer`, and as its score the smallest of all windows.

    A long context is read in windows of at most `max_seq_len` tokens, question included; by default 384, or the model's
    maximum length if that is smaller. Neighbouring windows share `doc_stride` tokens of the context; by default 128, or
    half a window's length if that is less. If the question leaves no more room for the context than this overlap, the
    overlap is half of that room. The softmax is taken in each window separately.

    merge_equal: list answers with the same text once, with the sum of their scores and the span that was found first,
    as later versions of transformers' pipeline do, ignoring case. By default the same answer may be listed several
    times: from two windows, from two spans within the same words, or because the context contains it twice.

    max_question_len: maximum number of tokens of a question; a longer one is truncated, with a warning. By default a
    question is read whole, as by transformers' pipeline with a fast tokenizer.

    Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "answer", "question_answering")
    check_flag("align_to_words", align_to_words)
    check_flag("handle_impossible_answer", handle_impossible_answer)
    check_flag("merge_equal", merge_equal)
    check_integer("top_k", top_k, 1)
    check_integer("max_answer_len", max_answer_len, 1)
    longest, stride = _lengths(tokenizer, max_seq_len, doc_stride)
    questions, contexts = _given(question, context)
    if max_question_len is not None:
        questions = _cut_questions(tokenizer, questions, check_integer("max_question_len", max_question_len, 1))
    windows = _windows(tokenizer, questions, contexts, longest, stride)
    rows = [tokenizer.row(window) for group in windows for window in group]
    ends = iter(run(model, rows, _read_ends, unit="windows"))
    count = 2 * top_k + 10 if merge_equal and align_to_words else top_k  # in each window, as in the pipeline
    results = []
    for text, group in zip(contexts, windows, strict=True):
        read = [_read_window(window, next(ends)) for window in group]
        spans = [span for each in read for span in _spans(each, count, max_answer_len)]
        found = [_as_answer(text, span, align_to_words) for span in spans]
        if merge_equal:
            found = _merged(found)
        if handle_impossible_answer:
            found.append({"score": min(each.impossible for each in read), "start": 0, "end": 0, "answer": ""})
        results.append(sorted(found, key=lambda one: one["score"], reverse=True)[:top_k])
    return as_given(question, results)


def _lengths(tokenizer: Tokenizer, max_seq_len: int | None, doc_stride: int | None) -> tuple[int, int]:
    """Maximum number of tokens in a window, and number of tokens that neighbouring windows share. Raises InputError."""
    longest = min(tokenizer.longest, LONGEST)
    if max_seq_len is not None:
        longest = check_integer("max_seq_len", max_seq_len, 1, tokenizer.longest)
    if doc_stride is None:
        return longest, min(longest // 2, SHARED)
    return longest, check_integer("doc_stride", doc_stride, 0, longest)


def _cut_questions(tokenizer: Tokenizer, questions: list[str], max_question_len: int) -> list[str]:
    """The questions, each cut after `max_question_len` tokens, with a warning."""
    limit = max_question_len + tokenizer.library.num_special_tokens_to_add(False)
    kept = []
    for index, question in enumerate(questions):
        first, *others = tokenizer.windows(question, stride=0, max_length=limit)
        if others:
            warnings.warn(
                f"{which(index, questions, 'question')} is longer than max_question_len, {max_question_len} tokens: "
                "the rest is left out",
                stacklevel=3,
            )
            question = question[: first.offsets[positions_of(first, 0)[-1]][1]]
        kept.append(question)
    return kept


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
            f"questions and contexts must be equally many, not {len(questions)} and {len(contexts)}: give one context "
            "for each question, or a single str for all questions"
        )
    return questions, contexts


def _windows(
    tokenizer: Tokenizer, questions: list[str], contexts: list[str], longest: int, stride: int
) -> Sequence[Sequence[Encoding]]:
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


class Window(NamedTuple):
    """A window with its probabilities."""

    encoding: Encoding
    context: list[int]  # positions of the context
    starts: numpy.ndarray  # of each of these positions
    ends: numpy.ndarray
    impossible: float  # probability that the first token is both start and end


def _read_window(encoding: Encoding, logits: list[numpy.ndarray]) -> Window:
    """logits: start and end logits, each (L,)."""
    context = positions_of(encoding, 1)
    starts, ends = (ops.softmax(row[[0, *context]]) for row in logits)  # (L,) -> (1 + positions,)
    return Window(encoding, context, starts[1:], ends[1:], float(starts[0] * ends[0]))


class Span(NamedTuple):
    """A span of a window's tokens, from `first` to `last` inclusive."""

    window: Encoding
    first: int
    last: int
    score: float


def _spans(window: Window, top_k: int, max_answer_len: int) -> Iterator[Span]:
    """The best spans of a window's context."""
    encoding, context, starts, ends, _ = window
    longest = min(max_answer_len, len(context))
    padded = numpy.concatenate([ends, numpy.zeros(longest - 1, ends.dtype)])
    following_ends = numpy.lib.stride_tricks.sliding_window_view(padded, longest)  # (positions, longest)
    scores = starts[:, None] * following_ends
    for i in best(scores.reshape(-1), top_k):
        first, length = divmod(int(i), longest)
        if first + length < len(context):
            yield Span(encoding, context[first], context[first + length], float(scores[first, length]))


def _as_answer(context: str, span: Span, align_to_words: bool) -> Answer:
    window, first, last = span.window, span.first, span.last
    if align_to_words:
        positions, words = positions_of(window, 1), window.word_ids
        first = next(i for i in positions if words[i] == words[first])
        last = next(i for i in reversed(positions) if words[i] == words[last])
    start, end = window.offsets[first][0], window.offsets[last][1]
    return {"score": span.score, "start": start, "end": end, "answer": context[start:end]}


def _merged(answers: list[Answer]) -> list[Answer]:
    """The answers, each text once, with the sum of its scores and the span that came first."""
    found: dict[str, Answer] = {}
    for one in answers:
        first = found.setdefault(one["answer"].lower(), {**one, "score": 0.0})
        first["score"] += one["score"]
    return list(found.values())
