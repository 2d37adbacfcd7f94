"""RoBERTa in NumPy, CuPy and JAX: from scratch, named throughout, equal to the reference at every intermediate."""

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
    WorkerError,
)
from .layers import Cache
from .model import Model, ModelOutput, forward, init, load
from .trace import Trace, trace

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Cache",
    "Config",
    "ConfigError",
    "DownloadError",
    "Error",
    "InputError",
    "Model",
    "ModelOutput",
    "NameUnknownError",
    "NotFoundError",
    "SaveError",
    "TokenizerError",
    "Trace",
    "WeightsError",
    "WorkerError",
    "forward",
    "init",
    "load",
    "trace",
]
