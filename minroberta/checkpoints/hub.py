"""Finding a model by name: a path on this machine, or a hub name, which huggingface_hub downloads.

huggingface_hub handles the cache, the offline mode (`HF_HUB_OFFLINE`), endpoints and tokens. It is imported only for
names that are not paths, because the import takes longer than loading a model.
"""

import textwrap
from collections.abc import Callable
from pathlib import Path

from ..config import HUB_NAMES
from ..errors import DownloadError, NotFoundError
from . import modules
from .files import is_file, is_folder
from .read import only_variant, shards_of, variants_in
from .unsupported import advice_on_module, described

SETTINGS = (
    "config.json", "generation_config.json", "metadata.json", "task.json", "config_setfit.json",
    "adapter_config.json", modules.LIST, modules.SETTINGS,
)  # fmt: skip
WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
    ("tf_model.h5", "tf_model.h5.index.json", "tf_model-*-of-*.h5"),
    ("flax_model.msgpack", "flax_model.msgpack.index.json", "flax_model-*-of-*.msgpack"),
    ("model.weights.h5", "task.weights.h5"),
    ("model.pt",),
    ("adapter_model.safetensors",),
    ("adapter_model.bin",),
)
"""Files that may hold the weights, in order of preference: only the first group that exists is downloaded."""

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""A tokenizer in one file, and the settings of any tokenizer."""

OTHER_TOKENIZERS = (
    ("vocab.json", "merges.txt"),
    ("dict.txt", "encoder.json", "vocab.bpe"),
    ("sentencepiece.bpe.model",),
    ("spiece.model",),
    ("spm.model",),
    ("sentencepiece.model",),
    ("vocab.txt", "bpe.codes"),
    ("vocab.txt",),
)
"""Other files of a tokenizer, in the order in which they are tried if a repository has no `tokenizer.json`.

Only the first group that exists is used. A Keras preset has its own files instead.
"""

ASSETS = "assets/tokenizer/*"
"""The tokenizer of a Keras preset, whose `tokenizer.json` holds Keras's settings."""

EMBEDDED = "minroberta/tiny"
"""The name of the model that comes with the package."""

SUFFIXES = (".safetensors", ".json", ".bin", ".pt", ".h5", ".msgpack")
"""Endings of names that can only be file paths."""


