"""The kinds of errors: each is also a built-in one, is raised somewhere, and shows its message unchanged."""

import ast
import copy
import inspect
import pickle
from pathlib import Path

import pytest

import minroberta
from minroberta import Error, errors

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
KINDS = [kind for kind in CLASSES if kind is not Error]
SOURCES = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(minroberta.__file__).parent.rglob("*.py")]

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@every_kind
def test_an_error_is_ours_and_a_built_in_one(kind: type[Error]) -> None:
    ours, builtin = kind.__bases__
    assert ours is Error
    assert builtin.__module__ == "builtins" and issubclass(builtin, Exception) and builtin is not Exception
    with pytest.raises(builtin, match="a message"):
        raise kind("a message")


@every_kind
def test_users_can_name_it(kind: type[Error]) -> None:
    assert getattr(minroberta, kind.__name__) is kind
    assert kind.__name__ in minroberta.__all__


@every_kind
def test_the_message_is_shown_unchanged(kind: type[Error]) -> None:
    """KeyError would show it in quotes, OSError a number before it."""
    error = kind("unknown head 'x': give one of encoder, masked_lm")
    assert str(error) == "unknown head 'x': give one of encoder, masked_lm"


@every_kind
def test_it_crosses_to_another_process(kind: type[Error]) -> None:
    error = kind("a message")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind and str(again) == "a message"


def names_in(tree: ast.AST) -> set[str]:
    """The names that this source raises, or passes to a function that raises."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


@every_kind
def test_it_is_raised_somewhere(kind: type[Error]) -> None:
    assert any(kind.__name__ in names_in(tree) for tree in SOURCES)


def test_nothing_raises_the_base() -> None:
    """Every error has a kind, so that it can be caught by kind."""
    for tree in SOURCES:
        raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
        called = [exc.func if isinstance(exc, ast.Call) else exc for exc in raised]
        assert not [name for name in called if isinstance(name, ast.Name) and name.id in ("Error", "Exception")]


@every_kind
def test_the_middle_of_a_long_message_is_left_out(kind: type[Error]) -> None:
    """A hostile file may have a name of megabytes, which a message quotes."""
    message = str(kind("the file names " + "x" * 9_000_000 + ": save it again"))
    assert message.startswith("the file names x") and message.endswith("x: save it again") and " … " in message
    assert len(message) < 5000
    assert str(kind("y" * 5000)) == "y" * 5000
