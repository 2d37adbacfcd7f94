"""Byte-level BPE in plain Python: what minroberta uses of the tokenizers library, where that cannot be installed.

A browser is such a place. RoBERTa's kind of `tokenizer.json` gives the same ids, offsets and texts as the library
(Sennrich et al. 2016, Neural Machine Translation of Rare Words with Subword Units; Radford et al. 2019 for bytes). In
the order of computation: added tokens such as `<mask>` are cut out of the text, the rest is split into words, each word
becomes bytes, and neighbouring bytes are merged. Classes and methods have the library's names.
"""

import heapq
import itertools
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from ..errors import TokenizerError

# --- words ----------------------------------------------------------------------------------------------------------

SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""Unicode's white space. Python's `str.isspace` takes the separators U+001C to U+001F for it too."""

WORDS = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[Ldelmrstv]+| ?N+| ?[o']+|[w ]+(?![^w ])|[w ]+")
r"""GPT-2's pattern `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, in the letters that
`_stand_in` gives: Python's `re` has no `\p{L}`."""


def words_of(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each word: letters, digits or other characters, with a space before them; or white space."""
    for match in WORDS.finditer("".join(map(_stand_in, text))):
        yield match.span()


@cache
def _stand_in(character: str) -> str:
    """L for a letter, N for a number, w for white space, o for another; those that `WORDS` names stand for themselves.

    Letters and numbers are those of Python's version of Unicode, which may be another than the library's.
    """
    if character in " 'delmrstv":
        return character
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else "w" if character in SPACES else "o"


# --- bytes ----------------------------------------------------------------------------------------------------------


def _letters() -> list[str]:
    """A visible letter for each byte: its character in Latin-1 if that is visible, or else the next one from U+0100."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


LETTERS = _letters()
BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}

Word = tuple[str, list[int]]
"""The bytes of a word, as letters, and for each of them the index in the text of the character that it belongs to."""


def _bytes_of(text: str, start: int = 0) -> Word:
    found = [(LETTERS[byte], start + i) for i, character in enumerate(text) for byte in character.encode()]
    return "".join(letter for letter, _ in found), [index for _, index in found]


def _span(owners: Sequence[int]) -> tuple[int, int]:
    """Start and end in the text of some bytes: a part of a character counts as all of it."""
    return owners[0], owners[-1] + 1


class Step:
    """A step of a tokenizer. Its settings are its fields, and as JSON what `__getstate__` gives."""

    def __getstate__(self) -> bytes:
        return json.dumps({"type": type(self).__name__, **vars(self)}).encode()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(vars(self).values())


