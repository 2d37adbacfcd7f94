"""The order of the files of `minroberta.testing`: its docstring lists each, and each imports only those above it."""

import ast
import re
from pathlib import Path

import minroberta.testing

FOLDER = Path(minroberta.testing.__file__).parent
LISTED = re.findall(r"^(\w+) {2,}\S", minroberta.testing.__doc__ or "", re.MULTILINE)


def test_every_file_is_listed_once() -> None:
    files = [path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"]
    assert sorted(LISTED) == sorted(files)


def test_a_file_imports_from_those_above_it() -> None:
    """Imports for type checking, and within functions, count too."""
    for index, name in enumerate(LISTED):
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                imported = [node.module] if node.module else [alias.name for alias in node.names]
                assert set(imported) <= set(LISTED[:index]), name
