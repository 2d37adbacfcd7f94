"""Files of a checkpoint: JSON of limited size, paths that stay inside their directory, and atomic writing."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import Error, NotFoundError

# --- reading --------------------------------------------------------------------------------------------------------

LARGEST_JSON = 2_000_000
"""Largest size of a configuration or an index in bytes. Parsed JSON may take fifty times as much memory."""


def read_json(path: Path, error: type[Error], largest: int = LARGEST_JSON) -> dict[str, Any]:
    """Read a JSON object from a file. Raises NotFoundError if the file is missing, and `error` if it is invalid."""
    value = read_any_json(path, error, largest)
    if not isinstance(value, dict):
        raise error(f"{path} must hold a JSON object, not a {type(value).__name__}")
    return value


def read_any_json(path: Path, error: type[Error], largest: int = LARGEST_JSON) -> Any:
    """Read a JSON value of any type from a file. Raises the errors of `read_json`."""
    try:
        content = read_inside(path, error, largest)
    except NotFoundError as cause:
        raise NotFoundError(f"there is no {path.name} in {path.parent.resolve()}") from cause
    try:
        return _parsed(content)
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} is not JSON: {cause}") from cause


def _parsed(content: bytes) -> Any:
    value = json.loads(content.decode())
    try:
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as cause:  # JSON can spell it, but no file and no library takes it
        raise ValueError("it holds half of a surrogate pair, which is not text") from cause
    return value


def directory_of(path: Path) -> Path:
    """The directory of a checkpoint that is named by its directory, or by a file in it."""
    return path.parent if path.is_file() else path


def inside(directory: Path, name: str, error: type[Error]) -> Path:
    """The path of a file in a directory.

    Raises NotFoundError for a missing file, and `error` for a link that points outside the directory. Links in the
    hub's cache are allowed: each file in its `snapshots/REVISION` is a link to the repository's `blobs`.
    """
    _target(directory, name, error)
    return directory / name


def _target(directory: Path, name: str, error: type[Error]) -> Path:
    """The file that the path of `inside` leads to, without links. Raises the errors of `inside`."""
    path, root = directory / name, Path(os.path.realpath(directory))
    target = Path(os.path.realpath(path))
    blobs = [parent.parent / "blobs" for parent in root.parents if parent.name == "snapshots"]
    if not target.is_relative_to(root) and target.parent not in blobs:
        raise error(f"{path} is a link that points outside its directory: replace the link with a copy of the file")
    if not target.is_file():
        raise NotFoundError(f"{directory} has no file {name}")
    return target


def read_inside(path: Path, error: type[Error], largest: int) -> bytes:
    """The content of a file. Raises the errors of `open_inside`, and `error` if it has more than `largest` bytes."""
    with open_inside(path.parent, path.name, error) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise error(f"{path} has more than {largest} bytes, which is the limit")
    return content


def open_inside(directory: Path, name: str, error: type[Error]) -> BinaryIO:
    """Open a file in a directory, and raise the errors of `inside` for it, or `error` if it cannot be opened.

    A link may be exchanged between the check and the opening. So the path is checked again when the file is open, and
    must still lead to this file.
    """
    path = inside(directory, name, error)
    try:
        file = path.open("rb")
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}") from cause
    try:
        check_is_inside(file.fileno(), directory, name, error)
    except BaseException:
        file.close()
        raise
    return file


def check_is_inside(descriptor: int, directory: Path, name: str, error: type[Error]) -> None:
    """Raise `error` unless an open file is the one of this name in the directory, and `inside` accepts it."""
    if not os.path.samestat(os.fstat(descriptor), _target(directory, name, error).lstat()):
        raise error(f"{directory / name} was replaced while it was read: load it again")


def folder_inside(directory: Path, name: str, error: type[Error]) -> Path:
    """The path of a folder in a directory. Raises NotFoundError, and `error` for a link that points outside."""
    path = directory / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory)):
        raise error(f"{path} is a link that points outside its directory: replace the link with a copy of the folder")
    if not path.is_dir():
        raise NotFoundError(f"{directory} has no folder {name}")
    return path


# --- writing --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`. Afterwards, rename the temporary file to `path`, or remove it on error.

    No reader ever sees a partially written file, and the arrays to be written may be mapped from the old file.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write a JSON file atomically. Raises OSError."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")
