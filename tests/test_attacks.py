"""The hostile files of attacks/: each is what its script writes, and gets the sentence that the page there says."""

import runpy
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "attacks"
SCRIPT = runpy.run_path(str(FOLDER / "write.py"))
ROWS = SCRIPT["ROW"].findall((FOLDER / "README.md").read_text(encoding="utf-8"))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_files_are_what_the_script_writes() -> None:
    for name, content in SCRIPT["FILES"].items():
        assert (FOLDER / name).read_bytes() == content, name


def test_every_file_has_a_row() -> None:
    names = {name.split("/")[0] for name in SCRIPT["FILES"]} - {"config.json"}
    assert [name for name, _, _ in ROWS] == list(dict.fromkeys(name for name, _, _ in ROWS))
    assert {name for name, _, _ in ROWS} == names


@pytest.mark.parametrize(("name", "sentence"), [(name, sentence) for name, _, sentence in ROWS])
def test_each_gets_its_sentence(name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before, begun = files(FOLDER), time.perf_counter()
    assert SCRIPT["answer"](name) == sentence != "it is loaded"
    assert time.perf_counter() - begun < 5
    assert files(FOLDER) == before and files(tmp_path) == set()
