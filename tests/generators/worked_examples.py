"""The examples of the docs, some of which need a library that the tests do not.

Such a block is fenced as "python torch", and leaves recorded values in `values`. `make_ports.py` stores them, so that
later blocks can be run anywhere. A block fenced as "text report" shows the value of `report` at that point:

    PYTHONPATH=.. python -m generators.worked_examples ../docs/testing.md

writes these reports again.
"""

import doctest
import importlib.util
import re
import sys
from pathlib import Path

from generators import GOLDEN

VALUES = GOLDEN / "ports" / "docs"
NEEDS = re.compile(r"^```python (\w+)\n.*?^```$", re.MULTILINE | re.DOTALL)
SHOWS = re.compile(r"^```text (\w+)\n.*?^```$", re.MULTILINE | re.DOTALL)


def runnable(page: str) -> str:
    """The page with stored values in place of blocks whose library is not installed; lines keep their numbers."""

    def instead(block: re.Match) -> str:
        if importlib.util.find_spec(block[1]):
            return block[0]
        path = VALUES / f"{block[1]}.safetensors"
        return f">>> from minroberta.testing import read; values = read({str(path)!r})" + "\n" * block[0].count("\n")

    return NEEDS.sub(instead, page)


def shown(page: str) -> str:
    """The page with the current reports of its examples."""
    texts: list[str] = []
    probes = SHOWS.sub(r">>> texts.append(str(\1))\n", runnable(page))
    example = doctest.DocTestParser().get_doctest(probes, {"texts": texts}, "page", None, 0)
    assert not doctest.DocTestRunner().run(example).failed
    return SHOWS.sub(lambda block: f"```text {block[1]}\n{texts.pop(0)}\n```", page)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(shown(file.read_text(encoding="utf-8")), encoding="utf-8")
