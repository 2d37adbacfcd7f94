"""Sentencepiece models (Kudo and Richardson 2018): a tokenizer's pieces and their scores, in a protobuf message.

The few fields that a tokenizer needs are parsed here, without a protobuf library. They are checked, so that no file can
crash the process; the tokenizers library does the rest. Each tokenizer class numbers the pieces differently, and adds
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

from ..checkpoints.files import read_inside
from ..errors import TokenizerError
from .plain import check_library
from .settings import ADVICE_ON_CLASS, Settings, add_tokens, check_added, content_of, roles_of

if TYPE_CHECKING:
    import tokenizers

LARGEST = 32_000_000
"""Maximum size of a file in bytes. XLM-Roberta's file is 5 MB, that of XLM-V 17 MB."""

LONGEST = 256
"""Maximum length of a piece or of a character's replacement, in bytes. By default, a piece has up to 16 characters."""

MOST_PREFIXES = 1_200_000
MOST_MERGES = 700_000
MOST_PIECES = 300_000
"""Limits for a file of any size. A large file may have more, in proportion to its size: see `Limits`."""

MOST_SYMBOLS = 10_000

LARGEST_CHARSMAP = 2_000_000
"""Maximum size of a character map in bytes. That of XLM-Roberta has 240 kB."""


LARGE_FILE = 8_000_000
"""Size in bytes from which a file may have more pieces than any of this size."""

LONGEST_REPLACEMENT = 40
"""Maximum number of characters by which a character map replaces one. XLM-Roberta's has up to 18."""


