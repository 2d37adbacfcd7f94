"""Tiny repositories of sentence-transformers, and texts for them; weights come from frozen random streams.

Shared by `make_sentence_transformers.py`, which needs that library, and by the tests, which need minroberta. It imports
neither.
"""

import json
import lzma
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from generators import GOLDEN
from generators.cases import parameter
from generators.task_cases import MODEL, random_weight

OLD, NEW = "3.4.1", "6.2.0"
"""The versions of sentence-transformers that the cases are run with."""

TEXTS = [
    "Anna Berg moved to Glasgow.",
    "In 1922, a machine (from Hamburg) took her place - didn't it?",
    "  she KEPT a Diary\t",
    "The storm\n",
    "",
]
PAIRS = [("Who moved?", "Anna Berg moved to Glasgow."), ("When?", "In 1922, a machine took her place.")]

FAMILIES = {
    "roberta": ("Roberta", {}),
    "xlm-roberta": ("XLMRoberta", {"bos_token_id": 0, "eos_token_id": 2}),
    "camembert": ("Camembert", {"bos_token_id": 5, "eos_token_id": 6}),
}
"""The beginning of each family's classes, and its ids of special tokens."""

D = MODEL["hidden_size"]
PLACE = "sentence_transformers.models."
NEW_PLACES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "Dropout": "sentence_transformers.sentence_transformer.modules.dropout.Dropout",
}
"""The classes of modules in version 6."""

IDENTITY = "torch.nn.modules.linear.Identity"
TANH = "torch.nn.modules.activation.Tanh"


@dataclass(frozen=True)
class Case:
    """A repository.

    modules: the modules after the model, each a class with its settings; None for a repository without `modules.json`.
    settings: those of the model, in the file `settings_name`. tokenizer: fields of `tokenizer_config.json`.
    library: `config_sentence_transformers.json`. config: further fields of `config.json`. options: arguments of
    `encode`, some under other names than in the library. labels: number of labels of a cross-encoder, or None.
    family: the model's type. Those other than roberta have a sentencepiece model and no `tokenizer.json`.
    """

    name: str
    modules: tuple[tuple[str, dict[str, Any]], ...] | None = None
    settings: dict[str, Any] | None = None
    settings_name: str = "sentence_bert_config.json"
    tokenizer: dict[str, Any] = field(default_factory=dict)
    library: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    folder: str = ""
    dense_file: str = "model.safetensors"
    labels: int | None = None
    version: str = OLD
    family: str = "roberta"


def pooling(*modes: str, **others: Any) -> tuple[str, dict[str, Any]]:
    """Settings of Pooling in the older spelling."""
    names = {
        "cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens",
        "mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken",
    }  # fmt: skip
    switches = {f"pooling_mode_{long}": short in modes for short, long in names.items()}
    return "Pooling", {"word_embedding_dimension": D, **switches, **others}


def dense(inputs: int, outputs: int, bias: bool, activation: str) -> tuple[str, dict[str, Any]]:
    settings = {"in_features": inputs, "out_features": outputs, "bias": bias, "activation_function": activation}
    return "Dense", settings


MEAN = pooling("mean")
NORMALIZE, DROPOUT = ("Normalize", {}), ("Dropout", {"dropout": 0.1})
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
PROMPTS = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "query"}

