"""Save the repositories of `embedding_cases.py` with minroberta, and open them with sentence-transformers.

    PYTHONPATH=.. python -m generators.check_embeddings

needs one of the environments of `make_sentence_transformers.py`, with this package's dependencies. It compares the
vectors and scores of the saved models with those in `embeddings.json`.
"""

import json
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import sentence_transformers
import transformers

import minroberta
from generators.embedding_cases import CASES, NEW, OLD, Case, write
from generators.make_sentence_transformers import FILE, run_library


def of_saved(case: Case, directory: Path) -> list:
    """The vectors of sentence-transformers for the repository after minroberta has loaded and saved it."""
    write(case, directory / "written")
    head = "encoder" if case.labels is None else None
    minroberta.load(directory / "written", head=head).save(directory / "saved")
    return run_library(case, directory / "saved")


def main() -> None:
    """Print the largest difference of each case, and fail if one is above 1e-5."""
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    expected, worst = json.loads(FILE.read_text(encoding="utf-8")), 0.0
    for case in CASES:
        here = sentence_transformers.__version__
        if (here == OLD and case.version == NEW) or (here != case.version and "prompt" in case.name):
            continue  # version 6 keeps the spaces between a prompt and a text
        with tempfile.TemporaryDirectory() as name:
            found = of_saved(case, Path(name))
        difference = float(np.abs(np.asarray(found) - np.asarray(expected[case.name])).max())
        worst = max(worst, difference)
        print(f"{difference:8.1e}  {case.name}")
    if worst > 1e-5:
        raise SystemExit(f"sentence-transformers {sentence_transformers.__version__} gives other values")


if __name__ == "__main__":
    main()
