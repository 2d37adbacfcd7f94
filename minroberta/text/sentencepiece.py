"""Sentencepiece models (Kudo and Richardson 2018): the pieces of a tokenizer with their scores, as a protobuf message.

The few fields that a tokenizer needs are parsed here, without a protobuf library, and so that no file can crash the
process; the tokenizers library does the rest. Each family numbers the pieces differently, with special tokens around
them.
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
"""Bytes of a file; XLM-Roberta's has 5 million."""

LONGEST = 256
"""Bytes of a piece, or of a character's replacement; the trainer makes pieces of at most 16 characters."""

MOST_PREFIXES = 1_200_000
"""Different prefixes of all pieces, for each of which the tokenizers library takes some 300 bytes."""

MOST_MERGES = 700_000
"""Ways to merge two pieces; GPT-2's BPE has two for each piece."""

MOST_PIECES = 300_000
MOST_SYMBOLS = 10_000


class Layout(NamedTuple):
    """The order of a family's tokens: `first`, with their scores; the pieces after those skipped; `<mask>`."""

    first: Mapping[str, float]
    skipped: int
    mask_is_normalized: bool
    """True if `<mask>` is searched for after a text is normalized, and so found in other letters, too."""


XLM_ROBERTA = Layout({"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}, 3, True)
CAMEMBERT = Layout(
    {"<s>NOTUSED": 0.0, "<pad>": 0.0, "</s>NOTUSED": 0.0, "<unk>": 0.0, "<unk>NOTUSED": -100.0}, 1, False
)
LAYOUTS = {"camembert": CAMEMBERT}
"""By `model_type`; all others have XLM-Roberta's."""

BEGINNING = ["<unk>", "<s>", "</s>"]
"""The pieces that both layouts expect at indices 0, 1 and 2."""

# --- the message ----------------------------------------------------------------------------------------------------

PIECE, TRAINER, NORMALIZER = 0x0A, 0x12, 0x1A  # fields 1, 2 and 3 of a model, each a message
TEXT, SCORE, KIND = 0x0A, 0x15, 0x18  # of a piece: bytes, a float32, a number
ALGORITHM = 0x18  # field 3 of the trainer's
CHARSMAP = 0x12  # field 2 of the normalizer's
UNIGRAM, BPE = 1, 2
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


class Model(NamedTuple):
    """The contents of a file: scores of the pieces in order, their kinds, the algorithm, and the charsmap."""

    pieces: dict[str, float]
    kinds: list[int]
    algorithm: int
    charsmap: bytes


def read(path: Path) -> Model:
    """The model in a file. Raises TokenizerError."""
    size = path.stat().st_size
    if size > LARGEST:
        raise TokenizerError(f"{path} has {size} bytes; at most {LARGEST} of a sentencepiece model are read")
    try:
        return _model(path.read_bytes())
    except (ValueError, IndexError, struct.error) as error:
        raise TokenizerError(f"{path} ({size} bytes) is not a complete sentencepiece model: {error}") from error


def _model(data: bytes) -> Model:
    pieces: dict[str, float] = {}
    kinds: list[int] = []
    others: dict[int, Any] = {TRAINER: b"", NORMALIZER: b""}
    for tag, value in _fields(data):
        if tag == PIECE:
            text, score, kind = _piece(value)
            if text in pieces:
                raise ValueError(f"it has the piece {text!r} twice")
            if len(pieces) == MOST_PIECES:
                raise ValueError(f"it has more than {MOST_PIECES} pieces")
            pieces[text] = score
            kinds.append(kind)
        else:
            others[tag] = value
    if list(itertools.islice(pieces, 3)) != BEGINNING:
        raise ValueError(f"its first pieces are not {', '.join(BEGINNING)}, as XLM-Roberta's and Camembert's are")
    charsmap = dict(_fields(others[NORMALIZER])).get(CHARSMAP, b"")
    check_charsmap(charsmap)
    return Model(pieces, kinds, dict(_fields(others[TRAINER])).get(ALGORITHM, UNIGRAM), charsmap)


def _piece(data: bytes) -> tuple[str, float, int]:
    """The text, score and kind of a piece."""
    fields = dict(_fields(data))
    text = fields.get(TEXT, b"")
    if not 0 < len(text) <= LONGEST:
        raise ValueError(f"it has a piece of {len(text)} bytes; 1 to {LONGEST} are read")
    (score,) = struct.unpack("<f", fields.get(SCORE, bytes(4)))
    if not math.isfinite(score):
        raise ValueError(f"the piece {text!r} has the score {score}")
    return text.decode(), score, fields.get(KIND, NORMAL)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Tag and value of each field of a protobuf message: a number, or the bytes of anything else.

    A tag is eight times the field's number plus its wire type: 0 for a number, 1 for eight bytes, 2 for bytes after
    their length, 5 for four bytes. Raises ValueError, IndexError.
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
                raise ValueError(f"the field at byte {position} of a message is invalid or cut off")
            value = data[position : position + length]
            position += length
        yield tag, value


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the position after it."""
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def check_charsmap(charsmap: bytes) -> None:
    """Raise ValueError for a table of characters in which a search would run out of bounds: the library panics there.

    The table holds the size of a trie in four bytes; the trie, a double array of 32-bit units (Aoe 1989); and the texts
    that its leaves point to, each ending with a 0. A unit has a label (bits 0 to 7), a flag for a leaf (bit 8), and an
    offset (from bit 10 up, times 256 with bit 9): its children are at its index xor offset xor their label, its leaf
    where the label would be 0. A leaf has bit 31 set, and the index of its text in the other bits.
    """
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little")
    if size % 4 or not 4 <= size <= len(charsmap) - 4:
        raise ValueError(f"its table of characters has {len(charsmap)} bytes, and claims a trie of {size}")
    units = numpy.frombuffer(charsmap, "<u4", size // 4, 4).astype(numpy.int64)
    children = numpy.arange(len(units)) ^ ((units >> 10) << (units >> 6 & 8))
    entered = (units >> 31 == 0) & (units & 255 != 0)
    entered[0] = True
    if (children[entered] | 255).max() >= len(units):
        raise ValueError("its table of characters points outside itself")
    texts = charsmap[4 + size :]
    if max(map(len, texts.split(b"\0"))) > LONGEST:
        raise ValueError(f"it replaces a character with more than {LONGEST} bytes")
    values = units[children[entered & (units >> 8 & 1 == 1)]] & 0x7FFFFFFF
    starts = numpy.frombuffer(texts + b"\0", numpy.uint8) & 0xC0 != 0x80  # of characters, in UTF-8
    if len(values) and (values.max() >= len(starts) or not starts[values].all()):
        raise ValueError("its table of characters points outside its texts")


# --- the tokenizer --------------------------------------------------------------------------------------------------


def tokenizer(path: Path, layout: Layout) -> "tokenizers.Tokenizer":
    """The tokenizer of a model's file, with a family's ids: as the fast one of transformers 4.48.3.

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
            raise ValueError(f"a piece is named like one of {', '.join(layout.first)} or <mask>")
        library = tokenizers.Tokenizer(_algorithm(model, tokens, ids))
        if model.charsmap:
            cleaning.insert(0, normalizers.Precompiled(model.charsmap))
        _add_tokens(library, model, layout)
    except Exception as error:  # the library raises a plain Exception for any fault
        raise TokenizerError(f"{path} is not a RoBERTa's tokenizer: {error}") from error
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
    """The algorithm that splits a text into tokens, which `ids` numbers. Raises ValueError."""
    from tokenizers import models

    if model.algorithm == UNIGRAM:
        check_prefixes(token.encode() for token, _ in tokens)
        return models.Unigram(tokens, ids["<unk>"], byte_fallback=False)
    if model.algorithm == BPE:
        return models.BPE(ids, merges(model.pieces), unk_token="<unk>", fuse_unk=True)
    raise ValueError(f"unsupported algorithm {model.algorithm}: {UNIGRAM}, unigram, and {BPE}, BPE, are supported")


def check_prefixes(pieces: Iterable[bytes]) -> None:
    """Raise ValueError for pieces whose trie would take too much memory."""
    if (count := count_prefixes(pieces)) > MOST_PREFIXES:
        raise ValueError(f"its pieces have {count} different prefixes; at most {MOST_PREFIXES} are read")


def count_prefixes(pieces: Iterable[bytes]) -> int:
    """Number of different prefixes of all pieces, which is the number of nodes of their trie."""
    count, last = 0, b""
    for piece in sorted(pieces):
        shared = 0
        while shared < len(last) and last[shared] == piece[shared]:  # in order, so `piece` is never a prefix of `last`
            shared += 1
        count += len(piece) - shared
        last = piece
    return count


def merges(pieces: Mapping[str, float]) -> list[tuple[str, str]]:
    """Pairs of pieces that join to a third, highest scores first; of equal ones, the longest first piece comes first.

    Raises ValueError for too many.
    """
    found = []
    for piece, score in pieces.items():
        for split in range(1, len(piece)):
            first, second = piece[:split], piece[split:]
            if first in pieces and second in pieces:
                found.append((-score, -split, split - len(piece), first, second))
        if len(found) > MOST_MERGES:
            raise ValueError(f"its pieces have more than {MOST_MERGES} merges, which is the most that is read")
    found.sort(key=itemgetter(0, 1, 2))
    return [(first, second) for *_, first, second in found]


def _add_tokens(library: "tokenizers.Tokenizer", model: Model, layout: Layout) -> None:
    """Add the tokens that are never split: special ones, and the trainer's user-defined ones. Raises ValueError."""
    from tokenizers import AddedToken

    of_kind = {
        kind: [name for name, its_kind in zip(model.pieces, model.kinds, strict=True) if its_kind == kind]
        for kind in (CONTROL, USER_DEFINED)
    }
    if (count := sum(map(len, of_kind.values()))) > MOST_SYMBOLS:
        raise ValueError(f"it has {count} control and user-defined symbols; at most {MOST_SYMBOLS} are read")
    special = [*layout.first, *of_kind[CONTROL]]
    library.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    library.add_tokens([AddedToken(name, normalized=False) for name in of_kind[USER_DEFINED]])
    library.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=layout.mask_is_normalized)])
