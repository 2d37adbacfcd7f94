"""The exceptions that minroberta raises, one class per kind of error, and a check for integers.

Each class also derives from the built-in exception that a Python user would catch, and each message says what was
given, what is allowed, and what to do.
"""

import operator
import reprlib
from typing import Any

LONGEST_MESSAGE = 5000
"""Maximum number of characters in a message: a file's names and texts, which messages quote, may have megabytes."""


class Error(Exception):
    """Base class of all errors that minroberta raises on purpose. The middle of a long message is left out."""

    def __init__(self, message: str = "") -> None:
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[: LONGEST_MESSAGE - 1000]} … {message[-900:]}"
        super().__init__(message)


class ConfigError(Error, ValueError):
    """A configuration that does not describe a RoBERTa model."""


class InputError(Error, ValueError):
    """An invalid input or argument, such as a wrong shape, dtype, token id or label."""


class WeightsError(Error, ValueError):
    """A weights file that is damaged, unsupported, or does not match the configuration."""


class NotFoundError(Error, FileNotFoundError):
    """A directory, file or hub name that does not exist."""


class DownloadError(Error, OSError):
    """A model that could not be downloaded, although the hub may have it."""


class SaveError(Error, OSError):
    """A model that cannot be saved to the given directory or in the given format."""


class BackendError(Error, TypeError):
    """An array library or dtype that does not support the operation."""


class TokenizerError(Error, ValueError):
    """A missing or damaged tokenizer, or text that a tokenizer cannot encode."""


class NameUnknownError(Error, KeyError):
    """An unknown name of a value, weight or head."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes, as if it were the key


def check_flag(name: str, value: Any) -> None:
    """Raise InputError for a value other than True and False, such as the str "no", which would count as true."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, not {reprlib.repr(value)}")


def check_integer(name: str, value: Any, least: int, most: int | None = None, error: type[Error] = InputError) -> int:
    """Return a Python or NumPy integer as an int.

    name: the value's name in error messages, such as `seed`. Raises `error` if the value is out of range or not an
    integer; a bool does not count as an integer.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise error(f"{name} must be an integer {span}, not {reprlib.repr(value)}")
    return number
