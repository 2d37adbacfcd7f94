"""Encodings of the tokenizers library with corrected offsets and words."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tokenizers

Places = tuple[Sequence[int | None], Sequence[tuple[int, int]]]
"""For each token: the index of its word, and its offsets."""


class Encoding:
    """An encoding of the tokenizers library whose words and offsets are changed by a function."""

    def __init__(self, encoding: "tokenizers.Encoding", change: Callable[["tokenizers.Encoding"], Places]) -> None:
        self.ids, self.type_ids, self.sequence_ids = encoding.ids, encoding.type_ids, encoding.sequence_ids
        self._encoding, self._change = encoding, change

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def word_ids(self) -> Sequence[int | None]:
        """The index of each token's word."""
        return self._places[0]

    @property
    def offsets(self) -> Sequence[tuple[int, int]]:
        """Start and end of each token in its text."""
        return self._places[1]

    @functools.cached_property
    def _places(self) -> Places:  # few calls need them
        return self._change(self._encoding)


def loses_letters(library: "tokenizers.Tokenizer") -> bool:
    """True if a tokenizer's offsets may lack the first letter of a word, which `with_letters` adds.

    If byte-level BPE puts a space before each text (`add_prefix_space`), it also does so after an added token. The
    space belongs to the following token, and is taken off its offsets (`trim_offsets`), although the text lacks it.
    """
    prefix = getattr(library.pre_tokenizer, "add_prefix_space", False)
    return bool(prefix and getattr(library.post_processor, "trim_offsets", False))


def with_letters(encoding: "tokenizers.Encoding", texts: Any) -> Encoding:
    """The encoding of a text or pair, each a str or a list of words, with the lost letters: see `loses_letters`."""
    return Encoding(encoding, functools.partial(_with_letters, texts if isinstance(texts, tuple) else (texts,)))


def _with_letters(texts: Sequence[Any], encoding: "tokenizers.Encoding") -> Places:
    words, offsets = encoding.word_ids, encoding.offsets
    for position, (token, number) in enumerate(zip(encoding.tokens, encoding.sequence_ids, strict=True)):
        start, end = offsets[position]
        if number is not None and start and token.startswith("Ġ") and len(token) > 1:
            text = texts[number] if isinstance(texts[number], str) else texts[number][words[position]]
            offsets[position] = (start - (text[start - 1] != " "), end)
    return words, offsets


# --- parts of an encoding -------------------------------------------------------------------------------------------


class Window:
    """Some of the tokens of an encoding. It has the properties that tasks read."""

    def __init__(self, encoding: Encoding, positions: Sequence[int]) -> None:
        self._encoding, self._positions = encoding, positions
        self.ids, self.type_ids = self._some(encoding.ids), self._some(encoding.type_ids)
        self.sequence_ids = self._some(encoding.sequence_ids)

    def _some(self, values: Sequence[Any]) -> list[Any]:
        return [values[i] for i in self._positions]

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def word_ids(self) -> Sequence[int | None]:
        """The index of each token's word."""
        return self._some(self._encoding.word_ids)

    @property
    def offsets(self) -> Sequence[tuple[int, int]]:
        """Start and end of each token in its text."""
        return self._some(self._encoding.offsets)


def positions_of(encoding: Any, sequence: int) -> list[int]:
    """Positions of the tokens of the first text (sequence 0) or of the second text (sequence 1)."""
    return [position for position, number in enumerate(encoding.sequence_ids) if number == sequence]


def windows(encoding: Any, positions: Sequence[int], room: int, stride: int) -> list[Window]:
    """Windows of an encoding: all of its tokens, but of those at `positions` at most `room` that follow each other.

    positions: those of the tokens of one text. Each window overlaps the next one by `stride` of them.
    """
    if not isinstance(encoding, Encoding):  # whose lists the library would copy for every window
        encoding = Encoding(encoding, lambda encoding: (encoding.word_ids, encoding.offsets))
    if len(positions) <= room:
        return [Window(encoding, range(len(encoding)))]
    before, after = range(positions[0]), range(positions[-1] + 1, len(encoding))
    starts = range(0, len(positions) - stride, room - stride)
    return [Window(encoding, [*before, *positions[start : start + room], *after]) for start in starts]
