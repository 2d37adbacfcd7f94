"""Files of a checkpoint: JSON of limited size, paths that stay inside their directory, and atomic writing."""

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import Error, NotFoundError

# --- reading --------------------------------------------------------------------------------------------------------

LARGEST_JSON = 2_000_000
"""Largest size of a configuration or an index in bytes. Parsed JSON may take fifty times as much memory."""


def read_json(path: Path, error: type[Error], largest: int = LARGEST_JSON, root: Path | None = None) -> dict[str, Any]:
    """Read a JSON object from a file. Raises NotFoundError if the file is missing, and `error` if it is invalid.

    root: as for `read_inside`.
    """
    value = read_any_json(path, error, largest, root)
    if not isinstance(value, dict):
        raise error(f"{path} must hold a JSON object, not a {type(value).__name__}")
    return value


def read_any_json(path: Path, error: type[Error], largest: int = LARGEST_JSON, root: Path | None = None) -> Any:
    """Read a JSON value of any type from a file. Raises the errors of `read_json`."""
    try:
        content = read_inside(path, error, largest, root)
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


def is_file(path: Path) -> bool:
    """True if there is such a file. A name in a checkpoint may be one that no system has, such as one too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """True if there is such a folder; the name may be one that no system has."""
    try:
        return path.is_dir()
    except OSError:
        return False


def inside(directory: Path, name: str, error: type[Error]) -> Path:
    """The path of a file in a directory.

    name: the path of the file from the directory. Raises NotFoundError for a missing file, and `error` for a link that
    points outside the directory. Links in the hub's cache are allowed: each file in its `snapshots/REVISION` is a link
    to the repository's `blobs`.
    """
    _target(directory, name, error)
    return directory / name


def _target(directory: Path, name: str, error: type[Error]) -> tuple[Path, str]:
    """Target of the path of `inside`: a directory and the path of a file from there, both without links.

    The directory is the given one, or the hub's `blobs`. Raises the errors of `inside`.
    """
    path, root = directory / name, _resolved(directory, error)
    target = _resolved(path, error)
    blobs = [parent.parent / "blobs" for parent in root.parents if parent.name == "snapshots"]
    place = next((place for place in (root, *blobs) if target.is_relative_to(place)), None)
    if place is None:
        raise error(f"{path} is a link that points outside its directory: replace the link with a copy of the file")
    if not is_file(target):
        raise NotFoundError(f"{directory} has no file {name}")
    return place, str(target.relative_to(place))


def _resolved(path: Path, error: type[Error]) -> Path:
    """A path without links. Raises `error`, such as for a link that is exchanged in this moment."""
    try:
        return Path(os.path.realpath(path))
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}") from cause


def read_inside(path: Path, error: type[Error], largest: int, root: Path | None = None) -> bytes:
    """The content of a file. Raises the errors of `open_inside`, and `error` if it has more than `largest` bytes.

    root: the directory that the file must be in, if it is in a folder whose name is not the user's: between two files,
    a folder may be exchanged with a link too. By default, the one that the file is in.
    """
    root = root or path.parent
    with open_inside(root, str(path.relative_to(root)), error) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise error(f"{path} has more than {largest} bytes, which is the limit")
    return content


def open_inside(directory: Path, name: str, error: type[Error]) -> BinaryIO:
    """Open a file in a directory, and raise the errors of `inside` for it, or `error` if it cannot be opened.

    A link may be exchanged between the check and the opening, also one to a folder. So the path is opened step by step,
    without links, and what is open must be a file.
    """
    place, target = _target(directory, name, error)
    try:
        descriptor = _descriptor(place, target)
    except OSError as cause:
        raise error(f"{directory / name} cannot be read: {cause.strerror}") from cause
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{directory / name} was replaced while it was read: load it again")
    return os.fdopen(descriptor, "rb")


FOLDER = sum(getattr(os, flag, 0) for flag in ("O_DIRECTORY", "O_NOFOLLOW", "O_PATH"))
FILE = sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK"))
"""Flags for opening a folder and a file, as far as the system has them: to follow no link, and to wait for no pipe."""


def _descriptor(place: Path, target: str) -> int:
    """Open a file in a directory by a path without links. Raises OSError if there is a link in it now."""
    if os.open not in os.supports_dir_fd:  # Windows, which opens a file by its whole path alone
        return os.open(place / target, os.O_RDONLY | FILE)
    *folders, name = Path(target).parts
    descriptor = os.open(place, os.O_RDONLY | FOLDER)
    for step, flags in (*((folder, FOLDER) for folder in folders), (name, FILE)):
        above = descriptor
        try:
            descriptor = os.open(step, os.O_RDONLY | flags, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


def check_is_inside(descriptor: int, directory: Path, name: str, error: type[Error]) -> None:
    """Raise `error` unless an open file is the one of this name in the directory, and `open_inside` opens it too."""
    with open_inside(directory, name, error) as file:
        if not os.path.samestat(os.fstat(descriptor), os.fstat(file.fileno())):
            raise error(f"{directory / name} was replaced while it was read: load it again")


def start_inside(directory: Path, name: str) -> bytes:
    """The first 64 bytes of a file in a directory; none if there is no such file that may be opened."""
    try:
        with open_inside(directory, name, Error) as file:
            return file.read(64)
    except (Error, OSError):
        return b""


def folder_inside(directory: Path, name: str, error: type[Error]) -> Path:
    """The path of a folder in a directory. Raises NotFoundError, and `error` for a link that points outside."""
    path = directory / name
    if not _resolved(path, error).is_relative_to(_resolved(directory, error)):
        raise error(f"{path} is a link that points outside its directory: replace the link with a copy of the folder")
    if not is_folder(path):
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
