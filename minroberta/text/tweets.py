r"""BERTweet's normalisation of tweets: from a tweet to words, each aligned with the tweet.

A tweet is split as by NLTK's TweetTokenizer. Then a user name becomes `@USER`, a web address `HTTPURL`, and an emoji
its name, as in transformers' BertweetTokenizer with `normalization`. Those libraries use the regex package, whose \w
also matches marks and circled letters. Here, before matching, each character is replaced by one that has the same role
in Python's re.
"""

import functools
import html.entities
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

from .encodings import Encoding, Places

if TYPE_CHECKING:
    import tokenizers

# --- texts made from others ------------------------------------------------------------------------------------------


class Aligned(NamedTuple):
    """A text made from a tweet. spans: for each character, the start and end of its source in the tweet."""

    text: str
    spans: list[tuple[int, int]]

    def part(self, start: int, end: int | None = None) -> "Aligned":
        """The characters from `start` to `end`."""
        return Aligned(self.text[start:end], self.spans[start:end])

    @classmethod
    def of(cls, text: str) -> "Aligned":
        """A tweet, aligned with itself."""
        return cls(text, [(index, index + 1) for index in range(len(text))])

    @property
    def span(self) -> tuple[int, int]:
        """Start and end of the source of the whole text, not counting spaces at its start and end."""
        spans = [span for span, character in zip(self.spans, self.text, strict=True) if character != " "] or self.spans
        return spans[0][0], spans[-1][1]

    def as_one(self, text: str) -> "Aligned":
        """Another text, each of whose characters has the whole source of this one."""
        return self if text == self.text else Aligned(text, [self.span] * len(text))

    def replace(self, pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> "Aligned":
        """The text with each match of a regular expression replaced."""
        parts, end = [], 0
        for match in re.finditer(pattern, self.text):
            new = replacement if isinstance(replacement, str) else replacement(match)
            parts += [self.part(end, match.start()), self.part(*match.span()).as_one(new)]
            end = match.end()
        return _joined([*parts, self.part(end)]) if parts else self


def _joined(parts: Sequence[Aligned]) -> Aligned:
    return Aligned("".join(part.text for part in parts), [span for part in parts for span in part.spans])


# --- words ----------------------------------------------------------------------------------------------------------


def words(text: Aligned) -> list[Aligned]:
    """The words of a tweet, normalised."""
    text = text.replace("[’…]", lambda match: PLAIN[match[0]])
    text = text.replace(r"&(#x?|x)?([^&;\s]+);", _character)
    text = text.replace(r"([^a-zA-Z0-9])\1{3,}", lambda match: match[1] * 3)
    tokens = [text.part(*match.span()) for match in TOKEN.finditer(text.text.translate(SHAPES))]
    text = _joined([part for token in tokens for part in (token.as_one(_normal(token.text)), token.as_one(" "))])
    text = text.part(0, -1)
    for old, new in CONTRACTIONS:
        text = text.replace(old, new)
    return [text.part(*match.span()) for match in re.finditer(r"\S+", text.text)]


PLAIN = {"’": "'", "…": "..."}


def _character(entity: re.Match[str]) -> str:
    """The character of an HTML entity, or "" if it is unknown. Numbers from 128 to 159 are read as Windows-1252."""
    numbered, name = entity.groups()
    try:
        code = int(name, 16 if "x" in numbered else 10) if numbered else html.entities.name2codepoint[name]
        character = bytes((code,)).decode("cp1252") if 0x80 <= code <= 0x9F else chr(code)
    except (KeyError, ValueError, OverflowError):
        return ""
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character


def _normal(token: str) -> str:
    """A token of a tweet in the form that BERTweet was trained on."""
    if token.startswith("@"):
        return "@USER"
    if token.lower().startswith(("http", "www")):
        return "HTTPURL"
    return PLAIN.get(token) or (_name_of_emoji(token) if len(token) == 1 and not token.isascii() else token)


CONTRACTIONS = (
    ("cannot ", "can not "),
    ("n't ", " n't "),
    ("n 't ", " n't "),
    ("ca n't", "can't"),
    ("ai n't", "ain't"),
    *((f"'{ending} ", f" '{ending} ") for ending in ("m", "re", "s", "ll", "d", "ve")),
    *((rf" {half} \. m{end}", f" {half}.m{end[-1]}") for half in "pa" for end in (r" \.", " ")),
)
"""Regular expressions and replacements, in order, for a tweet with spaces between its tokens."""

# --- tokens ---------------------------------------------------------------------------------------------------------

BRACKETS = r"\([^\s()]*\([^\s()]+\)[^\s()]*\) | \(\S+?\)"

DOMAIN = r"\.[a-z]{2,13}"

GAP = r"[ .)*-]*"

KINDS = {
    "an address with its path": rf"""
        (?: https?:(?: /{{1,3}} | [a-z0-9%]) | [a-z0-9.-]{{1,253}}{DOMAIN}/)
        (?: [^\s()<>{{}}\[\]] | {BRACKETS})+
        (?: {BRACKETS} | [^\s()\[\]{{}}<>`'"«»“”‘’.,:;!?])""",
    "a site": rf"(?<!@)[a-z0-9]+(?: [.-][a-z0-9]+){{0,126}}{DOMAIN}\b/?(?!@)",
    "a telephone number": rf"(?: \+?[01]{GAP})? (?: \(?\d{{3}}{GAP})? \d{{3}}{GAP}\d{{4}}",
    "a face": r"[<>]?[:;=8][o*'-]?[][()dp/\\:{}@|] | [][()dp/\\:{}@|][o*'-]?[:;=8][<>]?",
    "a heart": "<3",
    "a tag of HTML": r"<[^>\s]{1,1000}>",
    "an arrow": "-+> | <-+",
    "a user's name": r"@\w+",
    "a hashtag": r"\#+\w[\w'-]*\w",
    "an email address": r"[\w.+-]{1,320}@[\w-]+\.(?: [\w-]\.?)+[\w-]",
    "a word": r"[^\W\d_](?: [^\W\d] | ['-])+[^\W\d_]",
    "a number of two parts": r"[+-]?\d+[,/.:-]\d+[+-]?",
    "letters and digits": r"\w+",
    "dots": r"\.(?: \s*\.)+",
    "any other character": r"\S",
}
"""The kinds of tokens, and regular expressions for their shapes. The first one that matches is taken.

Repeats after which a match may still fail have a limit, so that no text takes long. No address is that long.
"""

TOKEN = re.compile("|".join(KINDS.values()), re.VERBOSE | re.IGNORECASE)


class Shapes(dict[int, str]):
    """The shape of each character: the character that replaces it while a tweet is split into tokens."""

    def __missing__(self, code: int) -> str:
        self[code] = shape = _shape(chr(code))
        return shape


SHAPES = Shapes()

LIKE_ASCII = {"İ": "i", "ſ": "s", "\u212a": "k"}
"""Letters that equal an ASCII letter if case is ignored."""

CIRCLED = (range(0x24B6, 0x24EA), range(0x1F130, 0x1F14A), range(0x1F150, 0x1F16A), range(0x1F170, 0x1F18A))
"""Symbols that are letters, such as Ⓐ and 🅰."""


def _shape(character: str) -> str:
    kind = unicodedata.category(character)
    if character.isascii() and character not in "\x1c\x1d\x1e\x1f":  # for Python, these are spaces
        return character
    if kind == "Nd":
        return "٠"
    if (
        kind[0] in "LM"
        or kind in ("Nl", "Pc")
        or character in "\u200c\u200d"
        or any(ord(character) in some for some in CIRCLED)
    ):
        return LIKE_ASCII.get(character, "ª")
    return "¬" if kind[0] in "NC" and character != "\x85" else character


# --- encodings ------------------------------------------------------------------------------------------------------

Words = list[tuple[int, Aligned]]
"""The normalised words of a text, each with its index; in a list of words, with the index of the given word."""


def encode(library: "tokenizers.Tokenizer", inputs: Iterable[Any], **options: Any) -> list[Encoding]:
    """Encode tweets or pairs of tweets, each a str or a list of words, as `encode_batch` does."""
    added = _pattern_of_added(library)
    read = [[_read(text, added) for text in (one if isinstance(one, tuple) else (one,))] for one in inputs]
    given = [tuple([word.text for _, word in text] for text in texts) for texts in read]
    found = library.encode_batch(
        [texts if len(texts) > 1 else texts[0] for texts in given], is_pretokenized=True, **options
    )
    return [Encoding(each, functools.partial(_places, texts)) for each, texts in zip(found, read, strict=True)]


def _places(texts: Sequence[Words], encoding: "tokenizers.Encoding") -> Places:
    words: list[int | None] = []
    offsets: list[tuple[int, int]] = []
    for number, index, span in zip(encoding.sequence_ids, encoding.word_ids, encoding.offsets, strict=True):
        word, text = (None, None) if number is None or index is None else texts[number][index]
        words.append(word)
        offsets.append(text.part(*span).span if text else (0, 0))
    return words, offsets


def _read(text: str | Sequence[str], added: re.Pattern[str]) -> Words:
    if isinstance(text, str):
        return list(enumerate(_with_added(Aligned.of(text), added)))
    return [(index, word) for index, one in enumerate(text) for word in _with_added(Aligned.of(one), added)]


def _with_added(text: Aligned, added: re.Pattern[str]) -> Iterator[Aligned]:
    """The added tokens in a text, and the normalised words between them, in order."""
    end = 0
    for match in added.finditer(text.text):
        yield from words(text.part(end, match.start()))
        yield text.part(*match.span())
        end = match.end()
    yield from words(text.part(end))


def _pattern_of_added(library: "tokenizers.Tokenizer") -> re.Pattern[str]:
    """Regular expression for the tokens that the library finds in a text before all others."""
    tokens = library.get_added_tokens_decoder().values()
    found = [token for token in tokens if not (token.special and library.encode_special_tokens)]
    found.sort(key=lambda token: len(token.content), reverse=True)
    single = [(r"(?<!\w)", r"(?!\w)") if token.single_word else ("", "") for token in found]
    parts = [re.escape(token.content).join(around) for token, around in zip(found, single, strict=True)]
    return re.compile("|".join(parts) or "(?!)")


# --- emoji ----------------------------------------------------------------------------------------------------------

VERSIONS = ("0.5.4", "0.6.0")
"""Versions of the emoji package that have the names on which BERTweet was trained."""


def warn_of_emoji() -> None:
    """Warn if the emoji package is missing, or has other names than those on which BERTweet was trained."""
    try:
        found = metadata.version("emoji")
    except metadata.PackageNotFoundError:
        found = None
    if found not in VERSIONS:
        problem = (
            f"emoji {found} has other names than those on which BERTweet was trained"
            if found
            else "emoji are not replaced by their names, on which BERTweet was trained: the emoji package is missing"
        )
        warnings.warn(f"{problem}: pip install 'minroberta[tweets]', for emoji 0.6.0", stacklevel=2)


def _name_of_emoji(character: str) -> str:
    try:
        from emoji import demojize  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return character
    return demojize(character)
