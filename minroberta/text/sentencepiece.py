"""Sentencepiece models (Kudo and Richardson 2018): a tokenizer's pieces and their scores, in a protobuf message.

The few fields that a tokenizer needs are parsed here, without a protobuf library. They are checked, so that no file can
crash the process; the tokenizers library does the rest. Each model family numbers the pieces differently, and adds
different special tokens.
"""

import itertools
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from ..errors import TokenizerError

if TYPE_CHECKING:
    import tokenizers

LARGEST = 8_000_000
"""Maximum size of a file in bytes. XLM-Roberta's file is 5 MB."""

LONGEST = 256
"""Maximum length of a piece or of a character's replacement, in bytes. By default, a piece has up to 16 characters."""

MOST_PREFIXES = 1_200_000
"""Maximum number of distinct prefixes of all pieces. The tokenizers library uses about 300 bytes of memory for each."""

MOST_MERGES = 700_000
"""Maximum number of pairs of pieces that join into a third piece. GPT-2's vocabulary has two such pairs per piece."""

MOST_PIECES = 300_000
MOST_SYMBOLS = 10_000


class Layout(NamedTuple):
    """The order of a family's tokens.

    First come the tokens of `first`, a mapping from tokens to scores; then the model's pieces, except the first
    `skipped` ones; and finally `<mask>`.
    """

    first: Mapping[str, float]
    skipped: int
    mask_is_normalized: bool
    """True if `<mask>` is matched in the normalized text, so that it is also found if written in full-width letters."""


