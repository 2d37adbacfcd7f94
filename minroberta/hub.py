"""From a name to a place on the disk: a directory, a file, or what huggingface_hub fetches.

The cache, the offline mode (`HF_HUB_OFFLINE`), endpoints and tokens are that client's own. It is imported only when a
name is no path, because the import takes longer than a load.
"""

from pathlib import Path

from .config import PRESETS
from .errors import DownloadError, NotFoundError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


def locate(
    name: str | Path,
    *,
    weights: bool = True,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The directory or weights file that a name means.

    name: a path, a hub name (`FacebookAI/roberta-base`), or a short name that people know (`roberta-base`). A path
    that exists comes first. weights: whether they are fetched too, beside configuration and tokenizer.

    Raises NotFoundError where nothing has that name, DownloadError where the hub could not be asked or what it sent
    did not arrive whole.
    """
    path = Path(name)
    if path.exists():
        return path
    name = str(name)
    if (
        path.is_absolute()
        or name.startswith((".", "~"))
        or name.count("/") > 1
        or "\\" in name
        or path.suffix in SUFFIXES
    ):
        raise NotFoundError(f"there is no directory or file {name}")
    repository = PRESETS[name][0] if name in PRESETS else name
    return _fetch(
        repository, [*(WEIGHTS if weights else ()), "config.json", *TOKENIZER], revision, local_files_only, token
    )


SUFFIXES = (".safetensors", ".json", ".bin", ".pt", ".h5", ".msgpack")


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
        raise NotFoundError(f"{repository!r} is neither a path that exists nor a hub name: {error}") from error
    except errors.RevisionNotFoundError as error:
        raise NotFoundError(f"the hub's {repository} has no revision {revision!r}") from error
    except errors.GatedRepoError as error:
        raise DownloadError(f"the hub's {repository} is gated: ask for access on its page, then give token=") from error
    except errors.RepositoryNotFoundError as error:
        raise NotFoundError(
            f"there is no path {repository}, and the hub has no model of that name that you may see: "
            "check the name; a private one needs token="
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise DownloadError(
            f"{repository} is neither a path nor in the hub's cache on this machine, and the hub could not be asked: "
            "go online, or give the path of a directory"
        ) from error
    except Exception as error:  # the client's own errors are those of whichever HTTP library its version uses
        raise DownloadError(
            f"{repository} did not arrive from the hub: {error}. Try again; it goes on where it stopped"
        ) from error
    return Path(directory)
