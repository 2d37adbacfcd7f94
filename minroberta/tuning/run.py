"""The directory of a run: the best model so far, and what is needed to go on after an interruption.

`training.json` has the settings and the scores; `training.safetensors` the trained weights and their moments after the
last measurement, and the scores so far. `training.safetensors` is removed when the run ends.
"""

import itertools
import json
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from ..backend.arrays import namespace, to_host
from ..checkpoints.files import read_json, write_json
from ..checkpoints.formats import safetensors
from ..errors import InputError
from ..train import Moments, Part, Step
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
        before = record.get("settings")
        if not isinstance(before, Mapping):
            raise InputError(f"{self.directory / RECORD} has no settings: give another directory")
        if record.get("ended") is True:
            raise InputError(
                f"{self.directory} holds a model that is trained already: give another directory; to train it further, "
                "give it as the model"
            )
        for name, value in self.settings.items():
            if before.get(name) != value:
                values = "" if name.startswith("checksum") else f", {before.get(name)!r:.100}, not {value!r:.100}"
                raise InputError(
                    f"{self.directory} holds a run with another {name}{values}: give the same again to go on, or "
                    "another directory"
                )

    def resumed(self, part: Part) -> Moments | None:
        """Set the weights of the part to those of the last measurement, and return their moments; None for a new run.

        Raises InputError if the file does not fit the part.
        """
        if not (self.directory / ARRAYS).is_file():
            return None
        file = safetensors.File(self.directory / ARRAYS)
        try:
            self.history = [(int(steps), dict(scores)) for steps, scores in json.loads(file.metadata["history"])]
            kinds = [{name: file[f"{kind}.{name}"] for name in part.weights} for kind in ("weights", "first", "second")]
            for some, (name, own) in itertools.product(kinds, part.weights.items()):
                if (some[name].shape, some[name].dtype) != (own.shape, own.dtype):
                    raise ValueError(f"{name} is {some[name].dtype} {some[name].shape}")
            steps = self.history[-1][0]
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise InputError(f"{file.path} does not belong to this run ({error}): give another directory") from error
        xp = namespace(next(iter(part.weights.values())))
        part.weights, first, second = ({name: xp.array(x) for name, x in some.items()} for some in kinds)
        return Moments(steps, first, second)

    def begin(self, scores: Scores) -> None:
        """Note the scores before training. Raises OSError if the directory cannot be written to."""
        self.history = [(0, scores)]
        self.directory.mkdir(parents=True, exist_ok=True)
        self._record(ended=False)

    @property
    def best(self) -> tuple[int, Scores]:
        """The step of the best model since training began, and its scores."""
        return reduce(lambda one, other: other if better(other[1], one[1]) else one, self.history[1:])

    def is_best(self, scores: Scores) -> bool:
        """True if no measurement since training began was as good."""
        return len(self.history) == 1 or better(scores, self.best[1])

    def add(self, step: Step, scores: Scores) -> None:
        """Note a measurement, and write what is needed to go on after its step. Raises OSError."""
        self.history.append((step.number, scores))
        parts = {"weights": step.weights, "first": step.moments.first, "second": step.moments.second}
        arrays = {f"{kind}.{name}": to_host(x) for kind, some in parts.items() for name, x in some.items()}
        safetensors.write(self.directory / ARRAYS, arrays, {"history": json.dumps(self.history)})
        self._record(ended=False)

    def end(self) -> None:
        """Keep the record alone. Raises OSError."""
        self._record(ended=True)
        (self.directory / ARRAYS).unlink(missing_ok=True)

    def _record(self, ended: bool) -> None:
        record = {"ended": ended, "settings": self.settings, "history": self.history}
        write_json(self.directory / RECORD, record, indent=2)
