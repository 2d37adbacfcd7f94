"""What goes wrong for a user, one class a kind.

Each class also derives from the built-in exception that a Python user would catch, and each message says what was
given, what is allowed, and what to do.
"""


class Error(Exception):
    """The base of every error that minroberta raises on purpose."""


class ConfigError(Error, ValueError):
    """A configuration that describes no RoBERTa."""


class InputError(Error, ValueError):
    """An input of the model that it cannot take: a wrong shape, dtype, id or label."""


class WeightsError(Error, ValueError):
    """A weights file that is damaged, or does not hold what the configuration promises."""


class NotFoundError(Error, FileNotFoundError):
    """No such directory, file or hub name."""


class DownloadError(Error, OSError):
    """The hub has the model, or may have it, but it did not arrive."""


class SaveError(Error, OSError):
    """A directory that a model cannot be written to."""


class BackendError(Error, TypeError):
    """An array library or dtype that cannot do what was asked."""


class TokenizerError(Error, ValueError):
    """A tokenizer that is missing or damaged, or text that it cannot take."""


class NameUnknownError(Error, KeyError):
    """A name that no value, weight or head has."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes, as if it were the key
