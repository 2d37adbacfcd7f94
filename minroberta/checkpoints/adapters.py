"""LoRA adapters as peft saves them, merged into the weights of their base: W + B·A·s (Hu et al. 2021, section 4.1).

The scale s is alpha / r, or alpha / √r with `use_rslora`. An adapter is a directory, or a repository on the hub, with
`adapter_config.json` and the arrays. Or its arrays are in one checkpoint with those of the base, as in the state dict
of a PeftModel. Arrays are merged in float32 when they are read.
"""

import math
import re
import reprlib
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from ..config import HEADS, LARGEST_SIZE, head_of
from ..errors import ConfigError, DownloadError, NotFoundError, WeightsError, check_integer
from ..weights import DECODER, plain_name
from . import hub, read
from .arrays import Arrays, Renamed, as_stored
from .files import directory_of, is_file, read_json
from .modules import Repository, describe
from .wrapped import ANCHOR as WORDS
from .wrapped import WRAPPERS, unwrapped

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")

ENDINGS = {
    "SEQ_CLS": "sequence_classification",
    "TOKEN_CLS": "token_classification",
    "QUESTION_ANS": "question_answering",
    "CAUSAL_LM": "causal_lm",
    "FEATURE_EXTRACTION": "encoder",
}
"""peft's names of tasks, and the heads that they mean."""

# --- the configuration of an adapter --------------------------------------------------------------------------------

OTHER_BASES = ("pissa", "olora", "loftq", "corda")
"""Values of `init_lora_weights` with which peft changes the base's weights, so that an adapter does not fit them."""

UNSUPPORTED = (
    "use_dora", "layer_replication", "megatron_config", "use_qalora", "alora_invocation_tokens",
    "trainable_token_indices",
)  # fmt: skip
"""Fields that, if set, make an adapter more than the products B·A·s that are merged here."""

ADVICE = "load it with peft, merge it there (merge_and_unload), and save the result with save_pretrained"


