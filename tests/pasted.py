"""The examples of README, run as somebody pastes them into `python`: line by line, in one session.

A value that Python shows stands on the page after its statement, as a comment that begins with "# ->". Strings,
whole numbers, keys and shapes have to be equal, and fractions within 0.05: a score depends a little on the machine, and
moves when the embedded model is trained again. If an answer has changed,

    PYTHONPATH=. python tests/pasted.py README.md

writes the comments anew.
"""

import ast
import code
import pprint
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^# -> .*\n(?:#    .*\n)*", re.MULTILINE)
NEAR = 0.05


class Session(code.InteractiveConsole):
    """A Python prompt that keeps what it shows, and raises what goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Any] = []

    def push(self, line: str, *args: Any, **keywords: Any) -> bool:
        sys.displayhook, before = self._show, sys.displayhook
        try:
            return super().push(line, *args, **keywords)
        finally:
            sys.displayhook = before

    def _show(self, value: Any) -> None:
        if value is not None:
            self.shown.append(value)

    def showtraceback(self) -> None:
        raise

    def showsyntaxerror(self, *args: Any, **keywords: Any) -> None:
        raise


def examples(page: str) -> Iterator[tuple[str, Any]]:
    """Pairs of what the page shows and what Python shows, in order."""
    session = Session()
    for block in BLOCK.findall(page):
        for statements, comment in parts(block):
            for line in statements.splitlines():
                waiting = session.push(line)
            assert not waiting, f"python waits for more, or for an empty line, after:\n{statements}"
            assert len(session.shown) == bool(comment), f"one value, one comment; here {session.shown}:\n{statements}"
            if comment:
                yield said(comment), session.shown.pop()


def parts(block: str) -> Iterator[tuple[str, str]]:
    """Pairs of statements and the comment that shows their value; the comment of the last is empty."""
    start = 0
    for comment in SHOWN.finditer(block):
        yield block[start : comment.start()], comment[0]
        start = comment.end()
    yield block[start:] + "\n", ""


def said(comment: str) -> str:
    return "\n".join(line[5:] for line in comment.splitlines())


def alike(text: str, value: Any) -> bool:
    """True if the text shows the value: literals to the tolerance above, all else to the letter."""
    try:
        return near(ast.literal_eval(text), value)
    except (SyntaxError, ValueError):
        return text == repr(value)


def near(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return abs(one - other) <= NEAR
    if isinstance(one, dict):
        return list(one) == list(other) and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(near, one, other))
    return bool(one == other)


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(rounded, value))
    return round(value, 2) if isinstance(value, float) else value


def written(value: Any) -> str:
    """The comment for a value."""
    plain = type(value) in (dict, list, tuple)
    text = pprint.pformat(rounded(value), width=112, compact=True, sort_dicts=False) if plain else repr(value)
    return "# -> " + text.replace("\n", "\n#    ") + "\n"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    text = file.read_text(encoding="utf-8")
    comments = [written(value) for _, value in examples(text)]
    file.write_text(SHOWN.sub(lambda _: comments.pop(0), text), encoding="utf-8")