@dataclass
class ByteLevel(Step):
    """Text to words of bytes, and back. add_prefix_space: put a space before a text that does not begin with one."""

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    def split(self, text: str) -> list[Word]:
        """The words of a text. The space that is put before it belongs to its first character."""
        prefix = " " if text and self.add_prefix_space and not text.startswith(" ") else ""
        whole = prefix + text
        words = [_bytes_of(whole[start:end], start - len(prefix)) for start, end in words_of(whole)]
        return [(letters, [max(owner, 0) for owner in owners]) for letters, owners in words]

    def pre_tokenize_str(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """The words of a text, each with its start and end."""
        return [(letters, _span(owners)) for letters, owners in self.split(text)]

    def decode(self, tokens: Iterable[str]) -> str:
        """Tokens to text. Bytes that are not UTF-8 become U+FFFD. A token of other letters is text itself."""
        parts = (
            bytes(map(BYTES.__getitem__, token)) if BYTES.keys() >= set(token) else token.encode() for token in tokens
        )
        return b"".join(parts).decode(errors="replace")


# --- merges ---------------------------------------------------------------------------------------------------------


class BPE:
    """A vocabulary, token to id, and merges: pairs of tokens that become one, the first ones first.

    unk_token: the token for a byte that the vocabulary lacks. Raises ValueError if it lacks a token of the merges.
    """

    def __init__(
        self, vocab: Mapping[str, int], merges: Iterable[tuple[str, str]], unk_token: str | None = None
    ) -> None:
        self.ids, self.merges, self.unk_token = dict(vocab), list(merges), unk_token
        self.tokens = {index: token for token, index in self.ids.items()}
        self._ranks: dict[tuple[int, int], tuple[int, int]] = {}  # of a pair of ids: its rank, and what it becomes
        for rank, (first, second) in enumerate(self.merges):
            a, b, both = map(self._id, (first, second, first + second))
            self._ranks[a, b] = rank, both
        self._known: dict[str, list[tuple[int, int]]] = {}

    def _id(self, token: str) -> int:
        if token not in self.ids:
            raise ValueError(f"its vocabulary lacks {token[:100]!r}")
        return self.ids[token]

    def encode(self, word: str) -> list[tuple[int, int]]:
        """The id of each token of a word, and its number of letters. A word that comes again is looked up."""
        if word not in self._known:
            if len(self._known) == MOST_KNOWN:
                self._known.clear()
            known = [letter if letter in self.ids else self.unk_token for letter in word]
            self._known[word] = self._merged([self._id(letter) for letter in known if letter is not None])
        return self._known[word]

    def _merged(self, ids: list[int]) -> list[tuple[int, int]]:
        """Merge the pair of neighbours with the lowest rank, the leftmost of several, until no pair has a rank."""
        end = len(ids)
        lengths, before, after = [1] * end, list(range(-1, end - 1)), list(range(1, end + 1))
        queue: list[tuple[int, int, int]] = []  # a heap of rank, position of the first of the pair, and their token

        def consider(left: int) -> None:
            if left >= 0 and after[left] < end and (ids[left], ids[after[left]]) in self._ranks:
                rank, both = self._ranks[ids[left], ids[after[left]]]
                heapq.heappush(queue, (rank, left, both))

        for left in range(end):
            consider(left)
        while queue:
            _, left, both = heapq.heappop(queue)
            right = after[left]
            if not lengths[left] or right == end or self._ranks.get((ids[left], ids[right]), (0, None))[1] != both:
                continue  # one of the two is a part of another token by now
            ids[left], after[left] = both, after[right]
            lengths[left], lengths[right] = lengths[left] + lengths[right], 0
            if after[left] < end:
                before[after[left]] = left
            consider(before[left])
            consider(left)
        return [(index, length) for index, length in zip(ids, lengths, strict=True) if length]

    def state(self) -> dict[str, Any]:
        """The model, as a `tokenizer.json` has it."""
        return {
            "type": "BPE",
            "dropout": None,
            "unk_token": self.unk_token,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted(self.ids.items(), key=lambda item: item[1])),
            "merges": self.merges,
        }


MOST_KNOWN = 10_000
"""Number of words whose tokens are kept."""

# --- added tokens ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text as it is. lstrip, rstrip: with the white space before or after it.

    normalized: found only after all tokens that are not.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False

    def __post_init__(self) -> None:
        if self.single_word:
            raise ValueError(f"its added token {self.content!r:.100} is a single_word, {NEEDS_LIBRARY}")


Part = tuple[int, int, int | None]
"""Start and end of a part of a text, and its id if it is an added token."""


