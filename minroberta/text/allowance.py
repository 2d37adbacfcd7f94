"""Limits on a stranger's `tokenizer.json`: the tokenizers library does whatever the file says.

A few hundred bytes can make a thousand characters of one, or compile to gigabytes. So the file is read strictly, and
each of its steps must be of a known kind, with texts, patterns and counts of a bounded size. What passes costs no more
to build than its size explains. The published tokenizers pass; with `trust_tokenizer=True` every file does.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from . import sentencepiece
from .settings import LONGEST_TOKEN, check_added

if TYPE_CHECKING:
    import tokenizers

Step = Mapping[str, Any]
"""A step of a tokenizer: a JSON object with a `type`."""


LARGE_FILE = 18_000_000
"""Size in bytes from which a file may have more pieces than any of this size: XLM-V's has 26 MB."""

PLAIN = 1_500_000
"""Size in bytes up to which a vocabulary is not looked at. The library needs at most 300 times its size in memory."""


def read(content: bytes) -> dict[str, Any]:
    """The JSON object in a file, as the library reads it too: UTF-8, no key twice, no NaN.

    In a small file, a vocabulary that is an object and merges are left empty. Raises ValueError.
    """
    if len(content) > PLAIN:
        limits = sentencepiece.Limits.of(len(content), LARGE_FILE)
        if (count := content.count(b"[") + content.count(b"{")) > limits.pieces + limits.merges:
            raise ValueError(f"it has {count} lists and objects; the limit is {limits.pieces + limits.merges}")
    text = (_outline(content) if len(content) <= PLAIN else content).decode()
    values = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, not a JSON object")
    return values


def _outline(content: bytes) -> bytes:
    """The file with empty lists and objects in place of a vocabulary and merges: parsing these takes the most time."""
    plain = ESCAPE.sub(b"__", content)  # without escapes, quotes begin and end strings
    marks = numpy.frombuffer(plain, numpy.uint8)
    outside = ~numpy.logical_xor.accumulate(marks == ord('"'))
    lower = marks | 32  # [ as {, and ] as }
    brackets = numpy.flatnonzero(outside & ((lower == ord("{")) | (lower == ord("}"))))
    opens = lower[brackets] == ord("{")
    depth = numpy.cumsum(numpy.where(opens, 1, -1))
    starts, ends = brackets[opens & (depth == 3)], brackets[~opens & (depth == 2)]
    for start, end in reversed(list(zip(starts.tolist(), ends.tolist(), strict=False))):
        if LARGE.search(plain, max(0, start - 40), start + 1):
            _check_entries(marks[start:end], outside[start:end])
            content = content[: start + 1] + content[end:]
    return content


ESCAPE = re.compile(rb"\\.", re.DOTALL)

LARGE = re.compile(rb'"(?:vocab"\s*:\s*\{|merges"\s*:\s*\[)\Z')
"""The beginning of a vocabulary or of merges in a model. The list of a unigram model's pieces is always looked at."""