def locate(
    name: str | Path,
    *,
    weights: bool = True,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Find the directory or weights file that a name refers to, and download it if necessary.

    name: a path, a hub name (`FacebookAI/roberta-base`, optionally prefixed with `hf://`), a short name
    (`roberta-base`), or `minroberta/tiny`, which comes with the package. An existing path takes precedence over a hub
    name or short name, but not over `minroberta/tiny`. weights: if False, download only the configuration and the
    tokenizer.

    Raises NotFoundError for an unknown name, and DownloadError if the hub could not be reached or a download failed.
    """
    if not isinstance(name, str | Path) or not str(name):
        raise NotFoundError(f"a model's name must be a path or a hub name, not {name!r}")
    path, name = Path(name), str(name)
    if name.startswith("kaggle://"):
        raise NotFoundError(
            f"{name} cannot be loaded: Kaggle is not supported. KerasHub's presets are also on Hugging Face's hub: "
            "give a name such as hf://keras/roberta_base_en"
        )
    if name.startswith(("https://", "http://")):
        example = "/".join(name.split("?")[0].split("/")[3:5]) or "FacebookAI/roberta-base"
        raise NotFoundError(f"{name[:200]} is a web address: give the name on the hub, such as {example!r}")
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


def exists(path: Path) -> bool:
    """True if there is a file or folder of this name, which may also be one that no system has."""
    return is_file(path) or is_folder(path)


def locate_adapter(name: str | Path, *, local_files_only: bool = False, token: str | bool | None = None) -> Path:
    """Find the directory or file of an adapter by its path or hub name, and download it if necessary.

    Of a repository that also holds a whole model, only the adapter is downloaded. Raises NotFoundError, DownloadError.
    """
    if not isinstance(name, str | Path) or not str(name):
        raise NotFoundError(f"an adapter's name must be a path or a hub name, not {name!r}")
    if exists(Path(name)):
        return Path(name)
    repository = str(name).removeprefix("hf://")
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise NotFoundError(f"there is no adapter {name}: give a directory, or a name on the hub")
    for (file,) in WEIGHTS[-2:]:
        patterns = ["adapter_config.json", *TOKENIZER, file]
        directory = _fetch(repository, patterns, None, local_files_only, token)
        if (directory / file).is_file():
            break
    return directory


def _from_hub(
    repository: str, weights: bool, revision: str | None, local_files_only: bool, token: str | bool | None
) -> Path:
    """Download a repository's settings, tokenizer, and weights in the preferred format. Returns the directory."""

    def fetch(*patterns: str) -> Path:
        return _fetch(repository, list(patterns), revision, local_files_only, token)

    preferred = WEIGHTS[0] if weights else ()
    repository_directory = fetch(*SETTINGS, *TOKENIZER, *preferred)
    listed = modules.read_list(repository_directory)
    folder = modules.model_folder(listed)

    def fetch_model(*patterns: str) -> Path:
        return fetch(*(f"{folder}/{pattern}" if folder else pattern for pattern in patterns)) / folder

    if folder:
        fetch_model(*SETTINGS[:1], *TOKENIZER, *preferred)
    if weights and listed:
        fetch_model(*modules.MODEL_SETTINGS)
        _fetch_modules(listed, fetch)
    directory = repository_directory / folder
    if is_file(directory / "metadata.json"):
        directory = fetch_model(ASSETS)
    elif not is_file(directory / TOKENIZER[0]):
        for files in OTHER_TOKENIZERS:
            directory = fetch_model(*files)
            if all(is_file(directory / file) for file in files):
                break
    for files in WEIGHTS[1:] if weights else ():
        if not _has_weights(directory):
            directory = fetch_model(*SETTINGS, *files)
    if weights and not _has_weights(directory):
        names = [] if local_files_only else _names(repository, revision, token)
        if variant := only_variant(names):
            return fetch(*SETTINGS, variant, shards_of(variant))
        raise NotFoundError(
            f"no weights were found for {repository}: {directory} has none of "
            f"{', '.join(files[0] for files in WEIGHTS)}. {_why_none(names, listed)}"
        )
    return repository_directory


def _fetch_modules(listed: list[modules.Module], fetch: Callable[..., Path]) -> None:
    """Download the settings and weights of a sentence-transformers repository's other modules."""
    settings = [f"{module.path}/config.json" for module in listed if module.kind in modules.WITH_CONFIG]
    weighty = [module.path for module in listed if module.kind in modules.WITH_WEIGHTS]
    first, second = modules.WEIGHTS
    directory = fetch(*settings, *(f"{path}/{first}" for path in weighty)) if settings else None
    if directory and (lacking := [path for path in weighty if not is_file(directory / path / first)]):
        fetch(*(f"{path}/{second}" for path in lacking))


def _has_weights(directory: Path) -> bool:
    if any(is_file(directory / file) for files in WEIGHTS for file in files[:2]):
        return True
    return is_folder(directory) and only_variant(path.name for path in directory.iterdir()) is not None


def _names(repository: str, revision: str | None, token: str | bool | None) -> list[str]:
    """The names of a repository's files; none if the hub cannot be reached."""
    import huggingface_hub

    try:
        return sorted(huggingface_hub.list_repo_files(repository, revision=revision, token=token))
    except Exception:  # its class depends on the HTTP library; the names only serve to explain another error
        return []


def _why_none(names: list[str], listed: list[modules.Module]) -> str:
    if listed and (advice := advice_on_module(listed[0].kind)):
        return f"Its module {listed[0].kind} is not supported: {advice}"
    variants = variants_in(names)
    if variants:
        return f"It has the variants {', '.join(variants)}: download one of them, and give its path"
    return described(names) or (
        "Either the repository has no weights in a supported format, or a download was interrupted: load it again "
        "while online"
    )


def _fetch(
    repository: str, patterns: list[str], revision: str | None, local_files_only: bool, token: str | bool | None
) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:  # as in a browser
        raise NotFoundError(
            f"{repository} is not an existing path, and downloads need huggingface_hub, which is not installed: give "
            "the path of a directory"
        ) from None

    # `from None` leaves out the client's own tracebacks, which are long, wherever the message says everything.
    try:
        directory = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=patterns, local_files_only=local_files_only, token=token
        )
    except errors.HFValidationError as error:
        raise NotFoundError(
            f"{repository!r} is neither an existing path nor a valid hub name: {_line(error)}"
        ) from None
    except errors.RevisionNotFoundError:
        raise NotFoundError(
            f"{repository} has no revision {revision!r} on the hub: give a branch, tag or commit"
        ) from None
    except errors.GatedRepoError:
        raise DownloadError(
            f"{repository} is a gated model: request access on its page on the hub, then give token="
        ) from None
    except errors.LocalTokenNotFoundError:
        raise DownloadError(
            "token=True, but no token is stored on this machine: log in with `hf auth login`, or give the token itself"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        why = f" ({_line(error.__cause__)})" if error.__cause__ else ""
        short = "" if "/" in repository else f". The short names are {', '.join(HUB_NAMES)}"
        raise DownloadError(
            f"{repository} is not an existing path, its files are not all in the hub's cache on this machine, and the "
            f"hub could not be reached{why}: go online, or give the path of a directory{short}"
        ) from None
    except Exception as error:  # its class depends on the HTTP library that the client uses
        status = getattr(getattr(error, "response", None), "status_code", None)
        if "Invalid credentials" in str(error):
            raise DownloadError(
                f"the hub rejected the token for {repository}: give a valid token, or token=False for a public model"
            ) from None
        if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
            raise NotFoundError(
                f"{repository} is not an existing path, and the hub has no model of that name that you may access: "
                "check the name, or give token= for a private model"
            ) from None
        raise DownloadError(
            f"{repository} could not be downloaded: {_line(error)}. Try again: files that are complete are kept"
        ) from error
    return Path(directory)


def _line(error: BaseException) -> str:
    """The first line of an error message of huggingface_hub. The other lines are advice about using that library."""
    line = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return textwrap.shorten(line, 250, placeholder=" …")
