"""Notebooks: each .ipynb is what jupytext makes of its .py, and runs from clean, its asserts and exercises included."""

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import minroberta

REASON = 'notebooks are tested where their extra is: pip install -e ".[notebooks]"'
jupytext = pytest.importorskip("jupytext", reason=REASON)
nbclient = pytest.importorskip("nbclient", reason=REASON)
nbformat = pytest.importorskip("nbformat", reason=REASON)
pytest.importorskip("ipykernel", reason=REASON)
pytest.importorskip("matplotlib", reason=REASON)

FOLDER = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))

SOLUTION = re.compile(r"<summary>A solution of exercise (\d)</summary>\n\n```python\n(.*?)```", re.DOTALL)
"""The folded solutions in a notebook."""


def cells(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_there_are_notebooks() -> None:
    assert {source.stem for source in SOURCES} == {page.stem for page in FOLDER.glob("*.ipynb")}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_notebook_is_what_jupytext_makes_of_its_source(source: Path) -> None:
    page = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(page)
    assert cells(page) == cells(jupytext.read(source))
    counts = [cell.execution_count for cell in page.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))  # executed once, from top to bottom


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_outputs_are_those_of_the_embedded_weights(source: Path) -> None:
    page = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    weights = Path(minroberta.__file__).parent / "tiny" / "model.safetensors"
    assert page.metadata["weights"] == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_outputs_show_no_machine_and_no_warning(source: Path) -> None:
    page = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    for output in (output for cell in page.cells if cell.cell_type == "code" for output in cell.outputs):
        assert output.output_type in ("stream", "display_data", "execute_result")
        assert output.get("name") != "stderr"
        text = output.get("text") or output.data.get("text/plain", "")
        assert not re.search(r"/(home|root|work|tmp|usr|Users)/|Warning", text)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_notebook_runs_from_clean_and_its_exercises_can_be_solved(source: Path) -> None:
    """After the notebook run solutions and the checks again, which in the notebook skip what was not tried."""
    notebook = jupytext.read(source)
    checks = [cell for cell in notebook.cells if cell.source.startswith("# check ")]
    solutions = [found.groups() for cell in notebook.cells for found in SOLUTION.finditer(cell.source)]
    assert len(checks) == len(solutions) in (2, 3)
    solved = []
    for (number, solution), check in zip(solutions, checks, strict=True):
        assert check.source.startswith(f"# check {number}\n")
        solved += [nbformat.v4.new_code_cell(solution), nbformat.v4.new_code_cell(check.source)]
    notebook.cells += solved
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Jupyter's own; a cell's warnings are in its output
        client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    for cell in checks:
        assert re.match(r"exercise \d is not answered yet|not yet: your function returns None", cell.outputs[0].text)
    for cell in solved[1::2]:
        assert cell.outputs[0].text.startswith("right")
