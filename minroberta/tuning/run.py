"""The directory of a run: the best model so far, and what is needed to go on after an interruption.

`training.json` has the settings and the scores; `training.safetensors` the trained weights and their moments after the
last measurement, until the run ends.
"""

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy

from ..backend.arrays import to_host
from ..checkpoints.files import read_json, write_json
from ..checkpoints.formats import safetensors
from ..errors import InputError
from ..train import Moments, Step, Weights
from .measures import Scores, better

RECORD, ARRAYS = "training.json", "training.safetensors"


class Run:
    """A run in a directory, new or interrupted. Raises InputError if the directory holds something else.

    history: the number of steps and the scores of each measurement, the first of which is before training.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any]) -> None:
        self.directory, self.settings, self.history = directory, dict(settings), list[tuple[int, Scores]]()
        if not directory.exists():
            return
        if not directory.is_dir() or (any(directory.iterdir()) and not (directory / RECORD).is_file()):
            raise InputError(f"{directory} exists, but is not an empty directory: give a new or empty directory")
        if (directory / RECORD).is_file():
            self._read()

    def _read(self) -> None:
        record = read_json(self.directory / RECORD, InputError)
        if record.get("ended"):
            raise InputError(f"{self.directory} holds a model that is trained already: give another directory")
        before = record.get("settings", {})
        for name, value in self.settings.items():
            if before.get(name) != value:
                raise InputError(
                    f"{self.directory} holds a run with another {name}, {before.get(name)!r:.100}, not {value!r:.100}: "
                    "give the same again to go on, or another directory"
                )
        self.history = [(int(steps), scores) for steps, scores in record["history"]]

    def resumed(self, model_weights: Weights) -> tuple[Weights, Moments] | None:
        """The trained weights and moments after the last measurement, or None for a new run."""
        if not (self.directory / ARRAYS).is_file():
            return None
        file = safetensors.File(self.directory / ARRAYS)
        weights, first, second = (
            {name: numpy.array(file[f"{kind}.{name}"]) for name in model_weights}
            for kind in ("weights", "first", "second")
        )
        return weights, Moments(int(file.metadata["steps"]), first, second)

    @property
    def best(self) -> Scores:
        """The best scores after training began."""
        scores = [scores for _, scores in self.history[1:]]
        return reduce(lambda one, other: other if better(other, one) else one, scores)

    def is_best(self, scores: Scores) -> bool:
        """True if no measurement since training began was as good."""
        return len(self.history) == 1 or better(scores, self.best)

    def add(self, step: Step, scores: Scores) -> None:
        """Note a measurement, and write what is needed to go on after its step. Raises OSError."""
        self.history.append((step.number, scores))
        self.directory.mkdir(parents=True, exist_ok=True)
        parts = {"weights": step.weights, "first": step.moments.first, "second": step.moments.second}
        arrays = {f"{kind}.{name}": to_host(x) for kind, some in parts.items() for name, x in some.items()}
        safetensors.write(self.directory / ARRAYS, arrays, {"steps": str(step.number)})
        self._record(ended=False)

    def end(self) -> None:
        """Keep the record alone. Raises OSError."""
        self._record(ended=True)
        (self.directory / ARRAYS).unlink(missing_ok=True)

    def _record(self, ended: bool) -> None:
        record = {"ended": ended, "settings": self.settings, "history": self.history}
        write_json(self.directory / RECORD, record, indent=2)
