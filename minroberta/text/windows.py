"""Long texts, read in windows that overlap: each token once, with what a task makes of it."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from ..model import Network
from .running import Read, run
from .texts import as_texts
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    import tokenizers

Made = TypeVar("Made")


class Piece(NamedTuple, Generic[Made]):
    """A token of a text, other than the special tokens around it, and what a task makes of it."""

    number: int  # in the whole text, from 1
    token: str
    unknown: bool
    word: int | None  # number of the word that it belongs to
    start: int
    end: int
    made: Made


def read_pieces(
    model: Network, tokenizer: Tokenizer, texts: str | Iterable[str], read: Read[Sequence[Made]]
) -> Iterator[tuple[str, list[Piece[Made]]]]:
    """Each text with its pieces. `read` gives one value for each of a row's L tokens."""
    stride = tokenizer.longest // 4
    inputs = as_texts(texts)
    windows = [tokenizer.windows(text, stride=stride) for text in inputs]
    made = iter(run(model, [window.ids for of_text in windows for window in of_text], read, unit="windows"))
    for text, of_text in zip(inputs, windows, strict=True):
        yield text, list(_pieces(tokenizer, of_text, made, stride))


def _pieces(
    tokenizer: Tokenizer, windows: Sequence["tokenizers.Encoding"], made: Iterator[Sequence[Made]], stride: int
) -> Iterator[Piece[Made]]:
    """The pieces of a text, in order. Of the `stride` tokens that two windows share, each gives the half further in."""
    count = itertools.count(1)
    for window in windows:
        ids, words, offsets, values = window.ids, window.word_ids, window.offsets, next(made)
        first = 0 if window is windows[0] else stride // 2
        last = 0 if window is windows[-1] else stride - stride // 2
        positions = positions_of(window, 0)
        for i in positions[first : len(positions) - last]:
            token = tokenizer.library.id_to_token(ids[i]) or ""
            unknown = ids[i] == tokenizer.unk_token_id
            yield Piece(next(count), token, unknown, words[i], *offsets[i], values[i])


def positions_of(window: "tokenizers.Encoding", sequence: int) -> list[int]:
    """Positions of the tokens of a window's first text, 0, or its second, 1."""
    return [position for position, number in enumerate(window.sequence_ids) if number == sequence]