class Limits(NamedTuple):
    """Maximum counts in a tokenizer's file, so that reading it takes at most about 100 times its size in memory.

    pieces: number of tokens. prefixes: number of distinct prefixes of all pieces of a unigram model; the tokenizers
    library uses about 300 bytes of memory for each. merges: number of pairs of pieces that join into a third piece;
    GPT-2's vocabulary has two such pairs per piece.
    """

    pieces: int
    prefixes: int
    merges: int

    @classmethod
    def of(cls, size: int, large: int) -> "Limits":
        """The limits for a file of a size in bytes. large: the size from which they are in proportion to it."""
        if size < large:
            return cls(MOST_PIECES, MOST_PREFIXES, MOST_MERGES)
        return cls(max(MOST_PIECES, size // 12), max(MOST_PREFIXES, size // 3), max(MOST_MERGES, size // 8))


class Layout(NamedTuple):
    """The order of a class's tokens, and the steps around its model.

    First come the tokens of `first`, a mapping from tokens to scores; then the model's pieces, except the first
    `skipped` ones; and finally the tokens of `last`.
    """

    first: Mapping[str, float] = {}
    skipped: int = 0
    last: tuple[str, ...] = ()
    beginning: tuple[str, ...] = ()
    """The pieces that the model must have at indices 0, 1 and so on."""
    template: tuple[str, str] = ("{cls} $A {sep}", "{cls} $A {sep} {sep} $B {sep}")
    """The special tokens around a text, and around a pair of texts."""


BEGINNING = ("<unk>", "<s>", "</s>")
_PAIR_OF_BERT = ("{cls}:0 $A:0 {sep}:0", "{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1")

XLM_ROBERTA = Layout({"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}, 3, ("<mask>",), BEGINNING)
CAMEMBERT = Layout(
    {"<s>NOTUSED": 0.0, "<pad>": 0.0, "</s>NOTUSED": 0.0, "<unk>": 0.0, "<unk>NOTUSED": -100.0},
    1,
    ("<mask>",),
    BEGINNING,
)
ALBERT = Layout(template=_PAIR_OF_BERT)
T5 = Layout(template=("$A {eos}", "$A {eos} $B {eos}"))
LAYOUTS = {
    "XLMRobertaTokenizer": XLM_ROBERTA,
    "CamembertTokenizer": CAMEMBERT,
    "AlbertTokenizer": ALBERT,
    "T5Tokenizer": T5,
}
"""The layouts by tokenizer class."""

# --- the message ----------------------------------------------------------------------------------------------------

PIECE, TRAINER, NORMALIZER = 0x0A, 0x12, 0x1A  # fields 1, 2 and 3 of a model, each a message
TEXT, SCORE, KIND = 0x0A, 0x15, 0x18  # of a piece: bytes, a float32, an integer
ALGORITHM, UNKNOWN, UNKNOWN_PIECE = 0x18, 0x140, 0x16A  # fields 3, 40 and 45 of the trainer's message
CHARSMAP = 0x12  # field 2 of the normalizer's message
UNIGRAM, BPE = 1, 2
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


class Model(NamedTuple):
    """The contents of a file: the pieces in order, with scores and kinds; the algorithm; and the character map.

    unknown: index and text of the piece for unknown characters. limits: those of the file's size.
    """

    pieces: dict[str, float]
    kinds: list[int]
    algorithm: int
    charsmap: bytes
    unknown: tuple[int, str]
    limits: Limits


def read(path: Path, layout: Layout = XLM_ROBERTA, root: Path | None = None) -> Model:
    """Read a model from a file. root: as for `read_inside`. Raises TokenizerError."""
    data = read_inside(path, TokenizerError, LARGEST, root)
    try:
        return _model(data, layout)
    except (ValueError, IndexError, struct.error) as error:
        raise TokenizerError(
            f"{path} ({len(data)} bytes) is not a valid sentencepiece model, or is incomplete: {error}"
        ) from error


def _model(data: bytes, layout: Layout) -> Model:
    limits = Limits.of(len(data), LARGE_FILE)
    pieces: dict[str, float] = {}
    kinds: list[int] = []
    others: dict[int, Any] = {TRAINER: b"", NORMALIZER: b""}
    for tag, value in _fields(data):
        if tag == PIECE:
            text, score, kind = _piece(value)
            if text in pieces:
                raise ValueError(f"it contains the piece {text!r} twice")
            if len(pieces) == limits.pieces:
                raise ValueError(f"it has more than {limits.pieces} pieces, the largest number for its size")
            pieces[text] = score
            kinds.append(kind)
        else:
            others[tag] = value
    if tuple(itertools.islice(pieces, len(layout.beginning))) != layout.beginning:
        raise ValueError(f"its first pieces must be {', '.join(BEGINNING)}, as in XLM-Roberta's and Camembert's models")
    charsmap = dict(_fields(others[NORMALIZER])).get(CHARSMAP, b"")
    check_charsmap(charsmap)
    if charsmap and (most := longest_replacement(charsmap)) > LONGEST_REPLACEMENT:
        raise ValueError(f"its character map makes {most} characters of one; the limit is {LONGEST_REPLACEMENT}")
    trainer = dict(_fields(others[TRAINER]))
    unknown = trainer.get(UNKNOWN, 0), trainer.get(UNKNOWN_PIECE, b"<unk>").decode()
    return Model(pieces, kinds, trainer.get(ALGORITHM, UNIGRAM), charsmap, unknown, limits)


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
    if len(charsmap) > LARGEST_CHARSMAP:
        raise ValueError(f"its character map has {len(charsmap)} bytes; the limit is {LARGEST_CHARSMAP}")
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


def longest_replacement(charsmap: bytes) -> int:
    """Number of characters in the longest text of a checked character map, by which it replaces a character."""
    texts = charsmap[4 + int.from_bytes(charsmap[:4], "little") :].split(b"\0")
    return max(1, *(len(text.decode(errors="replace")) for text in texts))


# --- the tokenizer --------------------------------------------------------------------------------------------------


def tokenizer(
    path: Path, settings: Settings, layout: Layout | None = None, root: Path | None = None
) -> "tokenizers.Tokenizer":
    """Build the tokenizer of a model file, with the same ids as the class's fast tokenizer in transformers 4.48.3.

    layout: by default, that of the settings' class. root: as for `read_inside`. Raises TokenizerError.
    """
    check_library("a sentencepiece model")
    import tokenizers
    from tokenizers import decoders, pre_tokenizers

    layout = layout or _layout(path, settings)
    model = read(path, layout, root)
    try:
        tokens = _tokens(model, layout, settings)
        library = tokenizers.Tokenizer(_algorithm(model, tokens, layout))
        library.normalizer = _normalizer(model, layout, settings)
        _add_symbols(library, model, layout)
        if layout is T5:
            settings = _with_extra_ids(settings)
        add_tokens(library, settings)
        library.post_processor = _processor(library, layout, settings)
    except Exception as error:  # the library raises a plain Exception for any error
        raise TokenizerError(f"{path} is not a RoBERTa tokenizer: {error}") from error
    prefix = _prefix(settings)
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix)
    library.decoder = decoders.Metaspace(prepend_scheme=prefix)
    return library


def _layout(path: Path, settings: Settings) -> Layout:
    """The layout of the settings' class; by default, that of XLM-Roberta."""
    if settings.name in LAYOUTS:
        return LAYOUTS[settings.name]
    if settings.is_named:
        raise TokenizerError(f"{path} is a sentencepiece model of {settings.name}, {ADVICE_ON_CLASS}")
    if path.name != "sentencepiece.bpe.model":
        raise TokenizerError(
            f"{path} is a sentencepiece model, which {settings.name} does not read: name the class that it was made "
            f"for as tokenizer_class in tokenizer_config.json, one of {', '.join(LAYOUTS)}"
        )
    return XLM_ROBERTA


def _tokens(model: Model, layout: Layout, settings: Settings) -> list[tuple[str, float]]:
    """All tokens with their scores, in the order of their ids. Raises ValueError."""
    pieces: Iterable[tuple[str, float]] = itertools.islice(model.pieces.items(), layout.skipped, None)
    if layout is ALBERT:
        pieces = ((piece, score - 100 * _ends_in_number(piece)) for piece, score in pieces)
    last = _extra_ids(settings)[::-1] if layout is T5 else layout.last
    tokens = [*layout.first.items(), *pieces, *((token, 0.0) for token in last)]
    if len({token for token, _ in tokens}) < len(tokens):
        names = ", ".join(layout.first) + " or <mask>" if layout.first else "<extra_id_0> or another of T5's"
        raise ValueError(f"one of its pieces has the name of a special token: {names}")
    return tokens


def _ends_in_number(piece: str) -> bool:
    """True for a piece such as `1,`, which Albert's class makes unlikely, so that the comma is a separate token."""
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _extra_ids(settings: Settings) -> list[str]:
    return [f"<extra_id_{index}>" for index in range(settings.values.get("extra_ids", 100))]


def _with_extra_ids(settings: Settings) -> Settings:
    """The settings with the extra ids of T5's class as special tokens, unless the files name some of them."""
    named = settings.additional or ()
    if any("<extra_id_" in content_of(token) for token in named):
        return settings
    return settings._replace(additional=(*named, *_extra_ids(settings)))


def _prefix(settings: Settings) -> Any:
    """`prepend_scheme`: parts of a text between special tokens that get a space in front: all, the first, or none."""
    if settings.name != "T5Tokenizer":
        return "always"
    if not settings.flag("add_prefix_space", True):
        return "never"
    return "always" if settings.flag("legacy", True) else "first"


def _normalizer(model: Model, layout: Layout, settings: Settings) -> "tokenizers.normalizers.Normalizer":
    from tokenizers import Regex, normalizers

    charsmap = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if layout is not ALBERT:
        strip = normalizers.Strip(left=False)
        return normalizers.Sequence([*charsmap, strip, normalizers.Replace(Regex(" {2,}"), "▁")])
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.flag("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.flag("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence([*steps, *charsmap, normalizers.Replace(Regex(" {2,}"), " ")])


def _processor(
    library: "tokenizers.Tokenizer", layout: Layout, settings: Settings
) -> "tokenizers.processors.PostProcessor":
    """The step that puts special tokens around a text. Raises ValueError."""
    from tokenizers import processors

    roles = {role.removesuffix("_token"): token for role, token in roles_of(library, settings).items()}
    try:
        single, pair = (template.format(**roles) for template in layout.template)
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]}_token: name one in tokenizer_config.json") from error
    used = {roles[role] for role in ("cls", "sep", "eos") if f"{{{role}}}" in layout.template[0]}
    return processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(token, library.token_to_id(token)) for token in sorted(used)]
    )