def _check_entries(marks: numpy.ndarray, outside: numpy.ndarray) -> None:
    """Raise ValueError for a piece or an id that is too large. marks: the bytes; outside: True outside of strings."""
    quotes, half = marks == ord('"'), LONGEST_TOKEN * LONGEST_ESCAPE // 2
    if not quotes[: len(marks) // half * half].reshape(-1, half).any(1).all():  # else there is none twice as long
        _check_longest(int(numpy.diff(numpy.flatnonzero(quotes)).max(initial=0)) // LONGEST_ESCAPE)
    digits = outside & (marks - ord("0") < 10)  # a byte below "0" becomes a large one
    for step in (1, 2, 4):  # True where 2, 4, and then 8 digits begin
        digits = digits[:-step] & digits[step:]
    check_largest(LARGEST_ID * bool(digits.any()))


LONGEST_ESCAPE = 6
"""Maximum number of bytes by which JSON writes a character of the basic plane."""


def _check_longest(length: int) -> None:
    """Raise ValueError if a piece is so long that a few ids are decoded to gigabytes."""
    if length > LONGEST_TOKEN:
        raise ValueError(f"it has a piece of about {length} characters; the limit is {LONGEST_TOKEN}")


def check_largest(index: int) -> None:
    """Raise ValueError for an id that is so large that to write the tokenizer takes gigabytes, one for each id."""
    if index >= LARGEST_ID:
        raise ValueError(f"it has an id of {LARGEST_ID} or more")


LARGEST_ID = 10_000_000


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"it has the key {name[:40]!r} twice")
        result[name] = value
    return result


def _no_number(name: str) -> None:
    raise ValueError(f"it has {name}, which JSON does not")


def check(values: Mapping[str, Any], size: int, added: Sequence[str] = ()) -> None:
    """Raise ValueError if a tokenizer may take more time or memory than a file of this size explains.

    added: the tokens that other files add.
    """
    try:
        _check(values, size, added)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("one of its fields is missing, or of the wrong type") from error
    except ValueError as error:
        raise ValueError(f"{error} (if you trust the file, load it with trust_tokenizer=True)") from error


def _check(values: Mapping[str, Any], size: int, added: Sequence[str]) -> None:
    for part, kinds in KINDS.items():
        steps = list(_steps(values.get(part), kinds, part))
        if len(steps) > MOST_STEPS:
            raise ValueError(f"its {part} has {len(steps)} steps; the limit is {MOST_STEPS}")
        for kind in ONCE:
            if sum(step["type"] == kind for step in steps) > 1:
                raise ValueError(f"its {part} has the step {kind} twice")
        for step in steps:
            _check_texts(step, part)
    growth = {part: growth_of(values.get(part)) for part in ("normalizer", "decoder")}
    for part, count in growth.items():
        if count > MOST_GROWTH:
            raise ValueError(f"its {part} can make {count} characters of one; the limit is {MOST_GROWTH}")
    _check_lengths(values)
    for tokens in ([token["content"] for token in values.get("added_tokens") or ()], added):
        check_added(tokens, growth["normalizer"])
    _check_model(values.get("model"), sentencepiece.Limits.of(size, LARGE_FILE))


# --- steps ----------------------------------------------------------------------------------------------------------

SEQUENCES = ("normalizers", "pretokenizers", "processors", "decoders")
"""Fields in which a Sequence of each part holds its steps."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "normalizer": (
        "BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend",
        "Replace", "Sequence", "Strip", "StripAccents",
    ),
    "pre_tokenizer": (
        "BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Delimiter", "Digits", "Metaspace", "Punctuation",
        "Sequence", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit",
    ),
    "post_processor": ("BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"),
    "decoder": (
        "BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Sequence", "Strip",
        "WordPiece",
    ),
}  # fmt: skip
"""The kinds of steps of each part."""

MOST_STEPS = 30
"""Maximum number of steps of one part. Published tokenizers have up to 10."""


ONCE = ("BertNormalizer", "ByteLevel", "Lowercase", "Metaspace", "NFC", "NFD", "NFKC", "NFKD", "Precompiled")
"""The kinds that may make a text longer by themselves, so that several of them could make it longer without end."""


def _steps(step: Any, kinds: Sequence[str], part: str) -> Iterator[Step]:
    """A step and those within it. Raises ValueError for an unknown kind."""
    if step is None:
        return
    kind = step.get("type") if isinstance(step, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"it has the unknown {part} {kind!r:.60}: the known ones are {', '.join(kinds)}")
    yield step
    inner = [step[name] for name in SEQUENCES if name in step]
    if kind == "Sequence" and not (len(inner) == 1 and isinstance(inner[0], list)):
        raise ValueError(f"a Sequence in its {part} does not hold a list of steps")
    for other in inner[0] if kind == "Sequence" else ():
        yield from _steps(other, kinds, part)


LONGEST_TEXT, LONGEST_LIST = 200, 100
"""Maximum length of a text and of a list in a step."""


def _check_texts(step: Step, part: str) -> None:
    """Raise ValueError if a field of a step is too large, or a pattern of a form that may take long."""
    for name, value in step.items():
        if name not in (*SEQUENCES, "precompiled_charsmap"):
            _check_value(value, f"{name} of {step['type']} in its {part}")
    for name in FOUND:
        if step.get(name) in ("", {"String": ""}):
            raise ValueError(f"{name} of {step['type']} in its {part} is empty, so that it is found everywhere")
    for pattern in (value for value in step.values() if isinstance(value, dict) and "Regex" in value):
        check_pattern(pattern["Regex"])
    if "precompiled_charsmap" in step:
        sentencepiece.check_charsmap(_charsmap(step))


FOUND = ("pattern", "suffix", "word_delimiter_token")
"""Fields with a text that a step looks for, to replace it."""


def _check_value(value: Any, name: str) -> None:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise ValueError(f"{name} has {len(value)} characters; the limit is {LONGEST_TEXT}")
    if isinstance(value, list | dict) and len(value) > LONGEST_LIST:
        raise ValueError(f"{name} has {len(value)} items; the limit is {LONGEST_LIST}")
    for other in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_value(other, name)


def _charsmap(step: Step) -> bytes:
    return base64.b64decode(step["precompiled_charsmap"] or "")


# --- growth ---------------------------------------------------------------------------------------------------------

MOST_GROWTH = 40
"""Maximum number of characters that the steps of a part together may make of one.

XLM-Roberta's make up to 36: 18 for an Arabic ligature, and twice as many by a replacement.
"""


def growth_of(step: Any) -> int:
    """The largest number of characters that a step or a sequence makes of one, but for those in `ONCE` without a map.

    These make at most 18 (of an Arabic ligature, by NFKD), and few texts have such characters.
    """
    if step is None:
        return 1
    inner = next((step[name] for name in SEQUENCES if name in step), ())
    own = GROWTH[step["type"]](step) if step["type"] in GROWTH else 1
    return math.prod(map(growth_of, inner), start=own)


def _of_replacement(step: Step) -> int:
    pattern, content = step["pattern"], step["content"]
    if "String" in pattern:
        return math.ceil(len(content) / max(1, len(pattern["String"])))
    return 1 + len(content)  # where the pattern matches nothing, the content is put before a character


GROWTH: Mapping[str, Callable[[Step], int]] = {
    "Replace": _of_replacement,
    "Prepend": lambda step: 1 + len(step["prepend"]),
    "Precompiled": lambda step: sentencepiece.longest_replacement(_charsmap(step)),
}
"""The growth of the steps that a file may make as large as it likes."""

# --- patterns -------------------------------------------------------------------------------------------------------

ESCAPE_OF_PATTERN = r"\\(?>[AbBdDefhHnrsStuvwWxzZ]|[^\w])"
CLASS = r"\[\^?+\]?+(?>\\[pP]\{\^?\w+\}|\\[^pP]|\[:\^?\w+:\]|[^]\[&\\]|&(?!&))*+\]"
ATOM = rf"(?>\\[pP]\{{\^?\w+\}}|{ESCAPE_OF_PATTERN}|{CLASS}|[^\\\[\]()|*+?{{}}])"
COUNT = r"\{\d{0,3}(?>,\d{0,3})?+\}"
REPEAT = rf"(?>[*+]|{COUNT})"
PIECE = rf"{ATOM}(?>[*+?][+?]?+|{COUNT}\??+)?+"
CONDITION = rf"\(\?<?+[=!](?>{ATOM}|\|)*+\)"
GROUP = rf"\((?>\?:|\?i:)?+(?>{PIECE}|{CONDITION}|\|)*+\)\??+"
PATTERN = re.compile(rf"(?>{PIECE}|{CONDITION}|{GROUP}|\|)*+")
"""Patterns that are searched in a time bounded by the text's length. Every part is possessive, and so is this check."""

MOST_REPEATS = 10
"""Maximum number of repetitions in a pattern."""


def check_pattern(pattern: Any) -> None:
    """Raise ValueError unless a pattern is of a form whose search takes at most a time quadratic in the text's length.

    Characters, classes and groups of these may follow each other, as alternatives or not, and characters and classes
    may be repeated. A repeated group, a call, a back-reference, or repetition within a condition may take too long on
    some texts. So may two repetitions before something that may fail: every length of the first is tried with every
    length of the second.
    """
    if not isinstance(pattern, str) or not PATTERN.fullmatch(pattern):
        raise ValueError(f"its pattern {pattern!r:.60} has a form that may take too long")
    plain = re.sub(f"{ATOM}|(?P<repeat>{REPEAT})[+?]?", lambda found: "*" if found["repeat"] else "x", pattern)
    alternatives = _alternatives(plain)
    if plain.count("*") > MOST_REPEATS or not all(map(re.compile(r"[^*]*\*?[^*]*(\*[)?]*)?").fullmatch, alternatives)):
        raise ValueError(f"its pattern {pattern!r:.60} has repetitions after each other, which may take too long")


def _alternatives(pattern: str) -> list[str]:
    """The alternatives of a pattern; those within groups are left together."""
    depth, found = 0, [""]
    for letter in pattern:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "|" and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found


# --- the other parts ------------------------------------------------------------------------------------------------


LARGEST_LENGTH, LONGEST_WORD = 1_000_000, 1000
"""Maximum number of tokens to pad or cut to, and of characters of a word that WordPiece splits."""


def _check_lengths(values: Mapping[str, Any]) -> None:
    """Raise ValueError for lengths to which the library would pad or cut; minroberta does both by itself."""
    for part in ("truncation", "padding"):
        for value in _numbers(values.get(part)):
            if not 0 <= value <= LARGEST_LENGTH:
                raise ValueError(f"its {part} has the number {value}; the limit is {LARGEST_LENGTH}")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    for other in value.values() if isinstance(value, dict) else ():
        yield from _numbers(other)


AFFIXES = ("continuing_subword_prefix", "end_of_word_suffix", "unk_token")


def _check_model(model: Any, limits: "sentencepiece.Limits") -> None:
    """Raise ValueError if the library may need too much memory: it ends the process if memory runs out."""
    if not isinstance(model, dict):
        raise ValueError("it has no model")
    pieces, merges = model.get("vocab") or (), model.get("merges") or ()
    for name, found, most in (("pieces", pieces, limits.pieces), ("merges", merges, limits.merges)):
        if len(found) > most:
            raise ValueError(f"it has {len(found)} {name}; the limit for its size is {most}")
    if isinstance(pieces, list):  # a unigram model, whose pieces the library holds in a trie
        sentencepiece.check_prefixes((str(piece).encode() for piece, _ in pieces), limits)
    else:
        _check_longest(max(map(len, pieces), default=0))
        check_largest(max(pieces.values(), default=0) if isinstance(pieces, dict) else 0)
    for name in AFFIXES:
        if len(model.get(name) or "") > LONGEST_TEXT:
            raise ValueError(f"its {name} has {len(model[name])} characters; the limit is {LONGEST_TEXT}")
    if "merges" in model and (prefix := model.get("continuing_subword_prefix")):
        raise ValueError(f"it has merges and the continuing_subword_prefix {prefix!r}: the library may fail on these")
    if (most := model.get("max_input_chars_per_word", 0)) > LONGEST_WORD:
        raise ValueError(f"its max_input_chars_per_word is {most}; the limit is {LONGEST_WORD}")
    if model.get("dropout"):
        raise ValueError(f"its model has a dropout of {model['dropout']!r:.20}, by which ids are random")


def check_built(library: "tokenizers.Tokenizer") -> None:
    """Raise ValueError if a tokenizer puts very many special tokens around a text, and so around each window of it."""
    count = max(map(library.num_special_tokens_to_add, (False, True)))
    if count > LONGEST_LIST:
        raise ValueError(f"it puts {count} special tokens around a text; the limit is {LONGEST_LIST}")
