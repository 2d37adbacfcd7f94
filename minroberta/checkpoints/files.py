"""Files of a checkpoint directory: JSON of a bounded size, and paths that stay inside."""

import json
import os
from pathlib import Path
from typing import Any

from ..errors import Error, NotFoundError

LARGEST_JSON = 2_000_000
"""Bytes of a configuration or an index, of which Python makes fifty times as many."""


def read_json(path: Path, error: type[Error], largest: int = LARGEST_JSON) -> dict[str, Any]:
    """The JSON object in a file. Raises NotFoundError where there is no file, and `error` where it holds none."""
    try:
        inside(path.parent, path.name, error)
    except NotFoundError as cause:
        raise NotFoundError(f"there is no {path.name} in {path.parent.resolve()}") from cause
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
        value = json.loads(content.decode()) if len(content) <= largest else None
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} is not JSON: {cause}") from cause
    if len(content) > largest:
        raise error(f"{path} has more than {largest} bytes, which is more than is read")
    if not isinstance(value, dict):
        raise error(f"{path} holds a JSON {type(value).__name__}; an object is wanted")
    return value


def inside(directory: Path, name: str, error: type[Error]) -> Path:
    """A file of a directory. Raises `error` where it is a link that leads out of it, NotFoundError where it is none.

    In the hub's cache all files are links, from `snapshots/REVISION` to the repository's `blobs`.
    """
    path, root = directory / name, Path(os.path.realpath(directory))
    target = Path(os.path.realpath(path))
    blobs = [place.parent / "blobs" for place in root.parents if place.name == "snapshots"]
    if not target.is_relative_to(root) and target.parent not in blobs:
        raise error(f"{path} is a link that leads out of its directory: put a copy of the file in its place")
    if not path.is_file():
        raise NotFoundError(f"{directory} has no file {name}")
    return path
