"""Tiny models for other people's RoBERTas, their inputs, and how each engine's values are kept.

The scripts `make_engines_*.py` put the same weights into engines that nobody here wrote, and keep what these give in
`golden/engines/{engine}.safetensors`; `testing/test_engines.py` compares it. Each script runs in the engine's own
environment, so this file needs nothing but NumPy and safetensors, and any Python from 3.8 on.

A setting is a model and its inputs, named `family/head/padding`. The models have no zero biases, so that a missing one
shows; embeddings of a trained model's size, so that eps shows; pads, so that masks and positions show.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save, save_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENGINES = Path(__file__).parents[1] / "golden" / "engines"

Values = "dict[str, np.ndarray]"
"""Arrays by name."""

VOCAB, HIDDEN, LAYERS, INNER, POSITIONS = 31, 12, 3, 20, 14
LABELS = 3
FAMILIES = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert"}
ENDINGS = {
    "encoder": "Model",
    "masked_lm": "ForMaskedLM",
    "sequence_classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
}
PADDING = ("right", "left", "none")
UNKNOWN = "unknown"
"""In place of the name of a mistake that no catalogue has: `compare` finds it, and `diagnose` names nothing."""


def setting(family: str = "roberta", head: str = "encoder", padding: str = "right") -> str:
    """The name of a model with its inputs."""
    return f"{family}/{head}/{padding}"


def config(name: str) -> dict[str, Any]:
    """The setting's `config.json`. XLM-R and CamemBERT have heads of another size."""
    family, head, _ = name.split("/")
    return {
        "model_type": family,
        "architectures": [FAMILIES[family] + ENDINGS[head]],
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "num_attention_heads": 3 if family == "roberta" else 2,
        "num_hidden_layers": LAYERS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
        "id2label": {str(i): f"LABEL_{i}" for i in range(LABELS)},
        "label2id": {f"LABEL_{i}": i for i in range(LABELS)},
        "torch_dtype": "float32",
    }


def parameters(name: str) -> Values:
    """The setting's float32 weights, by Hugging Face's names without the base model's prefix.

    Word, position and type embeddings have deviation 0.1, 0.05 and 0.02, as trained ones about have; other weights
    and biases 0.3, those of norms around one.
    """
    family, head, _ = name.split("/")
    return {key: _parameter(f"engines/{family}/{key}", shape) for key, shape in _shapes(head).items()}


def _parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    sizes = {"word_embeddings": 0.1, "position_embeddings": 0.05, "token_type_embeddings": 0.02}
    size = next((size for part, size in sizes.items() if part in name), 0.3)
    is_norm = name.endswith(("LayerNorm.weight", "layer_norm.weight"))
    return (is_norm + size * noise).astype(np.float32)


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}


def _shapes(head: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights, by name; the encoder has a pooler."""
    rows = {"word": VOCAB, "position": POSITIONS, "token_type": 1}
    held = {f"embeddings.{kind}_embeddings.weight": (count, HIDDEN) for kind, count in rows.items()}
    held.update(_norm("embeddings.LayerNorm"))
    for layer in (f"encoder.layer.{i}" for i in range(LAYERS)):
        for part in ("query", "key", "value"):
            held.update(_linear(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN))
        held.update(_linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN))
        held.update(_norm(f"{layer}.attention.output.LayerNorm"))
        held.update(_linear(f"{layer}.intermediate.dense", HIDDEN, INNER))
        held.update(_linear(f"{layer}.output.dense", INNER, HIDDEN))
        held.update(_norm(f"{layer}.output.LayerNorm"))
    if head == "encoder":
        held.update(_linear("pooler.dense", HIDDEN, HIDDEN))
    elif head == "masked_lm":
        held.update(_linear("lm_head.dense", HIDDEN, HIDDEN))
        held.update(_norm("lm_head.layer_norm"))
        held["lm_head.bias"] = (VOCAB,)
    elif head == "sequence_classification":
        held.update(_linear("classifier.dense", HIDDEN, HIDDEN))
        held.update(_linear("classifier.out_proj", HIDDEN, LABELS))
    else:
        held.update(_linear("classifier", HIDDEN, LABELS))
    return held


def inputs(name: str) -> Values:
    """The setting's input_ids and attention_mask, int64 (2, 6): the second text has four tokens and two pads.

    Special tokens (`<s>`, `</s>`, `<unk>`) stand at the ends and within. Without padding both have six tokens.
    """
    padding = name.rsplit("/", 1)[1]
    ids = np.random.RandomState(zlib.crc32(b"engines")).randint(4, VOCAB, (2, 6)).astype(np.int64)
    ids[:, 0], ids[0, 3], ids[:, -1] = 0, 3, 2
    if padding != "none":
        text = ids[1, [0, 1, 2, 5]].copy()
        ids[1] = 1
        ids[1, slice(2, 6) if padding == "left" else slice(4)] = text
    return {"input_ids": ids, "attention_mask": (ids != 1).astype(np.int64)}


def with_prefix(name: str) -> Values:
    """The weights under the names that Hugging Face's class stores, such as `roberta.embeddings.LayerNorm.weight`.

    The decoder of a language-model head is there under its own name too, as in files of transformers 4.
    """
    _, head, _ = name.split("/")
    weights = parameters(name)
    if head == "encoder":
        return weights
    heads = ("lm_head.", "classifier.")
    result = {key if key.startswith(heads) else f"roberta.{key}": value for key, value in weights.items()}
    if head == "masked_lm":
        result["lm_head.decoder.weight"] = weights["embeddings.word_embeddings.weight"].copy()
        result["lm_head.decoder.bias"] = weights["lm_head.bias"].copy()
    return result


def write(name: str, folder: str | Path, tied: bool = False) -> Path:
    """Write the setting's model as a repository of Hugging Face: `config.json` and `model.safetensors`.

    tied: a tensor that has two names is there once, under the first, as many files have it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(name), indent=1))
    weights = with_prefix(name)
    if tied:
        weights = {key: x for key, x in weights.items() if not key.startswith("lm_head.decoder.")}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