class Added:
    """The added tokens of a vocabulary, and where they are in a text."""

    def __init__(self, model: BPE) -> None:
        self.ids: dict[str, int] = {}
        self.by_id: dict[int, AddedToken] = {}
        self.special: set[str] = set()  # a token that was special once stays so
        self._model = model
        self.add([])

    def id_of(self, token: str) -> int | None:
        """The id of a token, added or not."""
        return self.ids.get(token, self._model.ids.get(token))

    def add(self, tokens: Sequence[AddedToken]) -> int:
        """Add tokens. Those of the vocabulary keep their ids. Returns the number of those that are new or changed."""
        self.special |= {token.content for token in tokens if token.special}
        changed = 0
        for token in tokens:
            index = self.id_of(token.content)
            if not token.content or (index is not None and self.by_id.get(index) == token):
                continue
            if index is None:
                index = max(len(self._model.ids), *(known + 1 for known in self.ids.values()), 0)
            self.ids[token.content], self.by_id[index] = index, token
            changed += 1
        known = self.by_id.values()
        self._patterns = [
            _pattern(token.content for token in known if token.normalized is late) for late in (False, True)
        ]
        return changed

    def split(self, text: str, keep_special: bool) -> Iterator[Part]:
        """The parts of a text. keep_special: leave special tokens in the text."""
        first, second = self._patterns
        for start, end, index in self._split(text, first, keep_special):
            if index is not None:
                yield start, end, index
            else:
                for left, right, later in self._split(text[start:end], second, keep_special):
                    yield start + left, start + right, later

    def _split(self, text: str, pattern: re.Pattern[str], keep_special: bool) -> Iterator[Part]:
        done = 0
        for match in pattern.finditer(text):
            start, end = match.span()
            index = self.ids[match[0]]
            if keep_special and match[0] in self.special:
                continue
            if self.by_id[index].lstrip:
                start = max(len(text[:start].rstrip(SPACES)), done)
            if self.by_id[index].rstrip:
                end = len(text) - len(text[end:].lstrip(SPACES))
            if done < start:
                yield done, start, None
            yield start, end, index
            done = end
        if done < len(text):
            yield done, len(text), None


