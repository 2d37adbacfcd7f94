"""Open what minroberta saves with Hugging Face transformers 4.48.3, and compare.

    PYTHONPATH=.. python -m generators.check_saved

needs torch and exactly that version of transformers beside minroberta. For every family and head, and for every odd
field of the config (pruned heads, untied weights, relative positions, ...), a tiny model with random weights is saved
in float64, opened by `from_pretrained` with "eager" attention, and given the inputs of its golden case. It prints the
largest difference of any output, and the keys that transformers misses or does not expect. It ends with an error if
outputs differ by more than 1e-11 (the loss: by more than a float32's last digit, because transformers computes the
causal one in float32 even then), a key is missing, or a warning was given.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from generators.cases import CASES, Case, parameter
from minroberta import Config, Model
from minroberta.config import HEADS
from minroberta.weights import shapes, tree

VERSION = "4.48.3"


def our_model(case: Case) -> Model:
    """The case's model, with the golden weights, in float64."""
    config = Config.from_dict(case.config)
    weights = {name: parameter(config.family.own_name(name), s) for name, s in shapes(config, case.head).items()}
    return Model(config, tree(weights), case.head)


def their_model(directory: Path, ours: Model) -> tuple[transformers.PreTrainedModel, dict[str, Any]]:
    """The model that transformers opens in the directory, and the missing or unexpected keys."""
    name = ours.config.family.architecture + HEADS[ours.head].ending
    model, info = getattr(transformers, name).from_pretrained(
        directory, torch_dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    return model.eval(), {kind: keys for kind, keys in info.items() if keys}


def as_tensors(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.tensor(x) if isinstance(x, np.ndarray) else x for name, x in inputs.items()}


def distance(ours: Any, theirs: Any) -> float:
    """The largest difference between two arrays, or between those of two tuples."""
    if isinstance(ours, tuple):
        return max(distance(a, b) for a, b in zip(ours, theirs, strict=True))
    return float(np.abs(ours - theirs.numpy()).max())


def compare(case: Case) -> tuple[dict[str, float], dict[str, Any]]:
    """The largest difference of each output, and the missing or unexpected keys."""
    ours = our_model(case)
    with tempfile.TemporaryDirectory() as directory:
        ours.save(directory)
        theirs, keys = their_model(Path(directory), ours)
        with torch.no_grad():
            wanted = theirs(**as_tensors(case.steps[0]))
    given = ours(**case.steps[0])
    if list(wanted) != list(given):
        raise SystemExit(f"{case.name}: the outputs are {list(given)}; {list(wanted)} are wanted")
    return {name: distance(given[name], wanted[name]) for name in wanted}, keys


class Said(logging.Handler):
    """Keep what transformers logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def main() -> None:
    if transformers.__version__ != VERSION:
        raise SystemExit(f"this is written for transformers {VERSION}, not {transformers.__version__}")
    warnings.simplefilter("error")
    said, bad = Said(), False
    logging.getLogger("transformers").addHandler(said)
    for case in CASES:
        if len(case.steps) > 1 or not case.name.startswith(("family/", "config/", "position/")):
            continue
        said.texts.clear()
        distances, keys = compare(case)
        loss, rest = distances.pop("loss", 0.0), max(distances.values())
        notes = "; ".join([*(f"{kind} {names}" for kind, names in keys.items()), *said.texts])
        print(f"{case.name:50} loss {loss:.1e}  others {rest:.1e}  {notes}")
        bad |= rest > 1e-11 or loss > 1e-6 or "missing_keys" in keys or bool(said.texts)
    sys.exit(bad)


if __name__ == "__main__":
    main()
