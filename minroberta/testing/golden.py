"""Golden files: the inputs, named values and noise of a call, in a small safetensors file that any language can read.

docs/golden.md describes the layout. The same call gives the same bytes on every machine: see `portable`.
"""

import fnmatch
import hashlib
import json
import math
import re
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from .. import __version__
from ..backend.arrays import Array, to_host
from ..cache import Cache, cached_length
from ..checkpoints.arrays import Renamed, as_stored
from ..checkpoints.files import LARGEST_JSON, read_json, replacing
from ..checkpoints.formats import safetensors
from ..config import Config, check_head
from ..errors import InputError, NameUnknownError, NotFoundError, SaveError, WeightsError
from ..inputs import IDS, NUMBERS, as_array, check_shapes, given
from ..loading import Model, init
from ..loading import load as load_model
from ..trace import Trace, trace
from ..weights import flat, load_arrays, shapes, tree
from . import portable
from .cases import CASES, SUITE, Case, model_of
from .runs import EPS, exact, noise, run

FORMAT = "1"
"""The version of the layout: `format_version` in the metadata."""

LARGEST_STORED = 1_000_000
"""Limit on the size of the weights stored in a file, in bytes."""

INPUTS = (*IDS, *NUMBERS, "labels", "past_key_values")
"""Names of the inputs that a file can hold: all except flags such as `output_attentions`."""

PARTS = ("key", "value", "cross_key", "cross_value")
"""Names of the arrays that a cache holds for each layer."""

OUTPUTS = ("loss", "last_hidden_state", "pooler_output", "logits", "start_logits", "end_logits")
"""Names of the values that every file has, if the call computes them."""

Origin = str | int | None
"""Origin of the weights: the name of a checkpoint, a seed for `minroberta.init`, or None if unknown."""

# --- writing --------------------------------------------------------------------------------------------------------


def save(
    path: str | Path,
    model: Model,
    inputs: Mapping[str, Any],
    names: Iterable[str] | None = None,
    *,
    weights: Origin = None,
    command: str | None = None,
) -> None:
    """Write the values of a call to a golden file.

        golden.save("port.safetensors", model, {"input_ids": [[0, 31, 42, 2]]}, names=["embeddings", "encoder.layer.*"])

    inputs: arrays or lists by name, as the model takes them. They are first converted, integers to int32 and others to
    float32; then the model is called with the result. names: the values to store, as `trace` names them, or patterns
    such as `encoder.layer.?`; by default all. Outputs are always stored. Values are computed in float64 and stored as
    the nearest float32. weights: the name of the checkpoint that the model was loaded from, or the seed that
    `init` was called with; weights of up to 1 MB are stored in the file itself. command: a command that recreates the
    file; it is stored in the file.

    Raises InputError, SaveError, and NameUnknownError if the call does not compute a given name.
    """
    names = None if names is None else [names] if isinstance(names, str) else list(names)
    stored = {name: _stored(name, array) for name, array in flat_inputs(_checked(model, inputs)).items()}
    call, portable_model = _nested(stored), exact(model, portable.asarray)
    computed = run(portable_model, call)
    rounding = noise(portable_model, call, computed)
    chosen = _chosen(computed, names)
    held = _small(model)
    metadata = {
        "format_version": FORMAT,
        "minroberta": __version__,
        "head": model.head,
        "config": json.dumps(model.config.to_dict(), sort_keys=True),
        "weights": json.dumps({"file": True} if held else _origin(weights)),
        "weights_sha256": digest(model),
        "noise": json.dumps({name: float(f"{rounding[name]:.3g}") for name in chosen}),
        "command": command or _command(names, weights),
    }
    arrays = {f"inputs.{name}": array for name, array in stored.items()}
    arrays |= {f"values.{name}": _stored(name, computed[name]) for name in chosen}
    arrays |= {f"weights.{name}": array for name, array in held.items()}
    _write(Path(path), arrays, metadata)