def _algorithm(model: Model, tokens: list[tuple[str, float]], layout: Layout) -> "tokenizers.models.Model":
    """The algorithm that splits a text into tokens. Raises ValueError."""
    from tokenizers import models

    ids = {token: index for index, (token, _) in enumerate(tokens)}
    index, piece = (ids["<unk>"], "<unk>") if layout.first else model.unknown
    if model.algorithm == UNIGRAM:
        check_prefixes((token.encode() for token, _ in tokens), model.limits)
        return models.Unigram(tokens, index, byte_fallback=False)
    if model.algorithm == BPE:
        if piece not in ids:
            raise ValueError(f"it lacks {piece!r}, its piece for unknown characters")
        scores = model.pieces if layout is not ALBERT else dict(tokens)
        return models.BPE(ids, merges(scores, model.limits.merges), unk_token=piece, fuse_unk=True)
    raise ValueError(f"unsupported algorithm {model.algorithm}: only {UNIGRAM} (unigram) and {BPE} (BPE) are supported")


def check_prefixes(pieces: Iterable[bytes], limits: Limits) -> None:
    """Raise ValueError if the trie of the pieces would be too large, or too deep: the library frees it recursively."""
    ordered = sorted(pieces)
    if (longest := max(map(len, ordered), default=0)) > LONGEST:
        raise ValueError(f"it has a piece of {longest} bytes; the limit is {LONGEST}")
    if (count := count_prefixes(ordered)) > limits.prefixes:
        raise ValueError(f"its pieces have {count} distinct prefixes; the limit for its size is {limits.prefixes}")


