"""`minroberta bench`, and the figures that README shows."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import minroberta
from minroberta.backend import threads
from minroberta.cli import bench, main

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SHAPES", ((2, 16), (1, 20)))


def test_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SHAPES", ((2, 16), (1, 600)))
    one, other = bench.shapes(minroberta.load(head="encoder"), rounds=2)
    assert (one["batch"], one["length"]) == (2, 16)
    assert (other["batch"], other["length"]) == (1, 512)  # no more than the model has
    for shape in (one, other):
        assert 0 < shape["floor_ms"] < 10_000 and 0 < shape["ms"] < 10_000 and shape["ratio"] > 0.1


def test_the_command() -> None:
    done = CliRunner().invoke(main, ["bench", "--rounds", "1"])
    facts, table = done.output.split("\n\n")
    assert {line.split()[0] for line in facts.splitlines()} >= {"processor", "cores", "numpy", "library", "kernel"}
    assert table.splitlines()[0].split() == ["batch", "length", "ms", "floor_ms", "ratio"]
    assert len(table.splitlines()) == 3


def test_the_command_for_programs() -> None:
    done = CliRunner().invoke(main, ["bench", "--rounds", "1", "--json"])
    facts, *shapes = map(json.loads, done.output.splitlines())
    assert facts["threads"] == threads.count() and isinstance(facts["hindrances"], list)
    assert [set(shape) for shape in shapes] == [{"batch", "length", "ms", "floor_ms", "ratio"}] * 2


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"cores": 4, "threads": 4}, []),
        ({"cores": 4}, []),
        ({"cores": 4, "threads": 2}, ["the matrix library uses 2 of 4 cores"]),
        ({"cores": 1, "threads": 1, "OPENBLAS_CORETYPE": "Haswell"},
         ["OPENBLAS_CORETYPE=Haswell is set and overrides what OpenBLAS chooses for this processor: unset it"]),
    ],
)  # fmt: skip
def test_warnings_about_the_machine(facts: dict[str, Any], said: list[str]) -> None:
    assert list(bench.hindrances(facts)) == said


def test_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in bench.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr(threads, "libraries", lambda: [])
    facts = bench.machine()
    assert facts["OPENBLAS_CORETYPE"] == "Haswell" and "kernel" not in facts
    assert len(list(bench.hindrances(facts))) == 1


def test_the_tables_of_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are those that the report makes of the stored figures."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    report = importlib.import_module("report")
    figures = json.loads((ROOT / "benchmarks" / "figures" / "4.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for text in (report.table(figures), report.start_table(figures), figures["machine"]):
        assert text in readme
