"""RoBERTa from scratch in NumPy, CuPy and JAX: every intermediate value has a name and equals the reference's."""

from .backward import Gradients, gradients
from .cache import Cache
from .config import Config
from .errors import (
    BackendError,
    ConfigError,
    DownloadError,
    Error,
    InputError,
    NameUnknownError,
    NotFoundError,
    SaveError,
    TokenizerError,
    WeightsError,
)
from .loading import Model, init, load
from .model import ModelOutput, forward, to_numpy
from .text.encode import similarity
from .trace import Trace, trace

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Cache",
    "Config",
    "ConfigError",
    "DownloadError",
    "Error",
    "Gradients",
    "InputError",
    "Model",
    "ModelOutput",
    "NameUnknownError",
    "NotFoundError",
    "SaveError",
    "TokenizerError",
    "Trace",
    "WeightsError",
    "forward",
    "gradients",
    "init",
    "load",
    "similarity",
    "to_numpy",
    "trace",
]
