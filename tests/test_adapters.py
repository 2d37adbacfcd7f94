"""LoRA: adapters that peft wrote, merged into their base, give what peft's models give; hostile ones are refused."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import GOLDEN
from safetensors.numpy import load_file, save_file
from support import raises, slow_but

import minroberta
from minroberta import ConfigError, Model, NotFoundError, WeightsError
from minroberta.checkpoints import adapters
from minroberta.checkpoints.arrays import Arrays
from minroberta.checkpoints.formats import pytorch

ADAPTERS = GOLDEN / "adapters"
BASE = ADAPTERS / "base"
HEADS = {
    "seq_cls": "sequence_classification",
    "token_cls": "token_classification",
    "patterns": "masked_lm",
    "fan_in": "masked_lm",
    "embeddings": "masked_lm",
    "lora_bias": "masked_lm",
    "lm_head": "masked_lm",
    "features": "encoder",
    "saved_dense": "sequence_classification",
    "decoder": "masked_lm",
}
ROUNDING = 1e-5
"""A part of the largest output. peft adds the product to the output in each call; here it is added to the weights."""


def assert_equal(model: Model, name: str) -> None:
    expected = load_file(ADAPTERS / name / "expected.safetensors")
    output = expected["output"]
    assert (
        abs(model(expected["input_ids"], expected["attention_mask"])[0] - output).max() < ROUNDING * abs(output).max()
    )


@pytest.mark.parametrize("name", HEADS)
def test_an_adapter_gives_what_peft_gives(name: str) -> None:
    model = minroberta.load(BASE, adapter=ADAPTERS / name)
    assert model.head == HEADS[name]
    assert model.config.num_labels == (3 if name in ("seq_cls", "token_cls", "saved_dense") else 2)
    assert_equal(model, name)


@pytest.mark.parametrize("name", HEADS)
def test_an_adapter_changes_the_outputs(name: str) -> None:
    """Otherwise the test above would not see that an adapter was left out."""
    expected = load_file(ADAPTERS / name / "expected.safetensors")
    plain = minroberta.load(BASE, head=HEADS[name], missing="init", config={"num_labels": 3})
    assert abs(plain(expected["input_ids"], expected["attention_mask"])[0] - expected["output"]).max() > 1e-3


def test_the_base_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ADAPTERS)
    assert_equal(minroberta.load("seq_cls"), "seq_cls")
    assert_equal(minroberta.load(ADAPTERS / "lm_head" / "adapter_model.safetensors"), "lm_head")


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    adapter(tmp_path, base_model_name_or_path="./nowhere")
    with raises(NotFoundError, FileNotFoundError, "no directory or file ./nowhere", "load(BASE, adapter=...)"):
        minroberta.load(tmp_path)


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_base_whose_name_no_system_has(revision: str | None, tmp_path: Path) -> None:
    adapter(tmp_path, base_model_name_or_path="a" * 300, revision=revision)
    with raises(NotFoundError, FileNotFoundError, "names it as the base: give the base yourself"):
        minroberta.load(tmp_path)


@pytest.mark.parametrize("name", ["whole", "whole_dense"])
def test_a_peft_model_saved_whole(name: str) -> None:
    assert_equal(minroberta.load(ADAPTERS / name), name)


def test_a_peft_model_saved_whole_without_its_settings(tmp_path: Path) -> None:
    shutil.copytree(ADAPTERS / "whole", tmp_path, dirs_exist_ok=True)
    (tmp_path / "adapter_config.json").unlink()
    with raises(WeightsError, ValueError, "holds an adapter that is not merged: put its adapter_config.json"):
        minroberta.load(tmp_path)


def test_a_merged_model_is_saved_and_loaded(tmp_path: Path) -> None:
    for name in ("seq_cls", "embeddings", "lm_head"):
        minroberta.load(BASE, adapter=ADAPTERS / name).save(tmp_path / name)
        assert_equal(minroberta.load(tmp_path / name), name)


def test_the_base_in_another_dtype_and_under_wrapped_names(tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path, dirs_exist_ok=True)
    arrays = load_file(BASE / "model.safetensors")
    save_file({f"module.{name}": x.astype("f8") for name, x in arrays.items()}, tmp_path / "model.safetensors")
    assert_equal(minroberta.load(tmp_path, adapter=ADAPTERS / "patterns"), "patterns")


def test_a_base_in_a_folder_of_a_sentence_transformers_repository(tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path / "0_Transformer")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    kinds = {"0_Transformer": "Transformer", "1_Pooling": "Pooling"}
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    model = minroberta.load(tmp_path, adapter=ADAPTERS / "features")
    assert model.embedding and model.embedding.poolings == ("cls",)
    assert_equal(model, "features")


@pytest.mark.parametrize("named", [True, False])
def test_the_folder_of_a_base_that_is_exchanged(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link in its place, after the weights were read, leads to no `config.json` outside."""
    folder, sort = tmp_path / "base/0_Transformer", adapters.parts_of
    for place in (folder, tmp_path / "outside"):
        shutil.copytree(BASE, place)
    listed = [{"path": folder.name, "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "base/modules.json").write_text(json.dumps(listed))
    adapter(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "base"))

    def exchange(arrays: Arrays, whole: bool) -> adapters.Parts:
        folder.rename(tmp_path / "aside")
        folder.symlink_to(tmp_path / "outside")
        return sort(arrays, whole)

    monkeypatch.setattr(adapters, "parts_of", exchange)
    with raises(ConfigError, ValueError, "is a link that points outside its directory"):
        if named:
            minroberta.load(tmp_path / "adapter")
        minroberta.load(tmp_path / "base", adapter=tmp_path / "adapter")


def test_a_classifier_on_a_sentence_transformers_repository(tmp_path: Path) -> None:
    """The head of the adapter comes before that of `modules.json`."""
    shutil.copytree(BASE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    assert minroberta.load(tmp_path).head == "encoder"
    assert_equal(minroberta.load(tmp_path, adapter=ADAPTERS / "seq_cls"), "seq_cls")


def test_an_adapter_beside_a_whole_model(tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path, dirs_exist_ok=True)
    shutil.copytree(ADAPTERS / "fan_in", tmp_path, dirs_exist_ok=True)
    with pytest.warns(UserWarning, match="has an adapter beside its weights, which is not applied: give the same name"):
        plain = minroberta.load(tmp_path)
    assert np.array_equal(plain([[0, 5, 2]]).logits, minroberta.load(BASE)([[0, 5, 2]]).logits)
    assert_equal(minroberta.load(tmp_path, adapter=tmp_path), "fan_in")


# --- what is refused ------------------------------------------------------------------------------------------------


def adapter(directory: Path, change: Callable[[dict[str, Any]], Any] | None = None, **fields: Any) -> None:
    """An adapter as peft wrote it, with changed arrays or fields."""
    shutil.copytree(ADAPTERS / "seq_cls", directory, dirs_exist_ok=True)
    settings = json.loads((directory / "adapter_config.json").read_text())
    (directory / "adapter_config.json").write_text(json.dumps({**settings, **fields}))
    arrays = load_file(directory / "adapter_model.safetensors")
    if change:
        change(arrays)
        save_file(arrays, directory / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"peft_type": "IA3"}, "is an adapter of the type 'IA3', but only LORA is supported: load it with peft, merge"),
        ({"peft_type": None}, "is not the configuration of a peft adapter, since it has no peft_type"),
        ({"use_dora": True}, "has use_dora, which is not supported: load it with peft, merge it there"),
        ({"layer_replication": [[0, 1]]}, "has layer_replication, which is not supported"),
        ({"trainable_token_indices": [5, 6]}, "has trainable_token_indices, which is not supported: load it with peft"),
        ({"init_lora_weights": "pissa_niter_4"}, "was trained on a changed base (init_lora_weights 'pissa_niter_4')"),
        ({"r": 0}, "the rank r must be an integer from 1 to 2147483647, not 0"),
        ({"r": "2"}, "the rank r must be an integer from 1 to 2147483647, not '2'"),
        ({"r": 10**400, "use_rslora": True}, "the rank r must be an integer from 1 to 2147483647, not 1000"),
        ({"rank_pattern": {"query": 10**400}, "lora_alpha": 0.5}, "the rank r must be an integer from 1 to 2147483647"),
        ({"lora_alpha": 10**400}, "lora_alpha must be a finite number, not 1000"),
        ({"lora_alpha": None}, "lora_alpha must be a finite number, not None"),
        ({"lora_alpha": 1e300}, "lora_alpha must be a finite number, not 1e+300"),
        ({"r": 3}, "has shape (2, 32), but the base and the rank require (3, 32)"),
        ({"rank_pattern": [1]}, "rank_pattern must be an object of at most 500 entries, not [1]"),
        ({"rank_pattern": {"(a+)+b": 1}}, "a pattern in rank_pattern must have at most 200 characters, 1 repeat and"),
        ({"alpha_pattern": {".*.*.*.*x": 1}}, "a pattern in alpha_pattern must have at most 200 characters, 1 repeat"),
        ({"alpha_pattern": {r"(.*)\1y": 1}}, "characters, 1 repeat and 3 groups, and no back-reference, not"),
        ({"alpha_pattern": {"(|a)" * 40: 1}}, "a pattern in alpha_pattern must have at most 200 characters, 1 repeat"),
        ({"alpha_pattern": {"[": 1}}, "'[' in alpha_pattern is not a regular expression"),
    ],
)
def test_settings_that_are_refused(fields: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    adapter(tmp_path, **fields)
    with pytest.raises((ConfigError, WeightsError)) as caught:
        minroberta.load(BASE, adapter=tmp_path)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 500


QUERY = "base_model.model.roberta.encoder.layer.0.attention.self.query"
WORDS = "base_model.model.roberta.embeddings.word_embeddings"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x.pop(f"{QUERY}.lora_A.weight"), "has only one of lora_A and lora_B for roberta.encoder.layer.0"),
        (lambda x: x.update({f"{QUERY}.lora_B.weight": np.ones((9, 2), "f4")}), "has shape (9, 2), but the base and"),
        (lambda x: x.update({f"{QUERY}.lora_B.weight": np.ones((32, 2), "i4")}), "has dtype int32, but must have a"),
        (
            lambda x: x.update({f"{WORDS}.token_adapter.trainable_tokens_delta": np.ones((2, 32), "f4")}),
            "which is not a part of LoRA",
        ),
        (lambda x: x.update({f"{QUERY}.lora_magnitude_vector": np.ones(32, "f4")}), "which is not a part of LoRA"),
        (
            lambda x: x.update({f"base_model.model.other.lora_{i}.weight": np.ones((2, 2), "f4") for i in "AB"}),
            "the adapter changes other, which the base lacks: give the adapter's base",
        ),
        (
            lambda x: x.update(
                {
                    f"base_model.model.classifier.dense.{y}.lora_{i}.weight": np.ones((2, 2), "f4")
                    for i in "AB"
                    for y in "ab"
                }
            ),
            "the adapter changes classifier.dense.a, which the base lacks",
        ),
        (
            lambda x: x.update({f"{QUERY}.lora_{i}.{y}.weight": np.ones((2, 2), "f4") for i in "AB" for y in "ab"}),
            "holds several adapters (",
        ),
    ],
)
def test_arrays_that_are_refused(change: Callable[[dict[str, Any]], Any], sentence: str, tmp_path: Path) -> None:
    adapter(tmp_path, change)
    with raises(WeightsError, ValueError, sentence):
        minroberta.load(BASE, adapter=tmp_path)


