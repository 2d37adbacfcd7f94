"""`tag`: the label of each word or token."""

import functools
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, NotRequired, TypedDict, TypeVar, overload

import numpy

from ..errors import NameUnknownError, check_flag
from ..model import Network
from .running import Output, Row, label_names, probabilities, ready
from .texts import as_given
from .tokenizer import Tokenizer
from .windows import Piece, read_pieces

Strategy = Literal["none", "simple", "first", "average", "max"]
Item = TypeVar("Item")

Pieces = list[Piece[numpy.ndarray]]
"""Tokens, each with the probabilities of all labels, (N,)."""

OF_WORD: dict[str, Callable[[list[numpy.ndarray]], numpy.ndarray]] = {
    "first": lambda rows: rows[0],
    "average": lambda rows: numpy.mean(rows, axis=0),
    "max": lambda rows: max(rows, key=numpy.max),
}
"""For each strategy that labels words: from the probabilities of a word's tokens to those of the word, (N,) each."""

SPACE = "\u2581"
"""The token of a space in a sentencepiece model. At the start of a text, it has the offsets of the first character."""


class Entity(TypedDict):
    """A word, a group of words or a token, with its label."""

    entity: NotRequired[str]  # of a word or a token
    entity_group: NotRequired[str]  # of a group of words or tokens
    score: float
    index: NotRequired[int]  # of a token
    word: str
    start: int
    end: int


@overload
def tag(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network, texts: str, aggregation_strategy: Strategy | None = None, split_punctuation: bool = False
) -> list[Entity]: ...
@overload
def tag(
    model: Network, texts: Iterable[str], aggregation_strategy: Strategy | None = None, split_punctuation: bool = False
) -> list[list[Entity]]: ...
def tag(
    model: Network,
    texts: str | Iterable[str],
    aggregation_strategy: Strategy | None = None,
    split_punctuation: bool = False,
) -> list[Entity] | list[list[Entity]]:
    """The label of each word, group of words or token, in order. Those labelled "O" are left out.

    aggregation_strategy None, the default, is "first" if a label begins with B- or I-. Otherwise the result is
    {entity, score, word, start, end} for each word, which has the label of its first token. Words are those of the
    tokenizer's pre-tokenization, without white space.

    The other strategies are those of transformers' pipeline. "none": {entity, score, index, word, start, end} for each
    token. `word` is the token's vocabulary entry, or text[start:end] for an unknown token.

    "simple", "first", "average", "max": {entity_group, score, word, start, end} for each group of neighbours whose
    labels differ at most in the prefix B- or I-; a B- begins a new group. With "simple" these neighbours are tokens.
    With the others they are words: a word's probabilities are those of its first token, the mean over its tokens, or
    those of the token that has the largest one. `score` is the mean of the words' or tokens' scores. `word` is
    text[start:end], without white space around it.

    In these words, a token continues a word if no space precedes it, so a full stop belongs to the word before it. If
    the tokenizer marks tokens that continue a word, as WordPiece does with ##, the mark decides. An unknown token is a
    word.
    split_punctuation: if True, words also end at any other white space, at punctuation and at symbols.

    A long text is read in overlapping windows. If a token is in two windows, its label comes from the window with more
    context around it.
    Raises InputError, NameUnknownError, TokenizerError.
    """
    tokenizer = ready(model, "tag", "token_classification")
    check_flag("split_punctuation", split_punctuation)
    if aggregation_strategy not in (None, "none", "simple", "first", "average", "max"):
        raise NameUnknownError(
            f"unknown aggregation_strategy {aggregation_strategy!r}: give one of none, simple, first, average, max"
        )
    labels = label_names(model.config)
    names = [str(label) for label in labels]  # a label may be a number
    grouped = any(name.startswith(("B-", "I-")) for name in names)
    strategy = aggregation_strategy or ("first" if grouped else None)
    continued = _rule(tokenizer, split_punctuation)
    if strategy not in (None, "none"):
        labels = names  # groups look at prefixes
    results = [
        _entities(text, pieces, labels, strategy, continued)
        for text, pieces in read_pieces(model, tokenizer, texts, _read_probabilities)
    ]
    return as_given(texts, results)


def _read_probabilities(output: Output, _: Row) -> list[numpy.ndarray]:
    return list(probabilities(output["logits"]))  # (L, N)


class Tag(NamedTuple):
    """Neighbouring tokens with one label, and the label's probability."""

    pieces: Pieces
    entity: str
    score: float


