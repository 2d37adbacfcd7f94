"""The examples of docs/repositories.md run, with small repositories of the same layouts on a hub on loopback."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import embedding_cases
from generators.task_cases import MODEL
from pasted import BLOCK
from support import GOLDEN
from test_hub import Hub, run, serving

import minroberta
from minroberta.checkpoints.files import write_json
from minroberta.checkpoints.formats import safetensors

PAGE = (Path(__file__).parents[1] / "docs" / "repositories.md").read_text(encoding="utf-8")
TOKENIZER = GOLDEN / "tasks_tokenizer.json"

ENTAILMENT = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
LABELS = {0: "negative", 1: "neutral", 2: "positive"}


def model(head: str, tokenizer: bool = True, **fields: Any) -> Callable[[Path], None]:
    """A function that writes a repository with this head."""

    def write(directory: Path) -> None:
        minroberta.init({**MODEL, **fields}, head=head).save(directory)
        if tokenizer:
            shutil.copy(TOKENIZER, directory / "tokenizer.json")

    return write


def embedding(name: str) -> Callable[[Path], None]:
    (case,) = (case for case in embedding_cases.CASES if case.name == name)
    return lambda directory: embedding_cases.write(case, directory)


def summariser(directory: Path) -> None:
    shutil.copytree(GOLDEN / "generation" / "tied", directory, dirs_exist_ok=True)
    shutil.copy(TOKENIZER, directory / "tokenizer.json")


def adapter(directory: Path) -> None:
    D, directory = MODEL["hidden_size"], directory
    shapes = {
        "roberta.encoder.layer.0.attention.self.query.lora_A.weight": (2, D),
        "roberta.encoder.layer.0.attention.self.query.lora_B.weight": (D, 2),
        "classifier.dense.weight": (D, D), "classifier.dense.bias": (D,),
        "classifier.out_proj.weight": (3, D), "classifier.out_proj.bias": (3,),
    }  # fmt: skip
    arrays = {f"base_model.model.{name}": np.ones(shape, np.float32) for name, shape in shapes.items()}
    safetensors.write(directory / "adapter_model.safetensors", arrays, {"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}
    base = {"base_model_name_or_path": "FacebookAI/roberta-base", "modules_to_save": ["classifier"]}
    write_json(directory / "adapter_config.json", {**settings, **base})


REPOSITORIES = {
    "sentence-transformers/all-distilroberta-v1": embedding("mean, normalized"),
    "Snowflake/snowflake-arctic-embed-l-v2.0": embedding("default prompt"),
    "BAAI/bge-reranker-base": model("sequence_classification", num_labels=1),
    "cardiffnlp/twitter-roberta-base-sentiment-latest": model("sequence_classification", id2label=LABELS),
    "FacebookAI/roberta-large-mnli": model("sequence_classification", id2label=ENTAILMENT),
    "Jean-Baptiste/roberta-large-ner-english": model("token_classification", id2label={0: "O", 1: "PER", 2: "LOC"}),
    "deepset/roberta-base-squad2": model("question_answering"),
    "FacebookAI/roberta-base": model("masked_lm"),
    "google/roberta2roberta_L-24_cnn_daily_mail": summariser,
    "someone/roberta-base-lora": adapter,
    "nyu-mll/roberta-base-1B-1": model("masked_lm", tokenizer=False),
}
"""A small repository of the layout of each that the page names."""


@pytest.fixture
def hub(tmp_path: Path) -> Any:
    hub = Hub()
    for name, write in REPOSITORIES.items():
        directory = tmp_path / "repositories" / name
        directory.mkdir(parents=True)
        write(directory)
        files = (path for path in directory.rglob("*") if path.is_file())
        hub.repositories[name] = {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
    with serving(hub):
        yield hub


def test_the_examples_of_the_page(hub: Hub, tmp_path: Path) -> None:
    named = set(re.findall(r'load\("([^"/]+/[^"/]+)"|adapter="([^"/]+/[^"/]+)"', PAGE))
    assert {first or second for first, second in named} == {name for name in REPOSITORIES if name in PAGE}
    script = "\n".join(BLOCK.findall(PAGE))
    assert script.count("minroberta.load(") >= 12
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    assert run(script, cwd=tmp_path, PYTHONWARNINGS="ignore", **settings) == ""
