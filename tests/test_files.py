"""Files of a checkpoint: a file is replaced as a whole, or stays as it was."""

import json
import os
from pathlib import Path

import pytest
from support import raises

import minroberta
from minroberta import NotFoundError
from minroberta.checkpoints.files import replacing, write_json


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as partial:
        partial.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """In the hub's cache a configuration is a link to a file that several revisions share."""
    (tmp_path / "blob").write_text("{}")
    (tmp_path / "config.json").symlink_to(tmp_path / "blob")
    write_json(tmp_path / "config.json", {"a": 1})
    assert json.loads((tmp_path / "config.json").read_text()) == {"a": 1}
    assert (tmp_path / "blob").read_text() == "{}"


def test_a_value_that_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {"a": object()})
    assert not list(tmp_path.iterdir())


def test_a_directory_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"x\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    minroberta.load().save(folder)
    model = minroberta.load(folder)
    assert model.tokenizer is not None
    with raises(NotFoundError, FileNotFoundError, "there is no directory or file", "check the path"):
        minroberta.load(f"{folder}/none")