def _tag(pieces: Pieces, scores: numpy.ndarray, labels: Sequence[str]) -> Tag:
    """The likeliest label. scores: the probabilities of all labels, (N,)."""
    best = int(scores.argmax())
    return Tag(pieces, labels[best], float(scores[best]))


def _entities(
    text: str, pieces: Pieces, labels: Sequence[str], strategy: Strategy | None, continued: "Continued"
) -> list[Entity]:
    if strategy is None:
        return _words(text, pieces, labels)
    if strategy in ("none", "simple"):
        tokens = [_tag([piece], piece.value, labels) for piece in pieces]
        return _tokens(text, tokens) if strategy == "none" else _groups(text, tokens)
    words = _runs(pieces, functools.partial(_of_one_word, text, continued))
    return _groups(text, [_tag(word, OF_WORD[strategy]([piece.value for piece in word]), labels) for word in words])


def _tokens(text: str, tokens: list[Tag]) -> list[Entity]:
    return [
        {
            "entity": entity,
            "score": score,
            "index": piece.number,
            "word": text[piece.start : piece.end] if piece.unknown else piece.token,
            "start": piece.start,
            "end": piece.end,
        }
        for (piece,), entity, score in tokens
        if entity != "O"
    ]


def _words(text: str, pieces: Pieces, labels: Sequence[str]) -> list[Entity]:
    # a space may be a whole token
    seen = [piece for piece in pieces if piece.token != SPACE and text[piece.start : piece.end].strip()]
    found = []
    for of_word in _runs(seen, lambda before, piece: before.word == piece.word):
        word, start, end = _stripped(text, of_word[0].start, of_word[-1].end)
        _, entity, score = _tag(of_word, of_word[0].value, labels)
        if entity != "O":
            found.append(Entity(entity=entity, score=score, word=word, start=start, end=end))
    return found


def _groups(text: str, tags: list[Tag]) -> list[Entity]:
    found = []
    for group in _runs(tags, _of_one_group):
        word, start, end = _stripped(text, group[0].pieces[0].start, group[-1].pieces[-1].end)
        kind = group[0].entity.split("-", 1)[-1]
        score = math.fsum(tag.score for tag in group) / len(group)
        if kind != "O" and word:
            found.append(Entity(entity_group=kind, score=score, word=word, start=start, end=end))
    return found


def _of_one_group(before: Tag, tag: Tag) -> bool:
    return _kind(tag.entity) == _kind(before.entity) and not tag.entity.startswith("B-")


def _kind(entity: str) -> str:
    """A label without its B- or I-."""
    return entity[2:] if entity.startswith(("B-", "I-")) else entity


# --- words ----------------------------------------------------------------------------------------------------------

Continued = Callable[[str, Piece[numpy.ndarray]], bool]
"""A function that returns True if a token of a text continues the word before it."""


def _rule(tokenizer: Tokenizer, split_punctuation: bool) -> Continued:
    if split_punctuation:
        return _after_a_letter
    marked = getattr(tokenizer.library.model, "continuing_subword_prefix", None)
    return _marked if marked else _after_no_space


def _marked(_: str, piece: Piece[numpy.ndarray]) -> bool:
    return len(piece.token) != piece.end - piece.start


def _after_no_space(text: str, piece: Piece[numpy.ndarray]) -> bool:
    return piece.start > 0 and " " not in text[piece.start - 1 : piece.start + 1]


def _after_a_letter(text: str, piece: Piece[numpy.ndarray]) -> bool:
    around = text[max(piece.start - 1, 0) : piece.start + 1]
    return piece.start > 0 and not any(c.isspace() or unicodedata.category(c)[0] in "PS" for c in around)


def _of_one_word(text: str, continued: Continued, before: Piece[numpy.ndarray], piece: Piece[numpy.ndarray]) -> bool:
    of_one_character = piece.start < before.end and before.token != SPACE
    return of_one_character or (not piece.unknown and continued(text, piece))


def _runs(items: Sequence[Item], together: Callable[[Item, Item], bool]) -> list[list[Item]]:
    """The items in order, split wherever two neighbours do not belong together."""
    runs: list[list[Item]] = []
    for item in items:
        if runs and together(runs[-1][-1], item):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _stripped(text: str, start: int, end: int) -> tuple[str, int, int]:
    """text[start:end] without the white space around it, and the start and end of what is left."""
    word = text[start:end]
    start += len(word) - len(word.lstrip())
    return word.strip(), start, start + len(word.strip())
