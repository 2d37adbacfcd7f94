"""Checks of a caller's texts: a single text, several texts, or pairs of texts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import InputError, TokenizerError

Result = TypeVar("Result")

Text = str | tuple[str, str]
"""One input: a text, or a pair of texts."""

TextOrPair = str | tuple[str, str] | list[str] | Mapping[str, str]
"""One input as a caller may give it. A list is a pair only within a list of texts: alone, it is a list of texts."""

ONE = (str, tuple, Mapping)
"""The types of a single input."""


def which(index: int, texts: Sequence[Any], name: str = "text") -> str:
    """The name of one of the texts in a message: "text 3", or "the text" if it is the only one."""
    return f"the {name}" if len(texts) == 1 else f"{name} {index + 1}"


def as_texts(texts: str | Iterable[str], name: str = "text") -> list[str]:
    """Check texts, and return them as a list; a str gives a list of one.

    name: what error messages call a text, such as `question`. Raises TokenizerError.
    """
    given = [texts] if isinstance(texts, str) else _listed(texts, name)
    for index, text in enumerate(given):
        _check_text(text, which(index, given, name))
    return given


def as_words(texts: Any, name: str = "text") -> list[list[str]]:
    """Check texts that are lists of words, and return them as a list; a list of str gives a list of one text.

    Raises TokenizerError.
    """
    given = _listed(texts, name) if not isinstance(texts, str) else [texts]
    if given and all(isinstance(word, str) for word in given) and not isinstance(texts, str):
        given = [given]
    for index, words in enumerate(given):
        if isinstance(words, str) or not isinstance(words, Iterable):
            raise TokenizerError(
                f"{which(index, given, name)} is of type {type(words).__name__}: with is_split_into_words, "
                "give a list of words, or several such lists"
            )
    return [as_texts(list(words), f"word of {which(index, given, name)}") for index, words in enumerate(given)]


def as_texts_or_pairs(texts: TextOrPair | Iterable[TextOrPair]) -> list[Text]:
    """Check texts and pairs, and return them as a list of str and tuples; a single one gives a list of one.

    Raises InputError, TokenizerError.
    """
    given = [texts] if isinstance(texts, ONE) else _listed(texts, "text")
    return [_as_text_or_pair(text, index, given) for index, text in enumerate(given)]


def _as_text_or_pair(text: Any, index: int, given: list[Any]) -> Text:
    if isinstance(text, Mapping):
        text = _from_dict(text, which(index, given))
    if isinstance(text, list):
        text = tuple(text)
    if isinstance(text, tuple):
        _check_pair(text, which(index, given, "pair"))
    else:
        _check_text(text, which(index, given))
    return text


def _from_dict(text: Mapping[Any, Any], name: str) -> Any:
    """The text or pair in a dict, as transformers' pipelines take it. Raises InputError."""
    if not {"text"} <= set(text) <= {"text", "text_pair"}:
        raise InputError(f"{name} has the keys {', '.join(map(repr, text))}: give 'text', and 'text_pair' for a pair")
    return text["text"] if text.get("text_pair") is None else (text["text"], text["text_pair"])


def _listed(texts: Any, name: str) -> list[Any]:
    if not isinstance(texts, Iterable) or isinstance(texts, bytes | Mapping):
        raise TokenizerError(f"the {name} is of type {type(texts).__name__}: give a str, or a list of str")
    return list(texts)


def _check_text(text: Any, name: str) -> None:
    if not isinstance(text, str):
        raise TokenizerError(f"{name} is of type {type(text).__name__}: give a str")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise TokenizerError(
            f"{name} contains half a surrogate pair, which is not a character: "
            "decode the text again from its bytes, with the right encoding"
        )


def _check_pair(pair: tuple[Any, ...], name: str) -> None:
    if len(pair) != 2:
        raise InputError(
            f"{name} must have two texts, not {len(pair)}: give two in a tuple, or several texts in a list"
        )
    for index, text in enumerate(pair):
        _check_text(text, which(index, pair, f"{name}: text"))


def as_given(texts: Any, results: list[Result], one: type | tuple[type, ...] = str) -> Result | list[Result]:
    """The first and only result if the caller gave a single text (that is, if `texts` is an instance of `one`).

    Otherwise all results.
    """
    return results[0] if isinstance(texts, one) else results
