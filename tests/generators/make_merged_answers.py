"""Write the answers of a later question-answering pipeline, which lists equal answers once.

    python -m generators.make_merged_answers

needs torch 2.13.0 and transformers 4.57.6, the last version before 5, which has no such pipeline. `merged_answers.json`
has the format of `make_tasks.py`.
"""

import warnings
from typing import Any

import torch
import transformers

from generators import make_tasks
from generators.task_cases import MERGED

VERSION = "4.57.6"


def answer(*arguments: Any, merge_equal: bool, **options: Any) -> list:
    """The pipeline's answers, which are always merged."""
    assert merge_equal
    return make_tasks.answer(*arguments, **options)


def main() -> None:
    """Rewrite the file; a second run gives the same bytes."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden file needs transformers {VERSION}, this is {transformers.__version__}")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    make_tasks.TASKS["answer"] = answer
    make_tasks.write("merged_answers.json", MERGED, None, make_tasks.build)


if __name__ == "__main__":
    main()
