"""Write notebooks/*.ipynb from their .py, executed in a new kernel. Needs the extra `notebooks`.

python tools/notebooks.py         # all of them
python tools/notebooks.py 04 05   # those whose names begin so
"""

import hashlib
import sys
from pathlib import Path

import jupytext
import nbclient
import nbformat

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
WEIGHTS = ROOT / "minroberta" / "tiny" / "model.safetensors"


def main(*beginnings: str) -> None:
    for source in sorted(path for path in FOLDER.glob("*.py") if path.name.startswith(beginnings or "")):
        notebook = jupytext.read(source)
        for place, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{place}"  # by default ids are random, and every cell would differ at every run
        nbclient.NotebookClient(
            notebook,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,  # by default printed lines are divided among outputs at random
            resources={"metadata": {"path": str(FOLDER)}},
        ).execute()
        notebook.metadata["language_info"] = {"name": "python"}  # without Python's version
        notebook.metadata["weights"] = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()  # the weights of the outputs
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        print(source.with_suffix(".ipynb").name)


if __name__ == "__main__":
    main(*sys.argv[1:])