# --- what the engines gave ------------------------------------------------------------------------------------------


class Candidates:
    """The values of an engine, collected and then saved to `golden/engines/{engine}.safetensors`.

    Values are float32 under `{candidate}|{name}`. The file's metadata has `engine`, its name with the version, and
    `candidates`, a JSON object with `setting`, `names`, `mistakes`, `precision` and `packed` of each.
    """

    def __init__(self, engine: str, version: str) -> None:
        self.engine, self.version = engine, version
        self.about: dict[str, dict[str, Any]] = {}
        self.arrays: dict[str, np.ndarray] = {}

    def add(
        self,
        name: str,
        setting: str,
        values: Values,
        *,
        mistakes: Sequence[str] = (),
        names: dict[str, str | None] | None = None,
        precision: str = "float32",
        packed: bool = False,
        keep: Callable[[str], bool] | None = None,
    ) -> None:
        """Add a candidate.

        name: such as `torchtext/encoder/right`, unique. mistakes: the names of the mistakes that this port makes;
        none for a right one. A name may have alternatives, `a|b`, of which each is right. names: its name map, from
        the engine's names (or patterns) to ours, or None to leave a value out. precision: the dtype in which the
        port computes. packed: values are (tokens, D), without padding. keep: which values to store.
        """
        if name in self.about:
            raise ValueError(f"two candidates {name!r}")
        kept = {key: value for key, value in values.items() if keep is None or keep(key)}
        if names is not None:  # only the rows that this candidate needs
            names = {theirs: ours for theirs, ours in names.items() if any(re.fullmatch(theirs, key) for key in kept)}
        self.about[name] = {
            "setting": setting,
            "mistakes": list(mistakes),
            "names": names,
            "precision": precision,
            "packed": packed,
        }
        for key, value in kept.items():
            self.arrays[f"{name}|{key}"] = np.ascontiguousarray(value, np.float32)

    def save(self) -> None:
        """Write the file; the same bytes every time."""
        ENGINES.mkdir(parents=True, exist_ok=True)
        about = json.dumps(self.about, sort_keys=True)
        data = save(self.arrays, {"engine": f"{self.engine} {self.version}", "candidates": about})
        (ENGINES / f"{self.engine}.safetensors").write_bytes(_in_order(data))


def _in_order(data: bytes) -> bytes:
    """The same file with a sorted header: safetensors writes the metadata in any order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def stored() -> list[tuple[str, str, dict[str, Any], Values]]:
    """Each stored candidate: the engine with its version, the name, what `add` was told, the values."""
    found = []
    for path in sorted(ENGINES.glob("*.safetensors")):
        with safe_open(str(path), framework="numpy") as file:
            about = file.metadata()
            values: dict[str, dict[str, np.ndarray]] = {}
            for key in file.keys():  # noqa: SIM118
                candidate, _, name = key.rpartition("|")
                values.setdefault(candidate, {})[name] = file.get_tensor(key)
        for candidate, told in json.loads(about["candidates"]).items():
            found.append((about["engine"], candidate, told, values[candidate]))
    return found
