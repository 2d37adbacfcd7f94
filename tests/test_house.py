"""The house: README's table lists every file, each imports only from those above it, and the model's files stay small.

The table stands under "Read it", a row a line: `| names | what lives there |`. The first cell names files of the
package in reading order, or a folder, with a slash at its end. Both cells of a folder's row name its files:
"| `backend/` | `arrays.py`: ...; `threads.py`: ... |". A file like `__init__.py` need not be listed: it counts as
standing right after the last one that it imports. Imports within functions and for type checking count as well.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import minroberta

PACKAGE = Path(minroberta.__file__).parent
README = PACKAGE.parent / "README.md"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
UNLISTED = {path for path in FILES if Path(path).name.startswith("__")}
"""Files that the table need not list: `__init__.py` and `__main__.py`."""


# --- what imports what ----------------------------------------------------------------------------------------------


def file_of(module: tuple[str, ...]) -> str | None:
    """The file of a module below the package, given by the parts of its name; None where there is none."""
    name = "/".join(module)
    found = [path for path in (f"{name}.py", f"{name}/__init__.py".lstrip("/")) if path in FILES]
    return found[0] if found else None


def imported(path: str, source: str) -> Iterator[str]:
    """The files of the package that this one imports, wherever in it the import stands."""
    folder = tuple(path.split("/")[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, *module = alias.name.split(".")
                if top == "minroberta":
                    yield file_of(tuple(module)) or "__init__.py"
        elif isinstance(node, ast.ImportFrom):
            module = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                module = folder[: len(folder) - node.level + 1] + module
            elif module[0] == "minroberta":
                module = module[1:]
            else:
                continue
            for alias in node.names:
                found = file_of((*module, alias.name)) or file_of(module)
                assert found is not None, f"{path} imports {alias.name} of {'.'.join(module)}, which is no file"
                yield found


@cache
def imports() -> dict[str, set[str]]:
    return {path: set(imported(path, (PACKAGE / path).read_text(encoding="utf-8"))) - {path} for path in FILES}


def test_no_circle() -> None:
    try:
        list(TopologicalSorter(imports()).static_order())
    except CycleError as error:
        pytest.fail(f"these import each other in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from . import hub", {"checkpoints/hub.py"}),
        ("from ..ops import gelu", {"ops.py"}),
        ("from .. import ops, heads", {"ops.py", "heads.py"}),
        ("from .. import __version__", {"__init__.py"}),
        ("from .formats import keras", {"checkpoints/formats/keras.py"}),
        ("def f():\n    from ..model import forward", {"model.py"}),
        ("if TYPE_CHECKING:\n    from ..model import Network", {"model.py"}),
        ("import minroberta.ops\nfrom minroberta.backend import threads", {"ops.py", "backend/threads.py"}),
        ("import numpy\nfrom os import path", set()),
    ],
)
def test_every_kind_of_import_is_seen(source: str, found: set[str]) -> None:
    """The tests of this file can fail: no kind of import escapes them."""
    assert set(imported("checkpoints/read.py", source)) == found


# --- README's table -------------------------------------------------------------------------------------------------


def rows(page: str) -> Iterator[list[str]]:
    """The files of each row of the table under "Read it"."""
    section = re.search(r"^## Read it$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, "README has no section called Read it"
    for first, second in re.findall(r"^\| (`.+?) \| (.+) \|$", section[1], re.MULTILINE):
        folder, files = "", []
        in_folder = re.search(r"`[\w/]+/`", first)
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", f"{first} {second}" if in_folder else first):
            if name.endswith("/"):
                folder = name
            else:
                files.append(folder + name)
        yield files


@cache
def listed() -> list[str]:
    return [file for row in rows(README.read_text(encoding="utf-8")) for file in row]


def order() -> list[str]:
    """The files in the order of the table; those that need not be listed stand after what they import."""
    result = list(listed())
    for path in sorted(UNLISTED - set(result), key=lambda path: (path.count("/"), path), reverse=True):
        above = [result.index(other) for other in imports()[path] if other in result]
        result.insert(max(above, default=-1) + 1, path)
    return result


def test_the_table_is_read() -> None:
    page = (
        "## Read it\n\n| file | what |\n|---|---|\n| `a.py`, `b.py` | as in `c.py` |\n"
        "| `d/` | `e.py`: one; `f.py`: other |\n| `d/g/`, `h.py` | all |\n\n## Next\n\n| `i.py` | |\n"
    )
    assert list(rows(page)) == [["a.py", "b.py"], ["d/e.py", "d/f.py"], ["d/g/h.py"]]


def test_the_table_lists_every_file_once() -> None:
    assert len(listed()) == len(set(listed()))
    assert set(FILES) - set(listed()) - UNLISTED == set(), "these are not in the table"
    assert set(listed()) - set(FILES) == set(), "these are not in the package"


@pytest.mark.parametrize("path", FILES)
def test_a_file_imports_only_from_those_above_it(path: str) -> None:
    places = order()
    assert path in places, "it is not in the table"
    below = [other for other in imports()[path] if other in places and places.index(other) > places.index(path)]
    assert not below, f"{path} imports from files that stand below it: {', '.join(below)}"


# --- the model's files ----------------------------------------------------------------------------------------------


def lines(name: str) -> int:
    return len((PACKAGE / name).read_text(encoding="utf-8").splitlines())


def test_the_model_is_read_in_an_afternoon() -> None:
    """Lines count with docstrings and blank lines."""
    assert sum(map(lines, ("ops.py", "attend.py", "layers.py", "heads.py"))) <= 700
    assert lines("layers.py") <= 220