def _pattern(contents: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds the longest of some strings; without any, it finds nothing."""
    return re.compile("|".join(map(re.escape, sorted(contents, key=len, reverse=True))) or "(?!)")


# --- encodings ------------------------------------------------------------------------------------------------------


class Token(NamedTuple):
    """A token of a text. word, sequence: index of its word, and of the text in a pair; None for a special token."""

    id: int
    text: str
    offsets: tuple[int, int] = (0, 0)
    word: int | None = None
    sequence: int | None = None


class Encoding:
    """The tokens of a text or pair: a list for each of their properties.

    typed: the token type of a pair's second text is 1; RoBERTa's are all 0.
    """

    def __init__(self, tokens: Iterable[Token], typed: bool = False) -> None:
        found = list(tokens)
        self.ids = [token.id for token in found]
        self.tokens = [token.text for token in found]
        self.offsets = [token.offsets for token in found]
        self.word_ids = [token.word for token in found]
        self.sequence_ids = [token.sequence for token in found]
        self.type_ids = [(typed and token.sequence) or 0 for token in found]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class RobertaProcessing(Step):
    """Put `<s>` and `</s>` around texts. trim_offsets: take the space before a word off its offsets.

    add_prefix_space: but a single space not off the first word, since it is not in the text.
    """

    sep: tuple[str, int]
    cls: tuple[str, int]
    trim_offsets: bool = True
    add_prefix_space: bool = True

    def around(self, texts: Sequence[list[Token]]) -> list[Token]:
        """The tokens of a text, `<s> A </s>`, or of a pair, `<s> A </s></s> B </s>`."""
        first, end = (Token(index, token) for token, index in (self.cls, self.sep))
        starts = (first, end)
        return [token for start, text in zip(starts, texts, strict=False) for token in (start, *text, end)]

    def trimmed(self, tokens: list[Token]) -> list[Token]:
        """The tokens of one text, with offsets without white space."""
        return [self._trimmed(token, is_first=not i) for i, token in enumerate(tokens)] if self.trim_offsets else tokens

    def _trimmed(self, token: Token, is_first: bool) -> Token:
        start, end = token.offsets
        before, after = (
            len(token.text) - len(strip(SPACE_LETTERS)) for strip in (token.text.lstrip, token.text.rstrip)
        )
        if not (self.add_prefix_space and (is_first or start == 0) and before == 1):
            start = min(start + before, end)
        return token._replace(offsets=(start, max(end - after, start) if end >= after else end))


SPACE_LETTERS = LETTERS[ord(" ")] + SPACES

# --- the tokenizer --------------------------------------------------------------------------------------------------


class Tokenizer:
    """Byte-level BPE, with the attributes and methods of the library's Tokenizer that minroberta uses."""

    normalizer = None

    def __init__(self, model: BPE) -> None:
        self.model, self._added = model, Added(model)
        self.pre_tokenizer, self.decoder = ByteLevel(), ByteLevel()
        self.post_processor: RobertaProcessing | None = None
        self.encode_special_tokens = False

    @classmethod
    def from_buffer(cls, content: bytes) -> "Tokenizer":
        """The tokenizer of a `tokenizer.json`. Raises ValueError if it is not RoBERTa's byte-level BPE."""
        state = json.loads(content.decode())
        model, splits, around = _checked(state)
        self = cls(BPE(model["vocab"], _pairs(model["merges"]), model.get("unk_token")))
        self.pre_tokenizer = ByteLevel(splits["add_prefix_space"], splits["trim_offsets"])
        if around:
            sep, start = (tuple(around[name]) for name in ("sep", "cls"))
            self.post_processor = RobertaProcessing(sep, start, around["trim_offsets"], around["add_prefix_space"])
        self.add_tokens([AddedToken(*(token[name] for name in FLAGS)) for token in state.get("added_tokens", ())])
        return self

    def to_str(self, pretty: bool = False) -> str:
        """The content of a `tokenizer.json`."""
        added = self.get_added_tokens_decoder().items()
        steps = (self.pre_tokenizer, self.post_processor, self.decoder)
        splits, around, joins = (step and json.loads(step.__getstate__()) for step in steps)
        state = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": index, **{name: getattr(token, name) for name in FLAGS}} for index, token in added],
            "normalizer": None,
            "pre_tokenizer": splits,
            "post_processor": around,
            "decoder": joins,
            "model": self.model.state(),
        }
        layout: dict[str, Any] = {"indent": 2} if pretty else {"separators": (",", ":")}
        return json.dumps(state, ensure_ascii=False, **layout)

    def no_padding(self) -> None:
        """Do nothing, since this tokenizer never pads."""

    def no_truncation(self) -> None:
        """Do nothing, since this tokenizer never truncates."""

    def token_to_id(self, token: str) -> int | None:
        """The id of a token, or None."""
        return self._added.id_of(token)

    def id_to_token(self, index: int) -> str | None:
        """The token that has an id, or None."""
        return self._added.by_id[index].content if index in self._added.by_id else self.model.tokens.get(index)

    def get_vocab(self) -> dict[str, int]:
        """The id of each token, added ones included."""
        return {**self.model.ids, **self._added.ids}

    def get_vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return len(self.get_vocab())

    def get_added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The added tokens, by id."""
        return dict(sorted(self._added.by_id.items()))

    def add_tokens(self, tokens: Iterable[str | AddedToken]) -> int:
        """Add tokens. Returns the number of those that are new or have new flags."""
        return self._added.add([AddedToken(token) if isinstance(token, str) else token for token in tokens])

    def add_special_tokens(self, tokens: Iterable[str]) -> int:
        """Add special tokens. Returns the number of those that are new or have new flags."""
        return self._added.add([AddedToken(token, normalized=False, special=True) for token in tokens])

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """Number of special tokens around a text or pair."""
        return len(self.post_processor.around([[], []] if is_pair else [[]])) if self.post_processor else 0

    def encode_batch(
        self, inputs: Iterable[Any], is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> list[Encoding]:
        """The tokens of each text or pair, which is a tuple. is_pretokenized: each text is a list of words."""
        return [self._encode(text, is_pretokenized, add_special_tokens) for text in inputs]

    def encode(
        self, sequence: Any, pair: Any = None, is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> Encoding:
        """The tokens of a text, or of a pair."""
        return self._encode(sequence if pair is None else (sequence, pair), is_pretokenized, add_special_tokens)

    def _encode(self, given: Any, is_pretokenized: bool, add_special_tokens: bool) -> Encoding:
        texts = []
        for number, text in enumerate(given if isinstance(given, tuple) else (given,)):
            words = enumerate(text) if is_pretokenized else [(None, text)]
            tokens = [token._replace(sequence=number) for index, word in words for token in self._tokens(word, index)]
            texts.append(self.post_processor.trimmed(tokens) if self.post_processor else tokens)
        if add_special_tokens and self.post_processor:
            return Encoding(self.post_processor.around(texts))
        return Encoding((token for tokens in texts for token in tokens), typed=not self.post_processor)

    def _tokens(self, text: str, number: int | None) -> Iterator[Token]:
        """The tokens of a text. number: the index of the word that the text is, if it is one."""
        words = itertools.count() if number is None else itertools.repeat(number)
        for start, end, index in self._added.split(text, self.encode_special_tokens):
            if index is not None:
                yield Token(index, text[start:end], (start, end), next(words))
                continue
            for letters, owners in self.pre_tokenizer.split(text[start:end]):
                word, done = next(words), 0
                for token, length in self.model.encode(letters):
                    first, last = _span(owners[done : done + length])
                    yield Token(token, self.model.tokens[token], (start + first, start + last), word)
                    done += length

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of ids. Ids that no token has are left out."""
        tokens = (token for token in map(self.id_to_token, ids) if token is not None)
        return self.decoder.decode(t for t in tokens if not (skip_special_tokens and t in self._added.special))