@dataclass(frozen=True)
class Settings:
    """The fields of an `adapter_config.json` that change the result. Raises ConfigError."""

    path: Path
    fields: Mapping[str, Any]
    root: Path | None = None  # the directory that files beside this one must be in
    _compiled: dict[str, dict[str, re.Pattern[str]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        kind = self.fields.get("peft_type")
        if kind is None:
            raise ConfigError(
                f"{self.path} is not the configuration of a peft adapter, since it has no peft_type: "
                "if it is an adapter of the adapters library, load it there"
            )
        if kind != "LORA":
            self._refuse(f"is an adapter of the type {reprlib.repr(kind)}, but only LORA is supported")
        for name in UNSUPPORTED:
            if self.fields.get(name):
                self._refuse(f"has {name}, which is not supported")
        if str(self.fields.get("init_lora_weights")).lower().startswith(OTHER_BASES):
            self._refuse(f"was trained on a changed base (init_lora_weights {self.fields['init_lora_weights']!r})")
        for name in ("rank_pattern", "alpha_pattern"):
            self._compiled[name] = _compiled(self.path, name, self.fields.get(name) or {})

    def _refuse(self, what: str) -> None:
        raise ConfigError(f"{self.path} {what}: {ADVICE}")

    def check_work(self, modules: Collection[str]) -> None:
        """Raise ConfigError if to try the patterns on the names of all modules may take too long."""
        dots = sum(module.count(".") + 1 for module in modules)
        for name, patterns in self._compiled.items():
            work = dots * sum(map(_cost, patterns))
            if work > LARGEST_WORK:
                self._refuse(
                    f"has patterns in {name} that may take too long on the names of {len(modules)} modules "
                    f"(their work is {work:.0e}; the limit is {LARGEST_WORK:.0e})"
                )

    def scale(self, module: str) -> tuple[int, float]:
        """The rank of a module's matrices, and the factor of their product. Raises ConfigError."""
        rank = self._of_module("rank_pattern", module, self.fields.get("r", 8))
        alpha = self._of_module("alpha_pattern", module, self.fields.get("lora_alpha", 8))
        rank = check_integer(f"{self.path}: the rank r", rank, 1, LARGEST_SIZE, ConfigError)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e30:
            raise ConfigError(f"{self.path}: lora_alpha must be a finite number, not {reprlib.repr(alpha)}")
        return rank, alpha / (math.sqrt(rank) if self.fields.get("use_rslora") else rank)

    def _of_module(self, name: str, module: str, default: Any) -> Any:
        """The value of the first pattern that matches the end of the module's name, as in peft, or else the default.

        A pattern may also be the module's whole name.
        """
        found = next((key for key, pattern in self._compiled[name].items() if pattern.match(module)), module)
        return (self.fields.get(name) or {}).get(found, default)

    def labels(self, count: int) -> dict[str, Any]:
        """The meaning of this many labels, from a `config.json` beside the adapter; peft itself does not keep it."""
        directory = self.path.parent
        if not is_file(directory / "config.json"):
            return {}
        fields = read_json(directory / "config.json", ConfigError, root=self.root)
        named = isinstance(fields.get("id2label"), Mapping) and len(fields["id2label"]) == count
        kept = ("id2label", "label2id", "problem_type") if named else ()
        return {name: fields[name] for name in kept if fields.get(name) is not None}

    @property
    def base(self) -> str:
        """The path or hub name of the base. Raises ConfigError."""
        base = self.fields.get("base_model_name_or_path")
        if not isinstance(base, str) or not base or len(base) > 1000:
            raise ConfigError(
                f"{self.path} does not name its base (base_model_name_or_path is {reprlib.repr(base)}): "
                "give both, as in load(BASE, adapter=DIRECTORY)"
            )
        return base

    @property
    def head(self) -> str | None:
        """The head that the adapter was trained with, if its task or the class of its base says so."""
        task, mapping = self.fields.get("task_type"), self.fields.get("auto_mapping")
        if isinstance(task, str) and task in ENDINGS:
            return ENDINGS[task]
        name = mapping.get("base_model_class") if isinstance(mapping, Mapping) else None
        endings = tuple(row.ending for row in HEADS.values())
        return head_of([name]) if isinstance(name, str) and name.endswith(endings) else None


MOST_PATTERNS, MOST_MODULES, LONGEST = 500, 1000, 200
"""Limits on the patterns of an adapter, on the modules that it changes, and on the length of their names.

Every pattern is tried at every dot of every module's name. The largest model, XLM-RoBERTa-XXL, has 288 linear modules
in its layers.
"""

LARGEST_WORK = 2 * 10**9
"""Limit on the costs of an adapter's patterns at all dots of its modules' names: up to two seconds."""


REPEAT = re.compile(r"[*+{?]")
"""A repeat, of which a pattern may have only one: a regular expression with many may take very long."""


def _compiled(path: Path, name: str, patterns: Any) -> dict[str, re.Pattern[str]]:
    """The regular expressions of patterns that take little time. Raises ConfigError for others."""
    result: dict[str, re.Pattern[str]] = {}
    if not isinstance(patterns, Mapping) or len(patterns) > MOST_PATTERNS:
        given = reprlib.repr(patterns)
        raise ConfigError(f"{path}: {name} must be an object of at most {MOST_PATTERNS} entries, not {given}")
    for pattern in patterns:
        repeats, groups = len(REPEAT.findall(pattern)), pattern.count("(")
        if len(pattern) > LONGEST or repeats > 1 or groups > 3 or re.search(r"\)[*+{]|\\\d", pattern):
            raise ConfigError(
                f"{path}: a pattern in {name} must have at most {LONGEST} characters, 1 repeat and 3 groups, and no "
                f"back-reference, not {reprlib.repr(pattern)}: {ADVICE}"
            )
        try:
            result[pattern] = re.compile(rf".*\.{pattern}$")
        except (re.error, OverflowError, RecursionError) as error:
            given = reprlib.repr(pattern)
            raise ConfigError(f"{path}: {given} in {name} is not a regular expression: {error}") from error
    return result


def _cost(pattern: str) -> int:
    """About how long a pattern takes at a dot of a name: its length, for each of the ways through its alternatives.

    A repeat tries the rest of the pattern at each character, of which a name has at most `LONGEST`.
    """
    ways = math.prod(part.count("|") + 1 for part in re.split(r"[()]", pattern))
    return (len(pattern) + 20) * ways * (LONGEST // 2 if REPEAT.search(pattern) else 1)


# --- the arrays of an adapter ---------------------------------------------------------------------------------------

PART = re.compile(
    r"(?P<module>.+)\.lora_(?:embedding_)?(?P<which>[AB])(?:\.(?P<name>(?!weight$|bias$)\w+))?(?:\.(?P<of>weight|bias))?"
)
SAVED = re.compile(r"(.+)\.modules_to_save\.(.+)")


@dataclass
class Parts:
    """The arrays of an adapter, by what they do.

    updates: for each module, the names of its arrays A and B, and of B's bias. replaced: the names of arrays that take
    the place of the base's, by their names there. kept: all others, those of the base in a PeftModel's state dict.
    """

    updates: dict[str, dict[str, str]] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def is_part(name: str) -> bool:
    """True if a checkpoint with an array of this name is the state dict of a PeftModel."""
    return ".lora_" in name


def parts_of(arrays: Arrays, whole: bool) -> Parts:
    """Sort the arrays of an adapter. whole: True for a PeftModel's, with those of the base. Raises WeightsError."""
    parts, adapters = Parts(), set()
    for stored in arrays:
        name = WRAPPERS.sub("", stored).removeprefix("base_model.model.").replace(".base_layer.", ".")
        if ".original_module." in name:
            continue
        saved = SAVED.fullmatch(name)
        if saved:
            within = saved[2]
            if whole:  # in an adapter's own file, its name is left out
                adapter, _, within = within.partition(".")
                adapters.add(adapter)
            name = f"{saved[1]}.{within}"
        if part := PART.fullmatch(name):  # maybe within a saved module
            adapters.add(part["name"])
            what = f"{part['which']}{'.bias' if part['of'] == 'bias' else ''}"
            _put(parts.updates.setdefault(part["module"], {}), what, stored, bool(saved))
        elif re.search(r"\.lora_|(^|\.)prompt_|\.ia3_|\.trainable_tokens_", name):
            raise WeightsError(f"{arrays.path} holds {stored[:200]}, which is not a part of LoRA: {ADVICE}")
        else:
            _put(parts.kept if whole and not saved else parts.replaced, name, stored, bool(saved))
    if len(adapters) > 1:
        raise WeightsError(
            f"{arrays.path} holds several adapters ({', '.join(sorted(map(str, adapters)))[:200]}): save one of them"
        )
    return parts


def _put(names: dict[str, str], key: str, stored: str, is_saved: bool) -> None:
    """Set an entry. A file may hold a saved module also under its name without `modules_to_save`, which then wins."""
    if not (is_saved and key in names):
        names[key] = stored


class Merged(Arrays):
    """A base's arrays with an adapter merged into them when they are read. Raises WeightsError for wrong shapes.

    changes: fields of the configuration that follow from the adapter: the head, the number of labels, the size of the
    vocabulary, and whether the decoder is tied. directories: the adapter's, if it has one, and the base's. root: the
    directory that the base must be in, if it is a folder that a file names.
    """

    def __init__(
        self,
        base: Arrays,
        adapter: Arrays,
        parts: Parts,
        settings: Settings,
        directories: tuple[Path, ...],
        root: Path | None,
    ) -> None:
        self.path, self.size, self.format, self.config = base.path, base.size, base.format, base.config
        self.root = root
        self.directories, self._base, self._adapter, self._settings = directories, base, adapter, settings
        self._stored = {plain_name(name): name for name in base}
        self._replaced = {plain_name(name): stored for name, stored in parts.replaced.items()}
        self._updates = {plain_name(f"{module}.weight"): (module, names) for module, names in parts.updates.items()}
        self._scales: dict[str, float] = {}
        self._words_apart = self._has_words_apart()
        if len(self._stored) < len(base):
            raise WeightsError(f"{base.path} has two names for the same weight: remove one of them")
        decoder = [DECODER] if self._words_apart and WORDS in self._stored else []
        self._entries = dict.fromkeys([*self._stored, *self._replaced, *decoder])
        self._check()
        self.changes = self._changes()

    def __getitem__(self, name: str) -> numpy.ndarray:
        array = self._plain(name)
        if name in self._updates:
            return array.astype("f4") + self._product(name)
        bias = self._bias_of(name)
        return array if bias is None else array.astype("f4") + bias

    def stored(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The dtype and shape of an array, as stored in the file of the base or the adapter."""
        source, stored = self._source(name)
        return source.stored(stored)

    def _plain(self, name: str) -> numpy.ndarray:
        source, stored = self._source(name)
        return source[stored]

    def _source(self, name: str) -> tuple[Arrays, str]:
        if name in self._replaced:
            return self._adapter, self._replaced[name]
        if name == DECODER and name not in self._stored:
            return self._base, self._stored[WORDS]
        return self._base, self._stored[name]

    def _product(self, name: str) -> numpy.ndarray:
        """B·A·s in float32, transposed for embeddings, whose A is (r, V) and B (D, r).

        `fan_in_fan_out` has no effect: as in peft, it is only for layers that RoBERTa does not have.
        """
        module, names = self._updates[name]
        a, b = (self._adapter[names[which]].astype("f4") for which in ("A", "B"))
        product = (b @ a) * numpy.float32(self._scales[module])
        return product.T if self._is_embedding(name) else product

    def _bias_of(self, name: str) -> numpy.ndarray | None:
        """The bias of B times s, with `lora_bias`, for the bias of an updated module."""
        module, names = self._updates.get(name.removesuffix(".bias") + ".weight", ("", {}))
        if not name.endswith(".bias") or "B.bias" not in names:
            return None
        return self._adapter[names["B.bias"]].astype("f4") * numpy.float32(self._scales[module])

    @staticmethod
    def _is_embedding(name: str) -> bool:
        return name.endswith("_embeddings.weight")

    def _check(self) -> None:
        if len(self._updates) > MOST_MODULES:
            raise WeightsError(f"the adapter changes {len(self._updates)} modules; the limit is {MOST_MODULES}")
        self._settings.check_work([module for module, _ in self._updates.values()])
        for name, (module, names) in self._updates.items():
            if name not in self._entries or len(module) > LONGEST:
                raise WeightsError(f"the adapter changes {module[:200]}, which the base lacks: give the adapter's base")
            if not {"A", "B"} <= names.keys():
                raise WeightsError(f"the adapter has only one of lora_A and lora_B for {module[:200]}: save it again")
            rank, self._scales[module] = self._settings.scale(module)
            outputs, inputs = self._axes(name)
            expected = {"A": (rank, inputs), "B": (outputs, rank), "B.bias": (outputs,)}
            for which, stored in names.items():
                _check_array(self._adapter, stored, expected[which])

    def _axes(self, name: str) -> tuple[int, ...]:
        shape = self.stored(name)[1]
        if len(shape) != 2:
            raise WeightsError(f"the adapter changes {name[:200]}, which has {len(shape)} axes: it must have 2")
        return shape[::-1] if self._is_embedding(name) else shape

    def _has_words_apart(self) -> bool:
        """True if the adapter changes the input's word embeddings or the decoder alone, so that they are not tied."""
        saved = self._settings.fields.get("modules_to_save") or []
        copied = isinstance(saved, list) and bool({"embeddings", "word_embeddings"} & set(map(str, saved)))
        changed = {*self._updates, *self._replaced}
        return WORDS in self._updates or DECODER in changed or (copied and WORDS in self._replaced)

    def _changes(self) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        head = self._settings.head
        if head is not None:
            changes["architectures"] = [HEADS[head].ending]
        if self._words_apart:
            changes["tie_word_embeddings"] = False
        if WORDS in self._replaced:
            changes["vocab_size"] = self._rows(WORDS)
        for name, letters in HEADS[head or "encoder"].weights.items():
            if letters == "ND" and name in self._replaced:
                changes["num_labels"] = self._rows(name)
                changes |= self._settings.labels(changes["num_labels"])
        return changes

    def _rows(self, name: str) -> int:
        return (self.stored(name)[1] or (0,))[0]


def _check_array(arrays: Arrays, name: str, shape: tuple[int, ...]) -> None:
    dtype, found = arrays.stored(name)
    if found != shape:
        raise WeightsError(f"{arrays.path}: {name[:200]} has shape {found}, but the base and the rank require {shape}")
    if not dtype.startswith(("float", "bfloat")):
        raise WeightsError(f"{arrays.path}: {name[:200]} has dtype {dtype}, but must have a floating-point dtype")


# --- reading --------------------------------------------------------------------------------------------------------


def read_merged(
    repository: Repository,
    adapter: str | Path | None = None,
    *,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Arrays:
    """Read the arrays of a checkpoint, merged with an adapter if there is one.

    repository: of a checkpoint, or an adapter, whose base is found by the name in its configuration. adapter: an
    adapter for the checkpoint, as a path or a hub name. Raises NotFoundError, DownloadError, ConfigError, WeightsError.
    """
    path = repository.model
    place = directory_of(path)
    if adapter is not None:
        found = hub.locate_adapter(adapter, local_files_only=local_files_only, token=token)
        return _merge(repository, found)
    if path.name in FILES or (path.is_dir() and _is_adapter(path) and not read.has_weights(path)):
        return _merge(_base(place, local_files_only, token), path)
    arrays = read.read_raw(path, repository.root)
    if any(map(is_part, arrays)):
        return _within(place, arrays, repository.root)
    if path.is_dir() and (path / CONFIG).is_file():
        warnings.warn(
            f"{path} has an adapter beside its weights, which is not applied: give the same name as adapter= as well",
            stacklevel=3,
        )
    return unwrapped(arrays)


def _is_adapter(directory: Path) -> bool:
    return (directory / CONFIG).is_file() and any((directory / name).is_file() for name in FILES)


def _plain(repository: Repository) -> Arrays:
    """The arrays of a base. Raises WeightsError if it is an adapter as well."""
    base = repository.model
    if base.name in FILES or (base.is_dir() and _is_adapter(base) and not read.has_weights(base)):
        raise WeightsError(f"{base} is an adapter, but an adapter's base must be a model: merge it with peft first")
    return read.read(base, repository.root)


def _base(directory: Path, local_files_only: bool, token: str | bool | None) -> Repository:
    """The base that an adapter names, downloaded if necessary. Raises NotFoundError, DownloadError."""
    settings = _settings(directory)
    name, revision = settings.base, settings.fields.get("revision")
    revision = revision if isinstance(revision, str) and not hub.exists(Path(name)) else None
    try:
        return describe(hub.locate(name, revision=revision, local_files_only=local_files_only, token=token))
    except (NotFoundError, DownloadError) as error:
        advice = f"{settings.path} names it as the base: give the base yourself, as in load(BASE, adapter=...)"
        raise type(error)(f"{error}. {advice}") from error


def _settings(directory: Path, root: Path | None = None) -> Settings:
    return Settings(directory / CONFIG, read_json(directory / CONFIG, ConfigError, root=root), root)


def _merge(base: Repository, adapter: Path) -> Merged:
    arrays, directory = _plain(base), directory_of(adapter)
    settings = _settings(directory)
    file = adapter if adapter.is_file() else next((adapter / x for x in FILES if (adapter / x).is_file()), None)
    if file is None:
        raise NotFoundError(f"{adapter} holds no adapter: it has none of {', '.join(FILES)}")
    given = read.read_raw(directory / file.name, directory)
    places = directory, base.model_directory
    return Merged(arrays, given, parts_of(given, whole=False), settings, places, base.root)


def _within(directory: Path, arrays: Arrays, root: Path | None) -> Merged:
    """The arrays of a PeftModel's state dict, merged."""
    if not (directory / CONFIG).is_file():
        raise WeightsError(
            f"{arrays.path} holds an adapter that is not merged: put its {CONFIG} in the same directory, or {ADVICE}"
        )
    parts = parts_of(arrays, whole=True)
    base = Renamed(arrays, {name: (stored, as_stored) for name, stored in parts.kept.items()})
    return Merged(base, arrays, parts, _settings(directory, root), (directory,), root)