def test_an_adapter_of_an_adapter(tmp_path: Path) -> None:
    adapter(tmp_path, base_model_name_or_path=str(tmp_path))
    with raises(WeightsError, ValueError, "is an adapter, but an adapter's base must be a model"):
        minroberta.load(tmp_path)


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "one", "a/b/c"])
def test_an_adapter_that_is_not_there(name: str) -> None:
    with raises(NotFoundError, FileNotFoundError, f"there is no adapter {name}: give a directory, or a name"):
        minroberta.load(BASE, adapter=name)


def test_a_directory_that_is_not_an_adapter(tmp_path: Path) -> None:
    with raises(NotFoundError, FileNotFoundError, "there is no adapter_config.json in"):
        minroberta.load(BASE, adapter=tmp_path)
    shutil.copy(ADAPTERS / "fan_in" / "adapter_config.json", tmp_path)
    with raises(NotFoundError, FileNotFoundError, "holds no adapter: it has none of adapter_model.safetensors, "):
        minroberta.load(BASE, adapter=tmp_path)


def test_adapters_of_pytorch_are_read_as_data() -> None:
    """The same reader as for weights, which runs no code."""
    assert isinstance(pytorch.File(ADAPTERS / "token_cls" / "adapter_model.bin").content, dict)


def test_many_modules_are_refused(tmp_path: Path) -> None:
    arrays = {f"base_model.model.{i}.lora_A.weight": np.zeros((2, 2), "f4") for i in range(1001)}
    adapter(tmp_path, lambda x: x.update(arrays))
    with raises(WeightsError, ValueError, "the adapter changes 1005 modules; the limit is 1000"):
        minroberta.load(BASE, adapter=tmp_path)