FLAGS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
"""The fields of an added token, in the order of `AddedToken`."""

# --- the file -------------------------------------------------------------------------------------------------------

NEEDS_LIBRARY = "which needs the library tokenizers: pip install tokenizers, where it can be installed"

Fields = Mapping[str, Any]

Kind = tuple[Callable[[Any], bool], str]
"""A kind of values in a file: a function that is true for them, and their name in words."""


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _types(value: Any) -> list[type]:
    """The types in a list; [] for another value."""
    return [*map(type, value)] if isinstance(value, list) else []


OBJECT: Kind = (lambda value: isinstance(value, dict), "an object")
LIST: Kind = (lambda value: isinstance(value, list), "a list")
TEXT: Kind = (lambda value: isinstance(value, str), "a text")
FLAG: Kind = (lambda value: isinstance(value, bool), "true or false")
NUMBER: Kind = (lambda value: type(value) in (int, float), "a number")
ID: Kind = (_is_id, "an integer from 0 to 2^32 - 1")
VERSION: Kind = (lambda value: value == "1.0", "'1.0'")
TOKEN: Kind = (lambda value: _types(value) == [str, int] and _is_id(value[1]), "a token and its id")
PAIR: Kind = (lambda value: _types(value) == [str, str], "a list of two tokens")

ADDED = {"id": ID, "content": TEXT, **dict.fromkeys(FLAGS[1:], FLAG)}
BYTE_LEVEL = dict.fromkeys(("add_prefix_space", "trim_offsets", "use_regex"), FLAG)
AROUND = {"sep": TOKEN, "cls": TOKEN, "add_prefix_space": FLAG, "trim_offsets": FLAG}
STEPS = {"normalizer": {}, "pre_tokenizer": BYTE_LEVEL, "decoder": BYTE_LEVEL, "post_processor": AROUND}
"""The fields of each step."""

KINDS = (None, "ByteLevel", "ByteLevel", "RobertaProcessing")
OTHERS = {
    "dropout": NUMBER,
    "continuing_subword_prefix": TEXT,
    "end_of_word_suffix": TEXT,
    "fuse_unk": FLAG,
    "byte_fallback": FLAG,
    "ignore_merges": FLAG,
}
"""Options of the library's BPE that RoBERTa does not use."""