def count_prefixes(pieces: Iterable[bytes]) -> int:
    """Number of distinct prefixes of all pieces, which are sorted: this is the number of nodes in their trie."""
    count, last = 0, b""
    for piece in pieces:
        shared = 0
        while shared < len(last) and last[shared] == piece[shared]:  # sorted, so `piece` is never a prefix of `last`
            shared += 1
        count += len(piece) - shared
        last = piece
    return count


def merges(pieces: Mapping[str, float], most: int = MOST_MERGES) -> list[tuple[str, str]]:
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
        if len(found) > most:
            raise ValueError(f"its pieces have more than {most} merges, the largest number for its size")
    found.sort(key=itemgetter(0, 1, 2))
    return [(first, second) for *_, first, second in found]


def _add_symbols(library: "tokenizers.Tokenizer", model: Model, layout: Layout) -> None:
    """Add the symbols that are never split: special tokens, control and user-defined symbols. Raises ValueError."""
    from tokenizers import AddedToken

    by_kind = {
        kind: [name for name, piece_kind in zip(model.pieces, model.kinds, strict=True) if piece_kind == kind]
        for kind in (CONTROL, USER_DEFINED)
    }
    if (count := sum(map(len, by_kind.values()))) > MOST_SYMBOLS:
        raise ValueError(f"it has {count} control and user-defined symbols; the limit is {MOST_SYMBOLS}")
    check_added([*by_kind[CONTROL], *by_kind[USER_DEFINED]], 1)
    special = [*layout.first, *by_kind[CONTROL]]
    library.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    library.add_tokens([AddedToken(name, normalized=False) for name in by_kind[USER_DEFINED]])
