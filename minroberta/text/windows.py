"""Long texts, read in overlapping windows.

Each token of a text is returned once, together with the value that the task extracts for it.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from ..model import Network
from .encodings import positions_of
from .running import Read, run
from .texts import as_texts
from .tokenizer import Encoding, Tokenizer

Value = TypeVar("Value")


class Piece(NamedTuple, Generic[Value]):
    """A token of a text, with the value that the task extracts for it. Special tokens are not included."""

    number: int  # in the whole text, from 1
    token: str
    unknown: bool
    word: int | None  # index of its word
    start: int
    end: int
    value: Value


def read_pieces(
    model: Network, tokenizer: Tokenizer, texts: str | Iterable[str], read: Read[Sequence[Value]]
) -> Iterator[tuple[str, list[Piece[Value]]]]:
    """Each text with its tokens. read: a function that returns one value for each of a row's L tokens."""
    stride = tokenizer.longest // 4
    inputs = as_texts(texts)
    windows = [tokenizer.windows(text, stride=stride) for text in inputs]
    results = iter(
        run(model, [tokenizer.row(window) for of_text in windows for window in of_text], read, unit="windows")
    )
    for text, of_text in zip(inputs, windows, strict=True):
        yield text, list(_pieces(tokenizer, of_text, results, stride))


def _pieces(
    tokenizer: Tokenizer, windows: Sequence[Encoding], results: Iterator[Sequence[Value]], stride: int
) -> Iterator[Piece[Value]]:
    """The tokens of a text, in order. A token in two windows is taken from the one with more context around it."""
    count = itertools.count(1)
    for window in windows:
        ids, words, offsets, values = tokenizer.row(window), window.word_ids, window.offsets, next(results)
        first = 0 if window is windows[0] else stride // 2
        last = 0 if window is windows[-1] else stride - stride // 2
        positions = positions_of(window, 0)
        for i in positions[first : len(positions) - last]:
            unknown = ids[i] == tokenizer.unk_token_id
            yield Piece(next(count), tokenizer.entry(ids[i]), unknown, words[i], *offsets[i], values[i])
