"""Errors that a user can cause, one class for each kind, and the check of an integer.

Each class also derives from the built-in exception that a Python user would catch, and each message says what was
given, what is allowed, and what to do.
"""

import operator
import reprlib
from typing import Any


class Error(Exception):
    """The base of every error that minroberta raises on purpose."""


class ConfigError(Error, ValueError):
    """A configuration that does not describe a RoBERTa."""


class InputError(Error, ValueError):
    """An input of the model that it cannot take: a wrong shape, dtype, id or label."""


class WeightsError(Error, ValueError):
    """A weights file that is damaged, or does not hold what the configuration promises."""


class NotFoundError(Error, FileNotFoundError):
    """A directory, file or hub name that does not exist."""


class DownloadError(Error, OSError):
    """The hub has the model, or may have it, but the download failed."""


class SaveError(Error, OSError):
    """A directory that a model cannot be written to."""


class BackendError(Error, TypeError):
    """An array library or dtype that cannot do what was asked."""


class TokenizerError(Error, ValueError):
    """A tokenizer that is missing or damaged, or text that it cannot take."""


class NameUnknownError(Error, KeyError):
    """A name that no value, weight or head has."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes, as if it were the key


def check_integer(name: str, value: Any, least: int, most: int | None = None, error: type[Error] = InputError) -> int:
    """The integer, Python's or NumPy's, as an int. Raises `error` for anything else, a bool included, and out of range.

    name: what the message calls it, such as `seed`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise error(f"{name} must be an integer {span}, not {reprlib.repr(value)}")
    return number