def _checked(state: Any) -> tuple[Fields, Fields, Fields | None]:
    """Model, pre-tokenizer and post-processor of a `tokenizer.json`.

    Raises ValueError if they are of another kind, or have a value that the library rejects. The library takes a
    RobertaProcessing with an invalid flag for a BertProcessing, which has no flags; here it is an error.
    """
    _check("content", state, OBJECT)
    _check("version", state.get("version", "1.0"), VERSION)
    model, steps = state.get("model"), {name: state[name] for name in STEPS if state.get(name) is not None}
    for name, part in {"model": model, **steps}.items():
        _check(name, part, OBJECT)
    _check_model(model)
    _check_steps(steps)
    added = state.get("added_tokens", [])
    _check("added_tokens", added, LIST)
    for token in added:
        _check("added token", token, OBJECT)
        _check_fields("added token", token, ADDED)
    return model, steps["pre_tokenizer"], steps.get("post_processor")


def _check_model(model: Fields) -> None:
    for name, kind in {**OTHERS, "unk_token": TEXT}.items():
        if model.get(name) is not None:
            _check(name, model[name], kind)
    others = [name for name in OTHERS if model.get(name)]
    if model.get("type", "BPE") != "BPE" or others or "merges" not in model:
        what = ", ".join(others) or model.get("type", "no merges")
        raise ValueError(f"its model has {what}, {NEEDS_LIBRARY}")
    _check("vocab", model.get("vocab"), OBJECT)
    for token, index in model["vocab"].items():
        _check(f"id of {token[:100]!r}", index, ID)


def _check_steps(steps: Mapping[str, Fields]) -> None:
    kinds = tuple((steps[name].get("type") or "of no type") if name in steps else None for name in STEPS)
    if kinds not in (KINDS, (*KINDS[:3], None)) or not steps["pre_tokenizer"].get("use_regex", True):
        raise ValueError(f"its steps are {', '.join(map(str, kinds))}, not RoBERTa's, {NEEDS_LIBRARY}")
    for name, step in steps.items():
        _check_fields(name, {"use_regex": True, **step}, STEPS[name])


def _check_fields(name: str, part: Fields, kinds: Mapping[str, Kind]) -> None:
    for field, kind in kinds.items():
        _check(f"{name}'s {field}", part.get(field), kind)


def _check(name: str, value: Any, kind: Kind) -> None:
    holds, words = kind
    if not holds(value):
        raise ValueError(f"its {name} is {value!r:.100}, not {words}")


def _pairs(merges: Any) -> list[tuple[str, str]]:
    """The merges of a file as pairs. Older files have texts with a space, and may begin with a version."""
    _check("merges", merges, LIST)
    if all(isinstance(merge, str) for merge in merges):
        merges = [merge.split(" ") for merge in merges if not merge.startswith("#version")]
    for merge in merges:
        _check("merge", merge, PAIR)
    return [(first, second) for first, second in merges]


# --- which of the two -----------------------------------------------------------------------------------------------

models = SimpleNamespace(BPE=BPE)
pre_tokenizers = decoders = SimpleNamespace(ByteLevel=ByteLevel)
processors = SimpleNamespace(RobertaProcessing=RobertaProcessing)
"""These classes, in the modules in which the library has them."""


def library() -> Any:
    """The tokenizers library, or this module if that cannot be imported."""
    try:
        import tokenizers
    except ImportError:
        return sys.modules[__name__]
    return tokenizers


def check_library(what: str) -> None:
    """Raise TokenizerError for a tokenizer of another kind than this module's, unless there is the library."""
    if library() is sys.modules[__name__]:
        raise TokenizerError(f"this tokenizer is {what}, {NEEDS_LIBRARY}")