def _checked(model: Model, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as arrays. Raises InputError if their shapes do not fit the model."""
    if not isinstance(inputs, Mapping):
        raise InputError(f"invalid inputs of type {type(inputs).__name__}: give a dict that maps input names to arrays")
    result = {}
    for name, value in given(**inputs).items():
        if name not in INPUTS:
            raise InputError(f"unsupported input {name}: a golden file can hold {', '.join(INPUTS)}")
        result[name] = value if name == "past_key_values" else as_array(name, value)
    check_shapes(model.config, model.head, result)
    return result


def flat_inputs(inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of a call by name; those of a cache under names such as `past_key_values.0.key`."""
    result = {name: value for name, value in inputs.items() if name != "past_key_values"}
    past = inputs.get("past_key_values", ())
    for index, layer in enumerate(past):
        parts = zip(PARTS, layer, strict=False)  # without cross-attention only two
        result |= {f"past_key_values.{index}.{part}": array for part, array in parts}
    return result | ({"past_key_values.tokens": past.tokens} if isinstance(past, Cache) else {})


def _nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flat_inputs`. Raises InputError for unknown names."""
    rest = dict(arrays)
    layers: list[tuple[Any, ...]] = []
    while f"past_key_values.{len(layers)}.key" in rest:
        start = f"past_key_values.{len(layers)}."
        layers.append(tuple(rest.pop(start + part) for part in PARTS if start + part in rest))
    tokens = rest.pop("past_key_values.tokens", None)
    for name in rest:
        if name not in INPUTS:
            raise InputError(f"unknown input {reprlib.repr(name)} in a golden file: it can hold {', '.join(INPUTS)}")
    if layers:
        rest["past_key_values"] = tuple(layers) if tokens is None else Cache(layers, tokens)
    return rest


def _stored(name: str, value: Array) -> numpy.ndarray:
    """An array as a file stores it: integers as int32; others as float32, clipped to the range of float32."""
    array = to_host(value)
    if array.dtype.kind not in "iub":
        largest = numpy.finfo(numpy.float32).max
        return array.astype(numpy.float64).clip(-largest, largest).astype("<f4")
    result = array.astype("<i4")
    if (result != array).any():
        raise InputError(f"{name} has integers beyond 32 bits, but a golden file stores int32: give smaller integers")
    return result


def _chosen(computed: Mapping[str, Array], names: list[str] | None) -> list[str]:
    """The names of the values that match `names`, and of the outputs, in the order of computation."""
    if names is None:
        return list(computed)
    for pattern in names:
        if not fnmatch.filter(computed, pattern):
            raise NameUnknownError(
                f"unknown name or pattern {pattern!r}: print(trace(...)) lists the values of this call"
            )
    return [name for name in computed if name in OUTPUTS or any(fnmatch.fnmatchcase(name, x) for x in names)]


def _small(model: Model) -> dict[str, numpy.ndarray]:
    """The weights under the family's names if they are small enough to be stored, otherwise an empty dict.

    float16 and bfloat16 are stored as float32, which holds all their numbers and which every language can read.
    """
    arrays = {model.config.family.own_name(name): to_host(array) for name, array in flat(model.params).items()}
    held = {name: array.astype("<f8" if array.dtype == numpy.float64 else "<f4") for name, array in arrays.items()}
    return held if sum(array.nbytes for array in held.values()) <= LARGEST_STORED else {}


def _origin(weights: Origin) -> dict[str, Any]:
    if weights is None:
        return {}
    return {"checkpoint": weights} if isinstance(weights, str) else {"seed": int(weights)}


def digest(model: Model) -> str:
    """The SHA-256 of a model's weights, independent of their dtype.

    It covers the weights in the order of their names (the model family's names, without the base model's prefix). Each
    weight contributes its name; the sizes of its axes, each preceded by a space; a line feed; and its elements as
    little-endian float64.
    """
    named = {model.config.family.own_name(name): to_host(array) for name, array in flat(model.params).items()}
    result = hashlib.sha256()
    for name, array in sorted(named.items()):
        result.update(" ".join([name, *map(str, array.shape)]).encode() + b"\n")
        result.update(array.astype("<f8").tobytes())
    return result.hexdigest()


def _command(names: list[str] | None, weights: Origin) -> str:
    """Python code that recreates a file from the file itself."""
    return f"g = golden.load(FILE); golden.save(FILE, g.model(), g.inputs, names={names!r}, weights={weights!r})"


def _write(path: Path, arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that keeps the order of arrays and metadata; the safetensors library would change it."""
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, array in arrays.items():
        kind = next(kind for kind, dtype in safetensors.DTYPES.items() if dtype == array.dtype)
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    content = [len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in arrays.values())]
    try:
        with replacing(path) as partial:
            partial.write_bytes(b"".join(content))
    except OSError as error:
        raise SaveError(f"{path} cannot be written: {error.strerror}") from error


# --- reading --------------------------------------------------------------------------------------------------------


class Golden(Mapping[str, numpy.ndarray]):
    """A golden file: a mapping from names to values, outputs included, in the order of computation.

    inputs: the model's inputs. noise: the largest change that float32 rounding makes to each value, by name. config,
    head: those of the model. metadata: the file's metadata; its values are strings.
    """

    def __init__(self, file: safetensors.File) -> None:
        self._file, self.path, self.metadata = file, file.path, file.metadata
        version = self.metadata.get("format_version")
        if version != FORMAT:
            raise InputError(
                f"{self.path} is not a golden file of version {FORMAT}: its format_version is {reprlib.repr(version)}"
            )
        self._values, self._weights = self._names("values."), self._names("weights.")
        self.config, self.head = Config.from_dict(self._fact("config")), self.metadata.get("head", "")
        check_head(self.head, self.config)
        self.noise = self._noise(self._fact("noise"))
        self.inputs = _nested({name: file[stored] for name, stored in self._names("inputs.").items()})

    def _names(self, kind: str) -> dict[str, str]:
        """A dict that maps the names of one kind of array to their names in the file."""
        return {name.removeprefix(kind): name for name in self._file if name.startswith(kind)}

    def _fact(self, name: str) -> dict[str, Any]:
        """A JSON object from the metadata."""
        text = self.metadata.get(name, "")
        try:
            value = json.loads(text) if len(text) <= LARGEST_JSON else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InputError(
                f"{self.path} is not a golden file: its {name} is not a JSON object of at most {LARGEST_JSON} bytes"
            )
        return value

    def _noise(self, noise: Mapping[str, Any]) -> dict[str, float]:
        for name in self._values:
            value = noise.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
                what = f"the noise of {reprlib.repr(name)} is {reprlib.repr(value)}"
                raise InputError(f"{self.path} is not a golden file: {what}, but must be a finite number of at least 0")
        return {name: float(noise[name]) for name in self._values}

    def __getitem__(self, name: str) -> numpy.ndarray:
        if name not in self._values:
            raise NameUnknownError(f"{self.path} has no value {name}: `minroberta golden show` lists its values")
        return self._file[self._values[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<golden file {self.path}: {self.config.model_type}, {self.head}, {len(self)} values>"

    def model(self) -> Model:
        """The model that the file was computed with.

        Its weights come from the file, from a seed, or from a checkpoint on this machine. Nothing is downloaded. Raises
        InputError if the weights are not available, WeightsError if they differ from those that the file was computed
        with, and any error that `minroberta.load` raises.
        """
        arrays = self._arrays()
        held = load_arrays(arrays, self.config, self.head, missing="error", seed=0, check=False)
        model = Model(self.config, tree(held), self.head)
        if digest(model) != self.metadata.get("weights_sha256"):
            raise WeightsError(f"{self.path} was computed with different weights: the weights' digests differ")
        return model

    def _arrays(self) -> Mapping[str, Any]:
        match self._fact("weights"):
            case {"file": True}:
                return Renamed(self._file, {name: (stored, as_stored) for name, stored in self._weights.items()})
            case {"seed": int(seed)}:
                count = sum(map(math.prod, shapes(self.config, self.head).values()))
                self._check(count, LARGEST_MODEL, "random weights")
                return flat(init(self.config, self.head, seed=seed).params)
            case {"checkpoint": str(name)}:
                return flat(load_model(name, head=self.head, local_files_only=True).params)
        raise InputError(
            f"{self.path} does not say where its weights are: trace the model yourself, and compare with the trace"
        )

    def trace(self) -> Trace:
        """Trace the file's call again. Raises InputError if it is too large, and any error that `model` raises."""
        config, inputs = self.config, self.inputs
        check_shapes(config, self.head, inputs)
        tokens = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"][..., 0]
        keys = tokens.shape[-1] + cached_length(inputs.get("past_key_values"))
        keys = max(keys, len(inputs.get("encoder_hidden_states", [()])[0]))
        widest = max(config.num_attention_heads * keys, config.intermediate_size, config.vocab_size)
        self._check(tokens.size * widest, LARGEST_VALUE, "elements in one value")
        D, F, H = config.hidden_size, config.intermediate_size, config.num_attention_heads
        kept = config.num_hidden_layers * tokens.size * (12 * D + 2 * F + 2 * H * keys)
        self._check(kept, LARGEST_TRACE, "elements in all values")
        return trace(self.model(), **inputs)

    def _check(self, count: int, most: int, what: str) -> None:
        if count > most:
            raise InputError(f"{self.path} asks for {count} {what}; the limit is {most}: trace the model yourself")


LARGEST_MODEL = 2**30
"""Limit on the number of random weights that a file can ask for."""

LARGEST_VALUE, LARGEST_TRACE = 2**27, 2**28
"""Limits on the number of elements in one value, and in all values, that a file can ask for.

In float64, all values together take up to 2 GB, and `compare` holds a few copies of them.
"""


def load(path: str | Path) -> Golden:
    """Open a golden file. Its arrays are memory-mapped.

    Raises NotFoundError; WeightsError if the file is damaged; InputError, ConfigError or NameUnknownError if it is not
    a golden file.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist, or is not a file")
    return Golden(safetensors.File(path))


def values_of(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """A port's values. arrays: the arrays of a file, which may be named as in a golden file.

    The prefix `values.` is removed, and inputs and weights are left out.
    """
    others = ("inputs.", "weights.")
    return {name.removeprefix("values."): x for name, x in arrays.items() if not name.startswith(others)}


# --- the suite ------------------------------------------------------------------------------------------------------


def suite(directory: str | Path, raw: bool = False) -> None:
    """Write a golden file with weights for each of `cases.CASES`, and `index.json`, which lists them.

    The index has `suite` (the version of the suite) and `cases`. Each case has `name`, `shows` (what a port may get
    wrong), `file`, `head`, `precision` (the dtype that a port should compute in) and the file's `sha256`. raw: also
    write the arrays of each case to a directory: see `write_raw`; the index calls it `directory`. Raises SaveError.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        listed = [_write_case(directory, case, raw) for case in CASES]
        text = json.dumps({"suite": SUITE, "minroberta": __version__, "cases": listed}, indent=1)
        (directory / "index.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise SaveError(f"{directory} cannot be created: {error.strerror}") from error


def _write_case(directory: Path, case: Case, raw: bool) -> dict[str, Any]:
    path, model = directory / f"{case.name}.safetensors", model_of(case)
    inputs = dict(case.inputs)
    if case.before is not None:
        inputs["past_key_values"] = exact(model, portable.asarray)(**case.before).past_key_values
    save(path, model, inputs, case.names, command="minroberta golden suite DIRECTORY")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {"name": case.name, "shows": case.shows, "file": path.name, "head": case.head}
    if raw:
        write_raw(path, directory / case.name)
        facts["directory"] = case.name
    return {**facts, "precision": case.precision, "sha256": digest}


def write_raw(path: Path, directory: Path) -> None:
    """Write each array of a golden file to a file of bytes, row-major and little-endian, and an `index.json`.

    The index has `head`, `config`, `noise`, and `arrays`: for each name `dtype`, `shape` and `file`.
    """
    held, listed = load(path), {}
    directory.mkdir(exist_ok=True)
    for name, array in safetensors.File(path).items():
        listed[name] = {"dtype": str(array.dtype), "shape": array.shape, "file": f"{name}.bin"}
        (directory / f"{name}.bin").write_bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())
    facts = {"head": held.head, "config": json.loads(held.metadata["config"]), "noise": held.noise, "arrays": listed}
    (directory / "index.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8", newline="\n")


def cases_of(directory: str | Path) -> list[dict[str, str]]:
    """The cases that a suite's index lists, each with `name`, `file` and `precision`.

    Raises NotFoundError if there is no index, and InputError if it is not one of a suite.
    """
    path = Path(directory) / "index.json"
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist: `minroberta golden suite {directory}` writes a suite")
    cases = read_json(path, InputError).get("cases")
    if not isinstance(cases, list) or not cases or not all(map(_is_case, cases)):
        raise InputError(f"{path} is not the index of a suite: its cases must be objects with name, file and precision")
    return cases


def _is_case(case: Any) -> bool:
    """True for an object whose `name` and `file` are names of files, not paths that lead elsewhere."""
    if not isinstance(case, dict) or case.get("precision") not in list(EPS):
        return False
    names = [case.get("name"), case.get("file")]
    return all(isinstance(name, str) and re.fullmatch(r"\w[\w.-]{0,200}", name) for name in names)
