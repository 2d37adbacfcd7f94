"""From a name to a path on this machine: a directory, a file, or what huggingface_hub downloads.

That client handles the cache, the offline mode (`HF_HUB_OFFLINE`), endpoints and tokens. It is imported only for names
that are not paths, because the import takes longer than a load.
"""

import textwrap
from pathlib import Path

from ..config import HUB_NAMES
from ..errors import DownloadError, NotFoundError

SETTINGS = ("config.json", "metadata.json", "task.json")
WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
    ("tf_model.h5", "tf_model.h5.index.json", "tf_model-*-of-*.h5"),
    ("flax_model.msgpack", "flax_model.msgpack.index.json", "flax_model-*-of-*.msgpack"),
    ("model.weights.h5", "task.weights.h5"),
    ("model.pt",),
)
"""The files that may hold the weights, the best first: only the first that the repository has are fetched."""

TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
OTHER_TOKENIZERS = ("sentencepiece.bpe.model", "assets/tokenizer/*", "dict.txt", "encoder.json", "vocab.bpe")
"""The files that are fetched where a repository has neither of the first two."""

EMBEDDED = "minroberta/tiny"
"""The name of the model that comes with the package, in a directory of the package."""

SUFFIXES = (".safetensors", ".json", ".bin", ".pt", ".h5", ".msgpack")
"""Endings of a name that can only be a file's."""


def locate(
    name: str | Path,
    *,
    weights: bool = True,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The directory or weights file that a name means.

    name: a path, a hub name (`FacebookAI/roberta-base`, also with `hf://` before it), a well-known short name
    (`roberta-base`), or `minroberta/tiny`, which comes with the package. Except for the last, a path that exists comes
    first. weights: whether to fetch them too, and not only configuration and tokenizer.

    Raises NotFoundError where nothing has that name, DownloadError where the hub could not be reached or a download
    was not complete.
    """
    if not isinstance(name, str | Path) or not str(name):
        raise NotFoundError(f"a model's name must be a path or a hub name, not {name!r}")
    path, name = Path(name), str(name)
    if name.startswith("kaggle://"):
        raise NotFoundError(
            f"{name} cannot be loaded: Kaggle is not supported. KerasHub's presets are on Hugging Face's hub too: "
            "give a name such as hf://keras/roberta_base_en"
        )
    if name.startswith("hf://"):
        return _from_hub(name.removeprefix("hf://"), weights, revision, local_files_only, token)
    if name == EMBEDDED:
        return Path(__file__).parents[1] / "tiny"
    try:
        if path.exists():
            return path
    except OSError as error:  # a name that is too long, or a directory without permission
        raise NotFoundError(f"{name} cannot be opened: {error.strerror}") from error
    if (
        path.is_absolute()
        or name.startswith((".", "~"))
        or name.count("/") > 1
        or "\\" in name
        or path.suffix in SUFFIXES
    ):
        raise NotFoundError(f"there is no directory or file {name}: check the path")
    return _from_hub(HUB_NAMES.get(name, name), weights, revision, local_files_only, token)


def _from_hub(
    repository: str, weights: bool, revision: str | None, local_files_only: bool, token: str | bool | None
) -> Path:
    """The directory with a repository's settings, its tokenizer, and its weights in the best format that it has."""

    def fetch(*patterns: str) -> Path:
        return _fetch(repository, list(patterns), revision, local_files_only, token)

    directory = fetch(*SETTINGS, *TOKENIZER, *(WEIGHTS[0] if weights else ()))
    of_keras = (directory / "metadata.json").is_file()  # whose tokenizer.json holds Keras's settings
    if of_keras or not any((directory / file).is_file() for file in TOKENIZER[:2]):
        directory = fetch(*SETTINGS, *TOKENIZER, *OTHER_TOKENIZERS)
    for files in WEIGHTS[1:] if weights else ():
        if not _has_weights(directory):
            directory = fetch(*SETTINGS, *files)
    if weights and not _has_weights(directory):
        raise NotFoundError(
            f"no weights were found in the hub's {repository}: {directory} has none of "
            f"{', '.join(files[0] for files in WEIGHTS)}. "
            "Either the repository has none in a known format, or a download was cut off: load again online"
        )
    return directory


def _has_weights(directory: Path) -> bool:
    return any((directory / file).is_file() for files in WEIGHTS for file in files[:2])


def _fetch(
    repository: str, patterns: list[str], revision: str | None, local_files_only: bool, token: str | bool | None
) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        directory = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=patterns, local_files_only=local_files_only, token=token
        )
    except errors.HFValidationError as error:
        raise NotFoundError(f"{repository!r} is neither a path that exists nor a hub name: {_line(error)}") from error
    except errors.RevisionNotFoundError as error:
        raise NotFoundError(
            f"the hub's {repository} has no revision {revision!r}: give a branch, tag or commit"
        ) from error
    except errors.GatedRepoError as error:
        raise DownloadError(f"the hub's {repository} is gated: ask for access on its page, then give token=") from error
    except errors.LocalTokenNotFoundError as error:
        raise DownloadError(
            "token=True, but no token is stored on this machine: log in with `hf auth login`, or give the token itself"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        why = f" ({_line(error.__cause__)})" if error.__cause__ else ""
        short = "" if "/" in repository else f". Short names known here: {', '.join(HUB_NAMES)}"
        raise DownloadError(
            f"{repository} is not a path and not complete in the hub's cache on this machine, and the hub could not be "
            f"reached{why}: go online, or give the path of a directory{short}"
        ) from error
    except Exception as error:  # of whichever HTTP library this version of the client uses
        status = getattr(getattr(error, "response", None), "status_code", None)
        if "Invalid credentials" in str(error):
            raise DownloadError(
                f"the hub refuses the token for {repository}: give another, or token=False for a public model"
            ) from error
        if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
            raise NotFoundError(
                f"{repository} is not a path, and the hub has no model of that name that you may see: "
                "check the name; a private model needs token="
            ) from error
        raise DownloadError(
            f"{repository} could not be downloaded: {_line(error)}. Try again; complete files are kept"
        ) from error
    return Path(directory)


def _line(error: BaseException) -> str:
    """The first line of an error of the client; further lines are advice about the client."""
    line = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return textwrap.shorten(line, 250, placeholder=" …")