ALTERNATIVES = "(" + "|".join(["..", r".\w", r"\w.", r"\w\w", ".[^b]", "[^b].", "[^c].", ".[^c]"]) + ")"
LONG = "[^x]*" + "[^x]" * 45 + "y"
PATTERNS = ["a" * 196, "[^x]" * 48, ".*[^q]y", LONG, ALTERNATIVES * 3, "(.|.)(.|.)(.|.).*[^q]y", "[^x]*[ab.][ab.]y"]
"""Patterns that match no name, or only after trying much."""


def settings_of(patterns: list[str]) -> adapters.Settings:
    entries = dict.fromkeys(patterns, 1)
    fields = {"peft_type": "LORA", "alpha_pattern": entries, "rank_pattern": entries}
    return adapters.Settings(Path("adapter_config.json"), fields)


@pytest.mark.parametrize("pattern", slow_but(PATTERNS, ALTERNATIVES * 3))
def test_patterns_take_no_time(pattern: str) -> None:
    """As many patterns as are allowed, on as many modules, with as many dots in their names."""
    modules = [f"{'a.' * 98}{i:03}" for i in range(1000)]
    patterns = [f"{pattern}{i:03}"[-adapters.LONGEST :] for i in range(500)]
    with raises(ConfigError, ValueError, "in rank_pattern that may take too long on the names of 1000 modules"):
        settings_of(patterns).check_work(modules)
    most = max(1, adapters.LARGEST_WORK // (99_000 * adapters._cost(patterns[0])))
    settings = settings_of(patterns[:most])
    modules = modules[: adapters.LARGEST_WORK // (99 * most * adapters._cost(patterns[0]))]
    settings.check_work(modules)
    start = time.process_time()
    for module in modules:
        settings.scale(module)
    assert time.process_time() - start < 5


def test_patterns_of_a_large_model() -> None:
    """A rank for each module of the largest model, as peft writes them, and groups of its layers."""
    parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
             "intermediate.dense", "output.dense"]  # fmt: skip
    modules = [f"roberta.encoder.layer.{i}.{part}" for i in range(48) for part in parts]
    layers = "|".join(map(str, range(48)))
    settings = settings_of([*(name.replace(".", r"\.") for name in modules), rf"layer\.({layers})\.attention.*query"])
    settings.check_work(modules)


def test_an_adapter_whose_patterns_take_long(tmp_path: Path) -> None:
    adapter(tmp_path, rank_pattern={f"({'|'.join('.' * 20)})" * 3 + f"q{i}": 2 for i in range(500)})
    with raises(ConfigError, ValueError, "has patterns in rank_pattern that may take too long on the names of"):
        minroberta.load(BASE, adapter=tmp_path)
