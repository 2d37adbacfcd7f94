"""Notebooks: each .ipynb is what jupytext makes of its .py, and runs from clean, its asserts and exercises included.

They have one form: a question, short cells whose claims are asserted, a surprise, two or three exercises, the next one.
"""

import base64
import hashlib
import re
import statistics
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


def test_the_notebooks_are_numbered() -> None:
    assert [int(source.stem.partition("_")[0]) for source in SOURCES] == list(range(1, len(SOURCES) + 1))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_first_cell_says_what_will_be_answered_and_how_long_it_takes(source: Path) -> None:
    first = jupytext.read(source).cells[0].source
    assert re.match(rf"# {int(source.stem[:2])}\. [^\n]+\?\n", first)
    assert re.search(r"\d+ minutes", first)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_cells_are_short_and_claims_are_asserted(source: Path) -> None:
    code = [text for kind, text in cells(jupytext.read(source)) if kind == "code"]
    assert statistics.median(len(text.splitlines()) for text in code) <= 8
    assert sum(len(re.findall(r"^ *assert ", text, re.MULTILINE)) for text in code) >= FEWEST_ASSERTS


FEWEST_ASSERTS = 12
"""Number of assertions that a notebook has at least."""


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_there_is_a_surprise_to_predict_and_an_answer_after_it(source: Path) -> None:
    found = cells(jupytext.read(source))
    places = [place for place, (kind, text) in enumerate(found) if kind == "markdown" and "**Predict before" in text]
    assert places
    for place in places:
        following = "\n".join(text for kind, text in found[place + 1 : place + 5] if kind == "code")
        assert "assert " in following


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_links_lead_to_files_and_to_the_next_notebook(source: Path) -> None:
    text = "\n".join(text for kind, text in cells(jupytext.read(source)) if kind == "markdown")
    linked = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text)]
    assert [link for link in linked if not (FOLDER / link).exists()] == []
    following = {one.stem[:2]: f"{one.stem}.ipynb" for one in SOURCES}.get(f"{int(source.stem[:2]) + 1:02}")
    assert following is None or following in linked
    assert "https://arxiv.org/abs/" in text


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_pictures_are_small(source: Path) -> None:
    page = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    outputs = [output for cell in page.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [
        base64.b64decode(output.data["image/png"]) for output in outputs if "image/png" in output.get("data", {})
    ]
    assert pictures
    assert max(map(len, pictures)) < LARGEST_PICTURE


LARGEST_PICTURE = 100_000
"""Limit on the bytes of a picture in a notebook."""


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