XLM_ROBERTA = Layout({"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}, 3, True)
CAMEMBERT = Layout(
    {"<s>NOTUSED": 0.0, "<pad>": 0.0, "</s>NOTUSED": 0.0, "<unk>": 0.0, "<unk>NOTUSED": -100.0}, 1, False
)
LAYOUTS = {"camembert": CAMEMBERT}
"""The layouts of the model types that do not use XLM-Roberta's layout, by `model_type`."""

BEGINNING = ["<unk>", "<s>", "</s>"]
"""The pieces that both layouts expect at indices 0, 1 and 2."""

# --- the message ----------------------------------------------------------------------------------------------------

PIECE, TRAINER, NORMALIZER = 0x0A, 0x12, 0x1A  # fields 1, 2 and 3 of a model, each a message
TEXT, SCORE, KIND = 0x0A, 0x15, 0x18  # of a piece: bytes, a float32, an integer
ALGORITHM = 0x18  # field 3 of the trainer's message
CHARSMAP = 0x12  # field 2 of the normalizer's message
UNIGRAM, BPE = 1, 2
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


class Model(NamedTuple):
    """The contents of a file: the pieces in order, with scores and kinds; the algorithm; and the character map."""

    pieces: dict[str, float]
    kinds: list[int]
    algorithm: int
    charsmap: bytes


def read(path: Path) -> Model:
    """Read a model from a file. Raises TokenizerError."""
    size = path.stat().st_size
    if size > LARGEST:
        raise TokenizerError(f"{path} has {size} bytes; the limit for a sentencepiece model is {LARGEST}")
    try:
        return _model(path.read_bytes())
    except (ValueError, IndexError, struct.error) as error:
        raise TokenizerError(
            f"{path} ({size} bytes) is not a valid sentencepiece model, or is incomplete: {error}"
        ) from error


def _model(data: bytes) -> Model:
    pieces: dict[str, float] = {}
    kinds: list[int] = []
    others: dict[int, Any] = {TRAINER: b"", NORMALIZER: b""}
    for tag, value in _fields(data):
        if tag == PIECE:
            text, score, kind = _piece(value)
            if text in pieces:
                raise ValueError(f"it contains the piece {text!r} twice")
            if len(pieces) == MOST_PIECES:
                raise ValueError(f"it has more than {MOST_PIECES} pieces, the largest number supported")
            pieces[text] = score
            kinds.append(kind)
        else:
            others[tag] = value
    if list(itertools.islice(pieces, 3)) != BEGINNING:
        raise ValueError(f"its first pieces must be {', '.join(BEGINNING)}, as in XLM-Roberta's and Camembert's models")
    charsmap = dict(_fields(others[NORMALIZER])).get(CHARSMAP, b"")
    check_charsmap(charsmap)
    return Model(pieces, kinds, dict(_fields(others[TRAINER])).get(ALGORITHM, UNIGRAM), charsmap)


def _piece(data: bytes) -> tuple[str, float, int]:
    """The text, score and kind of a piece."""
    fields = dict(_fields(data))
    text = fields.get(TEXT, b"")
    if not 0 < len(text) <= LONGEST:
        raise ValueError(f"it has a piece of {len(text)} bytes; a piece must be 1 to {LONGEST} bytes long")
    (score,) = struct.unpack("<f", fields.get(SCORE, bytes(4)))
    if not math.isfinite(score):
        raise ValueError(f"the piece {text!r} has the score {score}, which is not finite")
    return text.decode(), score, fields.get(KIND, NORMAL)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Tag and value of each field of a protobuf message.

    A tag is eight times the field's number, plus its wire type: 0 for an integer, 1 for eight bytes, 2 for bytes
    preceded by their length, 5 for four bytes. The value is an integer for wire type 0; for any other type, it is the
    raw bytes. Raises ValueError, IndexError.
    """
    position = 0
    while position < len(data):
        tag, position = _number(data, position)
        wire_type = tag & 7
        if wire_type == 0:
            value: Any
            value, position = _number(data, position)
        else:
            length = {1: 8, 5: 4}.get(wire_type)
            if wire_type == 2:
                length, position = _number(data, position)
            if length is None or position + length > len(data):
                raise ValueError(f"the field at byte {position} of a message is invalid or truncated")
            value = data[position : position + length]
            position += length
        yield tag, value


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A varint (an integer stored in groups of seven bits, lowest group first), and the position after it."""
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7
        if shift > 63:
            raise ValueError("an integer has more than 64 bits")


def check_charsmap(charsmap: bytes) -> None:
    """Raise ValueError if a lookup in the character map could go out of bounds, since the library would then panic.

    The map consists of three parts: the size of a trie, in four bytes; the trie itself, a double array of 32-bit units
    (Aoe 1989); and the texts to which the trie's leaves point, each followed by a zero byte. A unit consists of a label
    (bits 0 to 7), a flag (bit 8) that is set if the unit has a leaf, and an offset (bits 10 and up, times 256 if bit 9
    is set). The index of a child is the unit's index xor the unit's offset xor the child's label. The leaf of a unit is
    stored where a child with label 0 would be. In a leaf, bit 31 is set, and the other bits are the position of its
    text.
    """
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little")
    if size % 4 or not 4 <= size <= len(charsmap) - 4:
        raise ValueError(f"its character map has {len(charsmap)} bytes, but states that its trie has {size}")
    units = numpy.frombuffer(charsmap, "<u4", size // 4, 4).astype(numpy.int64)
    children = numpy.arange(len(units)) ^ ((units >> 10) << (units >> 6 & 8))
    entered = (units >> 31 == 0) & (units & 255 != 0)
    entered[0] = True
    if (children[entered] | 255).max() >= len(units):
        raise ValueError("its character map points outside its trie")
    texts = charsmap[4 + size :]
    if max(map(len, texts.split(b"\0"))) > LONGEST:
        raise ValueError(f"its character map has a replacement of more than {LONGEST} bytes for a character")
    values = units[children[entered & (units >> 8 & 1 == 1)]] & 0x7FFFFFFF
    starts = numpy.frombuffer(texts + b"\0", numpy.uint8) & 0xC0 != 0x80  # of characters, in UTF-8
    if len(values) and (values.max() >= len(starts) or not starts[values].all()):
        raise ValueError("its character map points outside its texts, or into the middle of a character")


# --- the tokenizer --------------------------------------------------------------------------------------------------


def tokenizer(path: Path, layout: Layout) -> "tokenizers.Tokenizer":
    """Build the tokenizer of a model file, with the same ids as the family's fast tokenizer in transformers 4.48.3.

    Raises TokenizerError.
    """
    import tokenizers
    from tokenizers import decoders, normalizers, pre_tokenizers, processors

    model = read(path)
    tokens = [*layout.first.items(), *itertools.islice(model.pieces.items(), layout.skipped, None), ("<mask>", 0.0)]
    ids = {token: index for index, (token, _) in enumerate(tokens)}
    cleaning: list[Any] = [normalizers.Strip(left=False), normalizers.Replace(tokenizers.Regex(" {2,}"), "▁")]
    try:
        if len(ids) < len(tokens):
            raise ValueError(f"one of its pieces has the name of a special token: {', '.join(layout.first)} or <mask>")
        library = tokenizers.Tokenizer(_algorithm(model, tokens, ids))
        if model.charsmap:
            cleaning.insert(0, normalizers.Precompiled(model.charsmap))
        _add_tokens(library, model, layout)
    except Exception as error:  # the library raises a plain Exception for any error
        raise TokenizerError(f"{path} is not a RoBERTa tokenizer: {error}") from error
    library.normalizer = normalizers.Sequence(cleaning)
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    library.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, ids[token]) for token in ("<s>", "</s>")],
    )
    return library


