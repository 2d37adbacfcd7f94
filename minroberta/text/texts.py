"""Checks of a caller's texts: a single text, several texts, or pairs of texts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import InputError, TokenizerError

Result = TypeVar("Result")

Text = str | tuple[str, str]
"""One input: a text, or a pair of texts."""


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


def as_texts_or_pairs(texts: Text | Iterable[Text]) -> list[Text]:
    """Check texts and pairs, and return them as a list; a str or a tuple gives a list of one.

    Raises InputError, TokenizerError.
    """
    given = [texts] if isinstance(texts, str | tuple) else _listed(texts, "text")
    for index, text in enumerate(given):
        if isinstance(text, tuple):
            _check_pair(text, which(index, given, "pair"))
        else:
            _check_text(text, which(index, given))
    return given


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
        raise InputError(f"{name} has {len(pair)} elements: give two texts in a tuple, or several texts in a list")
    for index, text in enumerate(pair):
        _check_text(text, which(index, pair, f"{name}: text"))


def as_given(texts: Any, results: list[Result], one: type | tuple[type, ...] = str) -> Result | list[Result]:
    """The first and only result if the caller gave a single text (that is, if `texts` is an instance of `one`).

    Otherwise all results.
    """
    return results[0] if isinstance(texts, one) else results
