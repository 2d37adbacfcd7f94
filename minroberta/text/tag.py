"""`tag`: the label of each word or token."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, NotRequired, TypedDict, TypeVar, overload

from ..errors import NameUnknownError
from ..model import Network
from .running import Output, Row, label_names, probabilities, ready
from .texts import as_given
from .windows import Piece, read_pieces

Strategy = Literal["first", "none"]
Item = TypeVar("Item")


class Entity(TypedDict):
    """A word, a group of words or a token, with its label."""

    entity: NotRequired[str]  # of a word or a token
    entity_group: NotRequired[str]  # of a group of words
    score: float
    index: NotRequired[int]  # of a token
    word: str
    start: int
    end: int


class Tag(NamedTuple):
    """A token's label, with the label's probability."""

    entity: str
    score: float


Pieces = list[Piece[Tag]]


@overload
def tag(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network, texts: str, aggregation_strategy: Strategy = "first"
) -> list[Entity]: ...
@overload
def tag(model: Network, texts: Iterable[str], aggregation_strategy: Strategy = "first") -> list[list[Entity]]: ...
def tag(
    model: Network, texts: str | Iterable[str], aggregation_strategy: Strategy = "first"
) -> list[Entity] | list[list[Entity]]:
    """The label of each word or token, in order. Words and tokens labelled "O" are left out.

    aggregation_strategy "none": {entity, score, index, word, start, end} for each token. `word` is the token's
    vocabulary entry, or text[start:end] for an unknown token.

    aggregation_strategy "first": each word has the label of its first token. If no label begins with B- or I-, the
    result is {entity, score, word, start, end} for each word; words are those of the tokenizer's pre-tokenization,
    without white space. Otherwise it is {entity_group, score, word, start, end} for each group of neighbouring words
    whose labels differ at most in this prefix; a B- begins a new group. `score` is the mean of the words' scores. As in
    transformers' pipeline, these words are split only at spaces, so a full stop belongs to the word before it. `word`
    is text[start:end], without white space around it; in the pipeline, it may include white space, or only part of a
    character.

    A long text is read in overlapping windows. If a token is in two windows, its label comes from the window with more
    context around it.
    Raises InputError, NameUnknownError, TokenizerError.
    """
    tokenizer = ready(model, "tag", "token_classification")
    if aggregation_strategy not in ("first", "none"):
        raise NameUnknownError(f'unknown aggregation_strategy {aggregation_strategy!r}: give "first" or "none"')
    labels = label_names(model.config)
    grouped = any(label.startswith(("B-", "I-")) for label in labels)
    entities = _tokens if aggregation_strategy == "none" else _groups if grouped else _words
    pieces = read_pieces(model, tokenizer, texts, functools.partial(_read_tags, labels=labels))
    results = [entities(text, found) for text, found in pieces]
    return as_given(texts, results)


def _read_tags(output: Output, _: Row, labels: Sequence[str]) -> list[Tag]:
    scores = probabilities(output["logits"])  # (L, N)
    best = zip(scores.argmax(-1).tolist(), scores.max(-1).tolist(), strict=True)
    return [Tag(labels[i], score) for i, score in best]


def _tokens(text: str, pieces: Pieces) -> list[Entity]:
    return [
        {
            "entity": piece.value.entity,
            "score": piece.value.score,
            "index": piece.number,
            "word": text[piece.start : piece.end] if piece.unknown else piece.token,
            "start": piece.start,
            "end": piece.end,
        }
        for piece in pieces
        if piece.value.entity != "O"
    ]


def _words(text: str, pieces: Pieces) -> list[Entity]:
    seen = [piece for piece in pieces if text[piece.start : piece.end].strip()]  # a space may be a whole token
    words = _runs(seen, lambda before, piece: before.word == piece.word)
    found = []
    for of_word in words:
        word, start, end = _stripped(text, of_word[0].start, of_word[-1].end)
        entity, score = of_word[0].value
        if entity != "O":
            found.append(Entity(entity=entity, score=score, word=word, start=start, end=end))
    return found


def _groups(text: str, pieces: Pieces) -> list[Entity]:
    def of_one_word(before: Piece[Tag], piece: Piece[Tag]) -> bool:
        split = piece.unknown or " " in text[piece.start - 1 : piece.start + 1]
        return not split or piece.start < before.end  # two tokens of the same character

    found = []
    for group in _runs(_runs(pieces, of_one_word), _of_one_group):
        word, start, end = _stripped(text, group[0][0].start, group[-1][-1].end)
        kind = group[0][0].value.entity.split("-", 1)[-1]
        score = math.fsum(of_word[0].value.score for of_word in group) / len(group)
        if kind != "O" and word:
            found.append(Entity(entity_group=kind, score=score, word=word, start=start, end=end))
    return found


def _of_one_group(before: Pieces, word: Pieces) -> bool:
    entity = word[0].value.entity
    return _kind(entity) == _kind(before[0].value.entity) and not entity.startswith("B-")


def _kind(entity: str) -> str:
    """A label without its B- or I-."""
    return entity[2:] if entity.startswith(("B-", "I-")) else entity


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