def _algorithm(model: Model, tokens: list[tuple[str, float]], ids: dict[str, int]) -> "tokenizers.models.Model":
    """The algorithm that splits a text into tokens. Raises ValueError."""
    from tokenizers import models

    if model.algorithm == UNIGRAM:
        check_prefixes(token.encode() for token, _ in tokens)
        return models.Unigram(tokens, ids["<unk>"], byte_fallback=False)
    if model.algorithm == BPE:
        return models.BPE(ids, merges(model.pieces), unk_token="<unk>", fuse_unk=True)
    raise ValueError(f"unsupported algorithm {model.algorithm}: only {UNIGRAM} (unigram) and {BPE} (BPE) are supported")


def check_prefixes(pieces: Iterable[bytes]) -> None:
    """Raise ValueError if the trie of the pieces would take too much memory."""
    if (count := count_prefixes(pieces)) > MOST_PREFIXES:
        raise ValueError(f"its pieces have {count} distinct prefixes; the limit is {MOST_PREFIXES}")


def count_prefixes(pieces: Iterable[bytes]) -> int:
    """Number of distinct prefixes of all pieces, which is the number of nodes in their trie."""
    count, last = 0, b""
    for piece in sorted(pieces):
        shared = 0
        while shared < len(last) and last[shared] == piece[shared]:  # sorted, so `piece` is never a prefix of `last`
            shared += 1
        count += len(piece) - shared
        last = piece
    return count


def merges(pieces: Mapping[str, float]) -> list[tuple[str, str]]:
    """Pairs of pieces that join into a third piece, in descending order of the third piece's score.

    Pairs with equal scores are in descending order of the first piece's length, then of the second piece's. Raises
    ValueError if there are too many pairs.
    """
    found = []
    for piece, score in pieces.items():
        for split in range(1, len(piece)):
            first, second = piece[:split], piece[split:]
            if first in pieces and second in pieces:
                found.append((-score, -split, split - len(piece), first, second))
        if len(found) > MOST_MERGES:
            raise ValueError(f"its pieces have more than {MOST_MERGES} merges, the largest number supported")
    found.sort(key=itemgetter(0, 1, 2))
    return [(first, second) for *_, first, second in found]


def _add_tokens(library: "tokenizers.Tokenizer", model: Model, layout: Layout) -> None:
    """Add the tokens that are never split: special tokens and user-defined symbols. Raises ValueError."""
    from tokenizers import AddedToken

    by_kind = {
        kind: [name for name, piece_kind in zip(model.pieces, model.kinds, strict=True) if piece_kind == kind]
        for kind in (CONTROL, USER_DEFINED)
    }
    if (count := sum(map(len, by_kind.values()))) > MOST_SYMBOLS:
        raise ValueError(f"it has {count} control and user-defined symbols; the limit is {MOST_SYMBOLS}")
    special = [*layout.first, *by_kind[CONTROL]]
    library.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    library.add_tokens([AddedToken(name, normalized=False) for name in by_kind[USER_DEFINED]])
    library.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=layout.mask_is_normalized)])
