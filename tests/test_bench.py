"""`minroberta bench`, and the figures that README shows."""

import importlib
import json
from pathlib import Path
from typing import Any

import click
import numpy
import pytest
from click.testing import CliRunner
from support import TINY

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


@pytest.mark.parametrize("name", ["4.json", "2-jax.json"])
def test_the_tables_of_readme(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are those that the report makes of the stored figures."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    report = importlib.import_module("report")
    figures = json.loads((ROOT / "benchmarks" / "figures" / name).read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for text in (report.table(figures), report.start_table(figures), figures["machine"]):
        assert text in readme


# --- the script for GPUs: what runs without one -----------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with shapes for a small model on a CPU."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("gpu")
    monkeypatch.setattr(script, "SHAPES", {"1 × 8": (1, 8)})
    monkeypatch.setattr(script, "ROUNDS", 1)
    return script


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    minroberta.init({**TINY, "vocab_size": 50_265, "max_position_embeddings": 60}).save(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JAX, f32", "JAX, bf16", "products, f32"])
def test_an_engine(name: str, gpu: Any, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'minroberta[jax]'")
    gpu.engine(name, saved)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert second["shape"] == "1 × 8" and 0 < second["ms"] < 10_000
    truth = minroberta.load(saved, head="encoder", dtype="float64")(gpu.ids_of(gpu.CHECKED)).last_hidden_state
    if name.startswith("JAX"):
        assert 0 < gpu.agreed(name, numpy.array(first["values"]), truth) < gpu.AGREE["bfloat16"]


def test_engines_that_do_not_agree(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not timed. NaN agrees with nothing."""
    for wrong in (1.001, float("nan")):
        monkeypatch.setattr(gpu, "lines", lambda *_, wrong=wrong: iter([{"values": [[wrong]]}]))
        with pytest.raises(click.ClickException, match="JAX, f32 differs from float64 by"):
            gpu.measured("JAX, f32", Path(), numpy.ones((1, 1)))


def test_an_engine_whose_library_is_not_installed(gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(gpu.ENGINES, "stranger", (lambda directory: importlib.import_module("no_such_library"), {}))
    with pytest.raises(ModuleNotFoundError):
        gpu.engine("stranger", tmp_path)
    assert list(gpu.lines("--engine", "no such engine", str(tmp_path))) == []


def test_the_table_of_a_gpu(gpu: Any) -> None:
    own = {"ms": {"1 × 8": 1.234}, "first": [3.0, 1.25], "difference": 3.1e-6}
    table = gpu.as_table({"engines": {"JAX, f32": own, "products, f32": {"ms": {"1 × 8": 1}, "first": [1, 2]}}})
    assert table.splitlines()[2] == "| JAX, f32 | 1.23 | 3e-06 | 3.0 s | 1.2 s |"
    assert {line.count("|") for line in table.splitlines()} == {6}
