"""Sentencepiece models (Kudo and Richardson 2018): the pieces of a tokenizer with their scores, as a protobuf message.

The few fields that a tokenizer needs are read by hand, which takes no library and lets no file crash the process; the
tokenizers library does the rest. Each family has its own ids for the pieces, and special tokens around them.
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
"""Bytes of a piece, or of what a character is replaced by; the trainer makes them of 16 characters at most."""

MOST_BEGINNINGS = 1_200_000
"""Different beginnings of all pieces, for each of which the tokenizers library takes some 300 bytes."""

MOST_MERGES = 700_000
"""Ways to merge two pieces; GPT-2's BPE has two for each piece."""

MOST_PIECES = 300_000
MOST_SYMBOLS = 10_000


class Layout(NamedTuple):
    """How a family numbers its tokens: `first`, with their scores; the pieces but those skipped; `<mask>`."""

    first: Mapping[str, float]
    skipped: int
    mask_is_normalized: bool
    """Whether `<mask>` is looked for after a text is normalised, and so found in other letters, or before."""


XLM_ROBERTA = Layout({"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}, 3, True)
CAMEMBERT = Layout(
    {"<s>NOTUSED": 0.0, "<pad>": 0.0, "</s>NOTUSED": 0.0, "<unk>": 0.0, "<unk>NOTUSED": -100.0}, 1, False
)
LAYOUTS = {"camembert": CAMEMBERT}
"""By `model_type`; every other has XLM-Roberta's."""

BEGINNING = ["<unk>", "<s>", "</s>"]
"""The pieces that both layouts suppose at places 0, 1 and 2."""

# --- the message ----------------------------------------------------------------------------------------------------

PIECE, TRAINER, NORMALIZER = 0x0A, 0x12, 0x1A  # fields 1, 2 and 3 of a model, each a message
TEXT, SCORE, KIND = 0x0A, 0x15, 0x18  # of a piece: bytes, a float32, a number
ALGORITHM = 0x18  # field 3 of the trainer's
CHARSMAP = 0x12  # field 2 of the normaliser's
UNIGRAM, BPE = 1, 2
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


class Model(NamedTuple):
    """What a file says: scores of the pieces in their order, their kinds, the algorithm, and the charsmap."""

    pieces: dict[str, float]
    kinds: list[int]
    algorithm: int
    charsmap: bytes


def read(path: Path) -> Model:
    """The model in a file. Raises TokenizerError."""
    size = path.stat().st_size
    if size > LARGEST:
        raise TokenizerError(f"{path} has {size} bytes; of a sentencepiece model at most {LARGEST} are read")
    try:
        return _model(path.read_bytes())
    except (ValueError, IndexError, struct.error) as error:
        raise TokenizerError(f"{path} ({size} bytes) is no whole sentencepiece model: {error}") from error


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
    """Text, score and kind of a piece."""
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

    A tag is eight times the field's number and how it is written: 0 a number, 1 in eight bytes, 2 with its length, 5 in
    four bytes. Raises ValueError, IndexError.
    """
    place = 0
    while place < len(data):
        tag, place = _number(data, place)
        how = tag & 7
        if how == 0:
            value: Any
            value, place = _number(data, place)
        else:
            length = {1: 8, 5: 4}.get(how)
            if how == 2:
                length, place = _number(data, place)
            if length is None or place + length > len(data):
                raise ValueError(f"what stands at byte {place} of a message is no field, or is cut off")
            value = data[place : place + length]
            place += length
        yield tag, value


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def check_charsmap(charsmap: bytes) -> None:
    """Raise ValueError for a table of characters whose search would leave it, at which the tokenizers library panics.

    It holds a size in four bytes; a trie in so many, a double array of 32-bit units (Aoe 1989); and the texts that its
    leaves point to, each with a 0 at its end. A unit has a label (bits 0 to 7), perhaps a leaf (bit 8), and an offset
    (from bit 10 up, times 256 with bit 9): its children stand at its own place xor offset xor their label, its leaf
    where the label would be 0. A leaf has bit 31, and its text's place in the others.
    """
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little")
    if size % 4 or not 4 <= size <= len(charsmap) - 4:
        raise ValueError(f"its table of characters has {len(charsmap)} bytes, and a trie of {size} in it")
    units = numpy.frombuffer(charsmap, "<u4", size // 4, 4).astype(numpy.int64)
    children = numpy.arange(len(units)) ^ ((units >> 10) << (units >> 6 & 8))
    entered = (units >> 31 == 0) & (units & 255 != 0)
    entered[0] = True
    if (children[entered] | 255).max() >= len(units):
        raise ValueError("its table of characters points outside itself")
    texts = charsmap[4 + size :]
    if max(map(len, texts.split(b"\0"))) > LONGEST:
        raise ValueError(f"it replaces a character by more than {LONGEST} bytes")
    values = units[children[entered & (units >> 8 & 1 == 1)]] & 0x7FFFFFFF
    starts = numpy.frombuffer(texts + b"\0", numpy.uint8) & 0xC0 != 0x80  # of characters, in UTF-8
    if len(values) and (values.max() >= len(starts) or not starts[values].all()):
        raise ValueError("its table of characters points outside its texts")


# --- the tokenizer --------------------------------------------------------------------------------------------------


def tokenizer(path: Path, layout: Layout) -> "tokenizers.Tokenizer":
    """The tokenizer of a model's file, with a family's ids: the fast one of transformers 4.48.3.

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
            raise ValueError(f"a piece has a name of {', '.join(layout.first)} or <mask>")
        library = tokenizers.Tokenizer(_algorithm(model, tokens, ids))
        if model.charsmap:
            cleaning.insert(0, normalizers.Precompiled(model.charsmap))
        _add_tokens(library, model, layout)
    except Exception as error:  # the library raises plain Exception for whatever it does not like
        raise TokenizerError(f"{path} is no tokenizer of a RoBERTa: {error}") from error
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
    """How a text is parted into tokens, which `ids` numbers. Raises ValueError."""
    from tokenizers import models

    if model.algorithm == UNIGRAM:
        check_beginnings(token.encode() for token, _ in tokens)
        return models.Unigram(tokens, ids["<unk>"], byte_fallback=False)
    if model.algorithm == BPE:
        return models.BPE(ids, merges(model.pieces), unk_token="<unk>", fuse_unk=True)
    raise ValueError(f"its algorithm is number {model.algorithm}; unigram, {UNIGRAM}, and BPE, {BPE}, are known")


def check_beginnings(pieces: Iterable[bytes]) -> None:
    """Raise ValueError for pieces whose tree would take too much memory."""
    if (count := beginnings(pieces)) > MOST_BEGINNINGS:
        raise ValueError(f"its pieces have {count} beginnings, of which at most {MOST_BEGINNINGS} are held")


def beginnings(pieces: Iterable[bytes]) -> int:
    """How many different beginnings pieces have in all, or nodes a trie that holds them."""
    count, last = 0, b""
    for piece in sorted(pieces):
        shared = 0
        while shared < len(last) and last[shared] == piece[shared]:  # of two in order the first is no longer here
            shared += 1
        count += len(piece) - shared
        last = piece
    return count


def merges(pieces: Mapping[str, float]) -> list[tuple[str, str]]:
    """Each two pieces that make a third, best scores first; of equal ones, those with the longest parts.

    Raises ValueError where there are too many.
    """
    found = []
    for piece, score in pieces.items():
        for place in range(1, len(piece)):
            first, second = piece[:place], piece[place:]
            if first in pieces and second in pieces:
                found.append((-score, -place, place - len(piece), first, second))
        if len(found) > MOST_MERGES:
            raise ValueError(f"its pieces can be merged in more than {MOST_MERGES} ways")
    found.sort(key=itemgetter(0, 1, 2))
    return [(first, second) for *_, first, second in found]


def _add_tokens(library: "tokenizers.Tokenizer", model: Model, layout: Layout) -> None:
    """Tell the library what it finds whole in a text: special tokens, and what the trainer was told. ValueError."""
    from tokenizers import AddedToken

    of_kind = {
        kind: [name for name, own in zip(model.pieces, model.kinds, strict=True) if own == kind]
        for kind in (CONTROL, USER_DEFINED)
    }
    if (count := sum(map(len, of_kind.values()))) > MOST_SYMBOLS:
        raise ValueError(f"it has {count} control and user-defined symbols; at most {MOST_SYMBOLS} are read")
    special = [*layout.first, *of_kind[CONTROL]]
    library.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    library.add_tokens([AddedToken(name, normalized=False) for name in of_kind[USER_DEFINED]])
    library.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=layout.mask_is_normalized)])
