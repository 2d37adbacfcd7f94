"""Write each notebooks/*.ipynb from its .py, executed in a new kernel. Needs the extra `notebooks`."""

import hashlib
from pathlib import Path

import jupytext
import nbclient
import nbformat

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
WEIGHTS = ROOT / "minroberta" / "tiny" / "model.safetensors"


def main() -> None:
    for source in sorted(FOLDER.glob("*.py")):
        notebook = jupytext.read(source)
        for place, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{place}"  # by default ids are random, and every cell would differ at every run
        nbclient.NotebookClient(
            notebook, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(FOLDER)}}
        ).execute()
        notebook.metadata["language_info"] = {"name": "python"}  # without Python's version
        notebook.metadata["weights"] = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()  # the weights of the outputs
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        print(source.with_suffix(".ipynb").name)


if __name__ == "__main__":
    main()