CASES = [
    Case("plain"),
    Case("plain, model_max_length", tokenizer={"model_max_length": 8}),
    Case("mean, normalized", (MEAN, NORMALIZE), {"max_seq_length": 64, "do_lower_case": False}),
    Case("max_seq_length", (MEAN, NORMALIZE), {"max_seq_length": 8, "do_lower_case": False}),
    Case("model_max_length", (MEAN,), {"max_seq_length": None}, tokenizer={"model_max_length": 8}),
    Case("do_lower_case", (MEAN,), {"max_seq_length": 64, "do_lower_case": True}),
    *(Case(f"pooling {mode}", (pooling(mode),), {"max_seq_length": 64}) for mode in MODES),
    Case("pooling by name", (("Pooling", {"word_embedding_dimension": D, "pooling_mode": "lasttoken"}),)),
    Case("pooling mean and max", (pooling("mean", "max"),)),
    Case("pooling all", (pooling(*MODES), NORMALIZE)),
    Case("dense", (MEAN, dense(D, 16, True, IDENTITY), NORMALIZE)),
    Case("dense, no bias", (pooling("cls", "mean"), dense(2 * D, 16, False, TANH)), dense_file="pytorch_model.bin"),
    *(
        Case(f"dense {name}", (MEAN, DROPOUT, dense(D, 8, True, f"torch.nn.modules.activation.{name}")))
        for name in ("ReLU", "GELU", "Sigmoid", "SiLU", "Mish")
    ),
    Case("layer norm", (MEAN, ("LayerNorm", {"dimension": D}))),
    Case("default prompt", (MEAN, NORMALIZE), library=PROMPTS),
    Case("prompt by name", (MEAN, NORMALIZE), library=PROMPTS, options={"prompt_name": "passage"}),
    Case("prompt", (MEAN, NORMALIZE), library=PROMPTS, options={"prompt": " About "}),
    *(
        Case(f"prompt left out, {mode}", (pooling(mode, include_prompt=False),), library=PROMPTS)
        for mode in MODES
    ),
    Case(
        "old layout", (MEAN,), {"max_seq_length": 12, "do_lower_case": True}, "sentence_roberta_config.json",
        folder="0_Transformer",
    ),
    Case("truncated", (MEAN, NORMALIZE), options={"truncate_dim": 8}),
    Case("truncated and normalized", (MEAN, NORMALIZE), options={"truncate_dim": 8, "normalize": True}),
    Case("normalized by argument", options={"normalize": True}),
    Case(
        "version 6", (
            ("Pooling", {"embedding_dimension": D, "pooling_mode": ["mean", "cls"], "include_prompt": True}),
            ("Dense", dense(2 * D, 16, True, TANH)[1] | {"module_input_name": "sentence_embedding"}),
            ("LayerNorm", {"dimension": 16}), NORMALIZE, DROPOUT,
        ),
        {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"},
        tokenizer={"model_max_length": 12}, version=NEW,
        library={"model_type": "SentenceTransformer", "prompts": {"query": "About:"}, "default_prompt_name": "query"},
    ),
    Case("xlm-roberta", (MEAN, NORMALIZE), {"max_seq_length": 16, "do_lower_case": False}, family="xlm-roberta"),
    Case("camembert", (pooling("cls"),), {"max_seq_length": 16}, library=PROMPTS, family="camembert"),
    Case(
        "dense, residual", (MEAN, ("Dense", {**dense(D, D, True, TANH)[1], "use_residual": True}), NORMALIZE),
        version=NEW,
    ),
    Case("dense, residual of another size", (MEAN, ("Dense", {**dense(D, 8, False, TANH)[1], "use_residual": True}),),
         version=NEW),
    Case(
        "empty prompt left out", (pooling("mean", include_prompt=False),), library=PROMPTS, options={"prompt": ""},
        version=NEW,
    ),
    Case("truncated by the repository", (MEAN, NORMALIZE), library={"truncate_dim": 8}, version=NEW),
    Case("version 6, by name", (("Pooling", {"embedding_dimension": D, "pooling_mode": "weightedmean"}),), version=NEW),
    Case("reranker", labels=1),
    Case("reranker, xlm-roberta", labels=1, family="xlm-roberta"),
    Case(
        "reranker, camembert", labels=1, config={"sbert_ce_default_activation_function": IDENTITY}, family="camembert"
    ),
    Case("reranker, field of old versions", labels=1, config={"sbert_ce_default_activation_function": IDENTITY}),
    Case("reranker, tanh", labels=1, config={"sbert_ce_default_activation_function": TANH}),
    Case("reranker, version 6 without an activation", labels=1, version=NEW),
    Case(
        "reranker, field of version 4", labels=1, config={"sentence_transformers": {"activation_fn": IDENTITY}},
        version=NEW,
    ),
    Case(
        "reranker, file of version 6", (),
        {"transformer_task": "sequence-classification", "module_output_name": "scores",
         "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}}},
        labels=1, library={"model_type": "CrossEncoder", "activation_fn": IDENTITY, "prompts": {}}, version=NEW,
    ),
]  # fmt: skip


# --- the files ------------------------------------------------------------------------------------------------------


def shapes(labels: int | None) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's weights under their canonical names."""
    F, P, V = MODEL["intermediate_size"], MODEL["max_position_embeddings"], MODEL["vocab_size"]
    matrices: dict[str, tuple[int, ...]] = {}
    for layer in range(MODEL["num_hidden_layers"]):
        here = f"encoder.layer.{layer}"
        square = ("self.query", "self.key", "self.value", "output.dense")
        matrices |= {f"{here}.attention.{name}": (D, D) for name in square}
        matrices |= {f"{here}.intermediate.dense": (F, D), f"{here}.output.dense": (D, F)}
        matrices |= {f"{here}.{name}.LayerNorm": (D,) for name in ("attention.output", "output")}
    matrices["embeddings.LayerNorm"] = (D,)
    if labels is None:
        matrices["pooler.dense"] = (D, D)
    else:
        matrices |= {"classifier.dense": (D, D), "classifier.out_proj": (labels, D)}
    tables = {"word_embeddings": V, "position_embeddings": P, "token_type_embeddings": MODEL["type_vocab_size"]}
    result: dict[str, tuple[int, ...]] = {f"embeddings.{name}.weight": (rows, D) for name, rows in tables.items()}
    for name, shape in matrices.items():
        result |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return result


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    save_file({name: x.astype(np.float32) for name, x in arrays.items()}, path, metadata={"format": "pt"})


def of_module(index: int, kind: str, settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The weights of a module, by name."""
    if kind == "Dense":
        size = settings["out_features"], settings["in_features"]
        found = {
            "linear.weight": parameter(f"{index}.weight", size),
            "linear.bias": parameter(f"{index}.bias", size[:1]),
        }
        if settings.get("use_residual") and size[0] != size[1]:
            found["residual.weight"] = parameter(f"{index}.residual", size)
        return {name: x for name, x in found.items() if settings["bias"] or name != "linear.bias"}
    if kind == "LayerNorm":
        size = (settings["dimension"],)
        return {"norm.weight": 1 + parameter(f"{index}.norm", size), "norm.bias": parameter(f"{index}.bias", size)}
    return {}


def write(case: Case, directory: Path) -> None:
    """Write the repository."""
    model = directory / case.folder
    model.mkdir(parents=True, exist_ok=True)
    base = "" if case.labels is None else "roberta."  # the prefix of all three families
    arrays = {name: random_weight(name, shape) for name, shape in shapes(case.labels).items()}
    of_head = ("classifier",)
    save(
        model / "model.safetensors",
        {("" if name.startswith(of_head) else base) + name: x for name, x in arrays.items()},
    )
    labels = {} if case.labels is None else {"id2label": {str(i): f"LABEL_{i}" for i in range(case.labels)}}
    name, ids = FAMILIES[case.family]
    architecture = name + ("ForMaskedLM" if case.labels is None else "ForSequenceClassification")
    fields = {"model_type": case.family, **ids, **labels, "architectures": [architecture], **case.config}
    write_json(model / "config.json", {**MODEL, **fields})
    if case.family == "roberta":
        shutil.copy(GOLDEN / "tasks_tokenizer.json", model / "tokenizer.json")
    else:
        pieces = lzma.decompress((GOLDEN / "checkpoints" / "sentencepiece" / "unigram.model.xz").read_bytes())
        (model / "sentencepiece.bpe.model").write_bytes(pieces)
    limit = MODEL["max_position_embeddings"] - 2
    settings = {"tokenizer_class": f"{name}Tokenizer", "model_max_length": limit, **case.tokenizer}
    write_json(model / "tokenizer_config.json", settings)
    if case.settings is not None:
        write_json(model / case.settings_name, case.settings)
    if case.library is not None:
        write_json(directory / "config_sentence_transformers.json", case.library)
    if case.modules is not None:
        _write_modules(case, directory)


def _write_modules(case: Case, directory: Path) -> None:
    listed = []
    for index, (kind, settings) in enumerate((("Transformer", {}), *case.modules)):
        path = f"{index}_{kind}" if index else case.folder
        type_ = NEW_PLACES[kind] if case.version == NEW else PLACE + kind
        listed.append({"idx": index, "name": str(index), "path": path, "type": type_})
        if index:
            write_json(directory / path / "config.json", settings)
        arrays = of_module(index, kind, settings)
        if arrays and case.dense_file == "model.safetensors":
            save(directory / path / case.dense_file, arrays)
        elif arrays and (GOLDEN / "embeddings_dense.bin").is_file():
            shutil.copy(GOLDEN / "embeddings_dense.bin", directory / path / case.dense_file)
    write_json(directory / "modules.json", listed)
