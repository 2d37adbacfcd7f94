"""Checkpoints in every way that they are written: loaded, initialised, saved; and errors for invalid ones."""

import functools
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from support import TINY, alone, flatten, raises, tiny, weights_of

import minroberta
from minroberta import (
    BackendError,
    Config,
    ConfigError,
    InputError,
    Model,
    NameUnknownError,
    NotFoundError,
    SaveError,
    WeightsError,
    weights,
)
from minroberta.config import BODY, FAMILIES, HEADS, PRESETS
from minroberta.weights import flat, heads_in, shapes, tree

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"

pytestmark = pytest.mark.filterwarnings("ignore:head 'causal_lm' attends in both directions")

Arrays = dict[str, np.ndarray]

IDS = [[5, 9, 30, 1], [7, 8, 9, 10]]
PREFIXES = ("", "roberta.", "roberta_prelayernorm.", "data2vec_text.")
WORDS = "embeddings.word_embeddings.weight"


# --- checkpoints ----------------------------------------------------------------------------------------------------


def config_of(**fields: Any) -> Config:
    return Config.from_dict({**TINY, **fields})


@functools.cache
def _arrays(head: str, fields: str) -> Arrays:
    config = config_of(**json.loads(fields))
    return {name: x.astype("f4") for name, x in weights_of(config, head).items()}


def arrays_of(head: str = "encoder", **fields: Any) -> Arrays:
    """A tiny model's weights under canonical names, in float32."""
    return dict(_arrays(head, json.dumps(fields)))


def named(arrays: Arrays, family: str = "roberta", prefix: str = "roberta.") -> Arrays:
    """The weights under a family's names, the base model's with this prefix."""
    own = FAMILIES[family].own_name
    return {(prefix if name.split(".")[0] in BODY else "") + own(name): x for name, x in arrays.items()}


def write_config(directory: Path, **fields: Any) -> None:
    (directory / "config.json").write_text(json.dumps({**TINY, **fields}))


def checkpoint(directory: Path, arrays: Arrays, **fields: Any) -> Path:
    """A directory with this config and these weights, as transformers would write it."""
    directory.mkdir(exist_ok=True)
    write_config(directory, **fields)
    save_file(arrays, directory / WHOLE, metadata={"format": "pt"})
    return directory


def sharded(directory: Path, arrays: Arrays, shards: int = 3, **fields: Any) -> Path:
    """The same in several files with an index."""
    write_config(directory, **fields)
    names = list(arrays)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file({name: arrays[name] for name in names[i::shards]}, directory / file)
        weight_map |= dict.fromkeys(names[i::shards], file)
    write_index(directory, {"metadata": {"total_size": 1}, "weight_map": weight_map})
    return directory


def write_index(directory: Path, index: Any) -> None:
    (directory / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))


def load(path: Path, **options: Any) -> Model:
    return minroberta.load(path, **options)


def assert_weights(model: Model, wanted: Mapping[str, np.ndarray]) -> None:
    """The model holds exactly these arrays, under canonical names."""
    given = flat(model.params)
    assert set(given) == set(wanted)
    for name, array in wanted.items():
        assert np.array_equal(given[name], array), name


def assert_same_output(a: Model, b: Model) -> None:
    ids = [IDS, IDS] if a.head == "multiple_choice" else IDS
    for (name, x), (_, y) in zip(flatten("", a(ids).to_tuple()), flatten("", b(ids).to_tuple()), strict=True):
        assert np.array_equal(x, y), name


# --- every way of writing a checkpoint ------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("head", HEADS)
def test_prefixes(tmp_path: Path, prefix: str, head: str) -> None:
    arrays = arrays_of(head)
    assert_weights(load(checkpoint(tmp_path, named(arrays, prefix=prefix)), head=head), arrays)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", HEADS)
def test_families(tmp_path: Path, family: str, head: str) -> None:
    arrays = arrays_of(head, model_type=family)
    prefix = f"{FAMILIES[family].prefix}."
    directory = checkpoint(tmp_path, named(arrays, family, prefix), model_type=family)
    assert_weights(load(directory, head=head), arrays)


def test_gamma_and_beta(tmp_path: Path) -> None:
    arrays = arrays_of("masked_lm")
    old = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): x
        for name, x in named(arrays).items()
    }
    assert "roberta.encoder.layer.1.output.LayerNorm.gamma" in old
    assert_weights(load(checkpoint(tmp_path, old), head="masked_lm"), arrays)


def test_buffers_are_passed_over(tmp_path: Path) -> None:
    arrays = arrays_of()
    buffers = {
        "roberta.embeddings.position_ids": np.arange(24)[None],
        "roberta.embeddings.token_type_ids": np.zeros((1, 24), int),
    }
    assert_weights(load(checkpoint(tmp_path, named(arrays) | buffers)), arrays)


def test_both_biases_of_the_language_model_head(tmp_path: Path) -> None:
    arrays = arrays_of("masked_lm")
    both = named(arrays) | {"lm_head.decoder.bias": arrays["lm_head.bias"].copy()}
    assert_weights(load(checkpoint(tmp_path, both), head="masked_lm"), arrays)


def test_biases_that_differ(tmp_path: Path) -> None:
    arrays = arrays_of("masked_lm")
    both = named(arrays) | {"lm_head.decoder.bias": arrays["lm_head.bias"] + 1}
    with pytest.warns(UserWarning, match="the same parameter, but differ in this file: lm_head.decoder.bias is used"):
        model = load(checkpoint(tmp_path, both), head="masked_lm")
    assert_weights(model, arrays | {"lm_head.bias": arrays["lm_head.bias"] + 1})


def test_the_decoders_bias_alone(tmp_path: Path) -> None:
    arrays = arrays_of("masked_lm")
    other = named(arrays)
    other["lm_head.decoder.bias"] = other.pop("lm_head.bias")
    assert_weights(load(checkpoint(tmp_path, other), head="masked_lm"), arrays)


def test_a_tied_decoder_that_is_listed(tmp_path: Path) -> None:
    arrays = arrays_of("masked_lm")
    listed = named(arrays) | {"lm_head.decoder.weight": arrays[WORDS].copy()}
    assert_weights(load(checkpoint(tmp_path, listed), head="masked_lm", check=True), arrays)


def test_an_untied_decoder(tmp_path: Path) -> None:
    arrays = arrays_of("masked_lm", tie_word_embeddings=False)
    assert "lm_head.decoder.weight" in arrays
    directory = checkpoint(tmp_path, named(arrays), tie_word_embeddings=False)
    assert_weights(load(directory, head="masked_lm", check=True), arrays)


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_shards(tmp_path: Path, shards: int) -> None:
    arrays = arrays_of("masked_lm")
    directory = sharded(tmp_path, named(arrays), shards, architectures=["RobertaForMaskedLM"])
    assert_weights(load(directory), arrays)


@pytest.mark.parametrize("name", ["model.safetensors", "other name.safetensors", "no_ending"])
def test_a_single_file_with_its_config_beside_it(tmp_path: Path, name: str) -> None:
    arrays = arrays_of()
    (checkpoint(tmp_path, named(arrays)) / WHOLE).rename(tmp_path / name)
    assert_weights(load(tmp_path / name), arrays)
    assert_weights(minroberta.load(str(tmp_path / name)), arrays)


def test_pruned_heads(tmp_path: Path) -> None:
    pruned = {"1": [0, 3]}
    arrays = arrays_of("masked_lm", pruned_heads=pruned)
    assert arrays["encoder.layer.1.attention.self.query.weight"].shape == (18, 30)
    model = load(checkpoint(tmp_path, named(arrays), pruned_heads=pruned), head="masked_lm")
    assert_weights(model, arrays)
    assert [x.shape[1] for x in model(IDS, output_attentions=True).attentions] == [5, 3]


# --- heads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_the_head_is_the_architectures(tmp_path: Path, head: str) -> None:
    directory = checkpoint(tmp_path, named(arrays_of(head)), architectures=[f"Roberta{HEADS[head].ending}"])
    assert load(directory).head == head


def test_heads_that_are_not_used(tmp_path: Path) -> None:
    """The language-model head of a base checkpoint, its pooler, and heads of one name in two shapes."""
    everything = arrays_of("masked_lm") | arrays_of("encoder") | arrays_of("question_answering")
    everything |= {"classifier.dense.weight": np.zeros((30, 30), "f4"), "classifier.bias": np.zeros(3)}
    directory = checkpoint(tmp_path, named(everything))
    for head in ("encoder", "masked_lm", "question_answering"):
        assert_weights(load(directory, head=head), arrays_of(head))


def test_the_encoder_with_and_without_a_pooler(tmp_path: Path) -> None:
    arrays = arrays_of()
    with_pooler = load(checkpoint(tmp_path / "with", named(arrays)))
    assert with_pooler(IDS).pooler_output.shape == (2, 30)
    without = load(checkpoint(tmp_path / "without", named(arrays_of("masked_lm"))), head="encoder")
    assert without(IDS).pooler_output is None
    assert "pooler" not in without.params
    assert np.array_equal(without(IDS).last_hidden_state, with_pooler(IDS).last_hidden_state)


@pytest.mark.parametrize("head", [head for head in HEADS if head != "encoder"])
def test_a_head_that_the_file_lacks(tmp_path: Path, head: str) -> None:
    body = {name: x for name, x in arrays_of().items() if not name.startswith("pooler")}
    directory = checkpoint(tmp_path, named(body))
    count = len(shapes(config_of(), head))
    lacking = [name for name in shapes(config_of(), head) if name not in body]
    parts = (f"head {head!r} needs {count} weights, but lacks {len(lacking)}: ", *lacking, 'missing="init"')
    with raises(WeightsError, ValueError, *parts):
        load(directory, head=head)


def test_a_head_is_initialised(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path, named(arrays_of()), num_labels=1000, initializer_range=0.5)

    def head(seed: int) -> dict[str, np.ndarray]:
        return load(directory, head="token_classification", missing="init", seed=seed).params["classifier"]

    first, again, other = head(3), head(3), head(4)
    assert np.array_equal(first["weight"], again["weight"])
    assert not np.array_equal(first["weight"], other["weight"])
    assert first["weight"].shape == (1000, 30)
    assert first["weight"].dtype == np.float32
    assert abs(first["weight"].mean()) < 0.5 * 4 / np.sqrt(30_000)  # four standard errors of a mean, and of a deviation
    assert abs(first["weight"].std() / 0.5 - 1) < 4 / np.sqrt(2 * 30_000)
    assert not first["bias"].any()


def test_initialised_heads_are_not_alike(tmp_path: Path) -> None:
    """Each weight has its own random stream, and the body comes from the file."""
    directory = checkpoint(tmp_path, named(arrays_of()))
    model = load(directory, head="sequence_classification", missing="init")
    dense, out = (model.params["classifier"][name]["weight"] for name in ("dense", "out_proj"))
    assert not np.array_equal(dense[:2], out)
    assert np.array_equal(model.params["embeddings"]["word_embeddings"]["weight"], arrays_of()[WORDS])


def test_weights_of_an_incomplete_head_are_kept(tmp_path: Path) -> None:
    arrays = arrays_of("masked_lm")
    del arrays["lm_head.bias"]
    params = load(checkpoint(tmp_path, named(arrays)), head="masked_lm", missing="init").params
    assert np.array_equal(params["lm_head"]["dense"]["weight"], arrays["lm_head.dense.weight"])
    assert not params["lm_head"]["bias"].any()


def test_an_encoder_without_a_pooler_stays_without(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path, named(arrays_of("masked_lm")))
    assert load(directory, head="encoder", missing="init")(IDS).pooler_output is None


def test_a_family_by_names_keeps_the_defaults_of_the_other(tmp_path: Path) -> None:
    """A sparse config.json of Roberta, with the names of RobertaPreLayerNorm and of XLM-Roberta-XL."""
    for family, eps in (("roberta-prelayernorm", 1e-12), ("xlm-roberta-xl", 1e-12)):
        arrays = named(arrays_of(model_type=family), family=family)
        directory = checkpoint(tmp_path / family, arrays, model_type="roberta")
        values = json.loads((directory / "config.json").read_text())
        del values["layer_norm_eps"]
        (directory / "config.json").write_text(json.dumps(values))
        with pytest.warns(UserWarning, match=f"are named as in '{family}'"):
            config = load(directory).config
        assert (config.model_type, config.norm_first) == (family, True)
        assert config.embedding_norm == FAMILIES[family].embedding_norm
        assert config.layer_norm_eps == eps


def test_given_fields_override_the_checkpoint_s(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path, named(arrays_of("masked_lm")))
    model = load(directory, head="sequence_classification", missing="init", config={"num_labels": 5})
    assert model(IDS).logits.shape == (2, 5)
    assert model.config.id2label[4] == "LABEL_4"
    decoder = load(directory, head="causal_lm", config={"is_decoder": True})
    assert decoder(IDS).past_key_values is not None
    with raises(ConfigError, ValueError, "unknown configuration field num_label"):
        load(directory, config={"num_label": 5})


def test_a_head_of_another_shape(tmp_path: Path) -> None:
    """A weight of another shape, such as for other labels, is initialised if asked for; weights that fit are kept."""
    head = "sequence_classification"
    directory = checkpoint(tmp_path, named(arrays_of(head)))
    text = "has shape (2, 30), but the configuration requires (5, 30) for its num_labels or id2label: give missing="
    with raises(WeightsError, ValueError, text):
        load(directory, head=head, config={"num_labels": 5})
    model = load(directory, head=head, config={"num_labels": 5}, missing="init")
    own = load(directory, head=head)
    assert model(IDS).logits.shape == (2, 5)
    assert np.array_equal(model.params["classifier"]["dense"]["weight"], own.params["classifier"]["dense"]["weight"])


def test_half_a_pooler_is_not_a_missing_head(tmp_path: Path) -> None:
    arrays = {name: x for name, x in arrays_of().items() if name != "pooler.dense.bias"}
    with raises(WeightsError, ValueError, "weights, but lacks 1: ", "pooler.dense.bias") as caught:
        load(checkpoint(tmp_path, named(arrays)))
    assert "This head is not in the file" not in str(caught.value)
    assert 'They belong to the head: choose another head, or give missing="init"' in str(caught.value)


@pytest.mark.parametrize("missing", ["error", "init"])
def test_a_body_is_never_initialised(tmp_path: Path, missing: str) -> None:
    arrays = {name: x for name, x in arrays_of("masked_lm").items() if not name.startswith("encoder.layer.1.")}
    directory = checkpoint(tmp_path, named(arrays))
    names = [name for name in shapes(config_of(), "masked_lm") if name not in arrays]
    assert len(names) == 16
    with pytest.raises(WeightsError) as caught:
        load(directory, head="masked_lm", missing=missing)
    assert "head 'masked_lm' needs 42 weights, but lacks 16: " in str(caught.value)
    assert all(name in str(caught.value) for name in names[:10])
    assert not any(name in str(caught.value) for name in names[10:])
    assert str(caught.value).endswith(" and 6 more")


# --- invalid weights ------------------------------------------------------------------------------------------------


def test_unknown_weights_are_named(tmp_path: Path) -> None:
    arrays = arrays_of()
    extra = {name: np.zeros(3) for name in ("encoder.layer.2.output.dense.bias", "something.else", "lm_head.extra")}
    with pytest.warns(UserWarning, match=r"ignored arrays that this model does not use \(3\): ") as caught:
        model = load(checkpoint(tmp_path, named(arrays | extra)))
    assert_weights(model, arrays)
    for name in ("roberta.encoder.layer.2.output.dense.bias", "something.else", "lm_head.extra"):
        assert name in str(caught[0].message)
    assert caught[0].filename == __file__  # the line that called load


def test_many_unknown_weights_are_counted(tmp_path: Path) -> None:
    extra = {f"unknown.{i}": np.zeros(1) for i in range(15)}
    with pytest.warns(UserWarning, match=r"that this model does not use \(15\): .* and 5 more$"):
        load(checkpoint(tmp_path, named(arrays_of()) | extra))


@pytest.mark.parametrize("shape", [(30, 53), (54, 30), (53, 30, 1), (1590,), ()])
def test_a_wrong_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    arrays = named(arrays_of() | {WORDS: np.zeros(shape, "f4")})
    with raises(
        WeightsError, ValueError, f"roberta.{WORDS} has shape {shape}, but the configuration requires (53, 30)"
    ):
        load(checkpoint(tmp_path, arrays))


def test_a_config_of_another_model(tmp_path: Path) -> None:
    with raises(WeightsError, ValueError, f"{WORDS} has shape (53, 30), but the configuration requires (53, 60)"):
        load(checkpoint(tmp_path, named(arrays_of()), hidden_size=60))


@pytest.mark.parametrize("dtype", ["i8", "i4", "u1", "?"])
def test_weights_of_integers(tmp_path: Path, dtype: str) -> None:
    arrays = named(arrays_of() | {WORDS: np.ones((53, 30), dtype)})
    text = f"roberta.{WORDS} has dtype {np.dtype(dtype)}, but a weight must have a floating-point dtype"
    with raises(WeightsError, ValueError, text):
        load(checkpoint(tmp_path, arrays))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (f"roberta.{WORDS}", WORDS),
        (f"roberta.{WORDS}", f"data2vec_text.{WORDS}"),
        ("roberta.embeddings.LayerNorm.weight", "roberta.embeddings.LayerNorm.gamma"),
    ],
)
def test_two_names_for_one_weight(tmp_path: Path, name: str, other: str) -> None:
    arrays = named(arrays_of())
    with raises(WeightsError, ValueError, name, other, "two names for the same weight: remove one of them"):
        load(checkpoint(tmp_path, arrays | {other: arrays[name].copy()}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_finds_nan_and_infinity(tmp_path: Path, value: float) -> None:
    arrays = arrays_of()
    name = "encoder.layer.1.output.dense.weight"
    arrays[name] = arrays[name].copy()
    arrays[name][2, 3:5] = value
    directory = checkpoint(tmp_path, named(arrays))
    assert load(directory)
    with raises(WeightsError, ValueError, f"{name} has NaN or infinite values: 2 of 1110"):
        load(directory, check=True)


def test_check_finds_tied_weights_that_differ(tmp_path: Path) -> None:
    arrays = arrays_of("masked_lm")
    differing = named(arrays) | {"lm_head.decoder.weight": arrays[WORDS] + 1}
    directory = checkpoint(tmp_path, differing)
    assert_weights(load(directory, head="masked_lm"), arrays)  # tied, as the configuration says
    with raises(WeightsError, ValueError, "lm_head.decoder.weight differs", "tie_word_embeddings", "config.json"):
        load(directory, head="masked_lm", check=True)


def test_check_accepts_a_right_checkpoint(tmp_path: Path) -> None:
    for head in HEADS:
        directory = checkpoint(tmp_path / head, named(arrays_of(head)))
        assert_weights(load(directory, head=head, check=True), arrays_of(head))


# --- dtypes ---------------------------------------------------------------------------------------------------------

STORED = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def stored_as(directory: Path, arrays: Arrays, dtype: str) -> tuple[Path, Arrays]:
    """A checkpoint whose weights are of this dtype, and their values; bfloat16 is cut off, not rounded."""
    header, data, values = {}, b"", {}
    for name, array in arrays.items():
        if dtype == "bfloat16":
            halves = (array.view("u4") >> 16).astype("u2")
            values[name], bits = (halves.astype("u4") << 16).view("f4"), halves.tobytes()
        else:
            values[name] = array.astype(dtype)
            bits = values[name].tobytes()
        offsets = [len(data), len(data) + len(bits)]
        header[name] = {"dtype": STORED[dtype], "shape": list(array.shape), "data_offsets": offsets}
        data += bits
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_config(directory)
    (directory / WHOLE).write_bytes(struct.pack("<Q", len(text)) + text + data)
    return directory, values


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("wanted", ["float64", "float32", "float16"])
def test_dtypes(tmp_path: Path, stored: str, wanted: str) -> None:
    directory, values = stored_as(tmp_path, arrays_of(), stored)
    model = load(directory, dtype=wanted)
    assert_weights(model, {name: x.astype(wanted) for name, x in values.items()})
    for array in flat(model.params).values():
        assert array.dtype == wanted
        assert array.flags.owndata == (stored != wanted) or stored == "bfloat16"
        assert array.flags.writeable == (stored != wanted)
    assert model.dtype == wanted


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32"), np.zeros(1, "f4").dtype])
def test_ways_to_name_a_dtype(tmp_path: Path, dtype: Any) -> None:
    assert load(checkpoint(tmp_path, named(arrays_of())), dtype=dtype).dtype == np.float32


def test_bfloat16_needs_another_library_than_numpy(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path, named(arrays_of()))
    with raises(BackendError, TypeError, "numpy has no bfloat16: load as float32", "or with xp=jax.numpy"):
        load(directory, dtype="bfloat16")


@pytest.mark.parametrize("dtype", ["int32", "float8", "f4", "", np.int64, bool])
def test_unknown_dtypes(tmp_path: Path, dtype: Any) -> None:
    directory = checkpoint(tmp_path, named(arrays_of()))
    with raises(BackendError, TypeError, "unknown dtype", ": give one of float64, float32, float16"):
        load(directory, dtype=dtype)


@pytest.fixture(scope="module")
def jax() -> ModuleType:
    return pytest.importorskip("jax")


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("wanted", ["float32", "float16", "bfloat16"])
def test_dtypes_on_jax(tmp_path: Path, jax: ModuleType, stored: str, wanted: str) -> None:
    directory, values = stored_as(tmp_path, arrays_of(), stored)
    with jax.enable_x64(False):
        model = load(directory, dtype=wanted, xp=jax.numpy)
    assert model.dtype == wanted
    assert model.xp is jax.numpy
    given = flat(model.params)
    for name, value in values.items():
        assert np.array_equal(np.asarray(given[name]), np.asarray(value).astype(given[name].dtype)), name


def test_jax_without_float64(tmp_path: Path, jax: ModuleType) -> None:
    directory = checkpoint(tmp_path, named(arrays_of()))
    with jax.enable_x64(False), raises(BackendError, TypeError, "is not set up for float64", "jax_enable_x64"):
        load(directory, dtype="float64", xp=jax.numpy)


def test_jax_with_float64(tmp_path: Path, jax: ModuleType) -> None:
    directory = checkpoint(tmp_path, named(arrays_of()))
    with jax.enable_x64(True):
        assert load(directory, dtype="float64", xp=jax.numpy).dtype == np.float64


# --- the index of shards --------------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return sharded(tmp_path, named(arrays_of()))


def test_two_shards_that_are_one_file(shards: Path) -> None:
    """A hundred links to one file would be read a hundred times."""
    names = sorted(path.name for path in shards.glob("model-*"))
    (shards / names[1]).unlink()
    (shards / names[1]).hardlink_to(shards / names[0])
    with raises(WeightsError, ValueError, f"names {names[0]!r} and {names[1]!r}, which are the same file"):
        load(shards)


def test_a_shard_that_is_a_link_to_nothing(shards: Path) -> None:
    name = sorted(path.name for path in shards.glob("model-*"))[1]
    (shards / name).unlink()
    (shards / name).symlink_to(shards / "nothing")
    with raises(NotFoundError, FileNotFoundError, f"has no file {name}"):
        load(shards)


SHARD = "model-00001-of-00003.safetensors"


@pytest.mark.parametrize(
    "file",
    [
        "../secret.safetensors",
        "..",
        ".",
        "",
        "/etc/passwd",
        "/tmp/x.safetensors",
        "sub/x.safetensors",
        f"./{SHARD}",
        f"{SHARD}/",
        f"sub/../{SHARD}",
        "..\\x.safetensors",
        "C:\\x.safetensors",
        "https://example.com/x.safetensors",
        "file:///x.safetensors",
        "config.json",
        "pytorch_model.bin",
    ],
)
def test_a_shard_that_is_not_next_to_the_index(shards: Path, file: str) -> None:
    (shards.parent / "secret.safetensors").write_bytes(b"")
    write_index(shards, {"weight_map": {WORDS: file}})
    with raises(
        WeightsError, ValueError, INDEX, f"names {file!r}", "a shard must be a .safetensors file next to the index"
    ):
        load(shards)


@pytest.mark.parametrize("file", [None, 3, ["x.safetensors"], {"x": 1}, True])
def test_a_shard_without_a_name(shards: Path, file: Any) -> None:
    write_index(shards, {"weight_map": {WORDS: file}})
    with raises(WeightsError, ValueError, INDEX, "must have a weight_map from weight names to file names"):
        load(shards)


def test_a_missing_shard(shards: Path) -> None:
    (shards / SHARD).unlink()
    with raises(NotFoundError, FileNotFoundError, INDEX, SHARD, "which is missing: download the checkpoint again"):
        load(shards)


@pytest.mark.parametrize("file", ["x" * 5000 + ".safetensors", "a\0b.safetensors"])
def test_a_shard_with_an_impossible_file_name(shards: Path, file: str) -> None:
    write_index(shards, {"weight_map": {WORDS: file}})
    with raises(NotFoundError, FileNotFoundError, INDEX, "which is missing"):
        load(shards)


def test_a_directory_for_a_shard(shards: Path) -> None:
    (shards / SHARD).unlink()
    (shards / SHARD).mkdir()
    with raises(NotFoundError, FileNotFoundError, "has no file", SHARD):
        load(shards)


def test_a_damaged_shard(shards: Path) -> None:
    os.truncate(shards / SHARD, 1000)
    with raises(WeightsError, ValueError, SHARD, "(1000 bytes) is not a readable safetensors file"):
        load(shards)


@pytest.mark.parametrize("index", ["", "{", "[" * 100_000])
def test_an_index_that_is_not_json(shards: Path, index: str) -> None:
    write_index(shards, index)
    with raises(WeightsError, ValueError, INDEX, "is not JSON"):
        load(shards)


@pytest.mark.parametrize("index", [[], [1], "null", "3", '"text"'])
def test_an_index_that_is_not_an_object(shards: Path, index: Any) -> None:
    write_index(shards, index)
    with raises(WeightsError, ValueError, INDEX, "must hold a JSON object, not a"):
        load(shards)


@pytest.mark.parametrize("index", [{}, {"weight_map": None}, {"weight_map": []}, {"weight_map": "x"}])
def test_an_index_without_a_map(shards: Path, index: Any) -> None:
    write_index(shards, index)
    with raises(WeightsError, ValueError, INDEX, "must have a weight_map from weight names to file names"):
        load(shards)


def test_a_map_to_the_wrong_shard(shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text())
    name, file = next(iter(index["weight_map"].items()))
    other = next(f for f in index["weight_map"].values() if f != file)
    write_index(shards, {"weight_map": {**index["weight_map"], name: other}})
    with raises(WeightsError, ValueError, INDEX, f"says that {other} holds {name}, but it does not"):
        load(shards)


def test_a_map_that_leaves_weights_out(shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text())
    del index["weight_map"][f"roberta.{WORDS}"]
    write_index(shards, index)
    with raises(WeightsError, ValueError, f"head 'encoder' needs 39 weights, but lacks 1: {WORDS}"):
        load(shards)


# --- paths without a model ------------------------------------------------------------------------------------------


def test_a_missing_path(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path / "model.safetensors"):
        with raises(NotFoundError, FileNotFoundError, str(path)):
            load(path)


def test_a_directory_without_weights(tmp_path: Path) -> None:
    write_config(tmp_path)
    with raises(NotFoundError, FileNotFoundError, f"{tmp_path} holds no weights: it has none of {WHOLE}, "):
        load(tmp_path)


def test_a_directory_with_other_weights(tmp_path: Path) -> None:
    write_config(tmp_path)
    files = {
        "my.h5": b"\x89HDF\r\n\x1a\n",
        "a.bin": b"PK\x03\x04",
        "readme.md": b"PK",
        "b.bin": b"",
        "c.msgpack": b"no",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with raises(NotFoundError, FileNotFoundError, "It has a.bin, my.h5: give the path of one of these files"):
        load(tmp_path)


def test_a_directory_with_weights_of_another_name(tmp_path: Path) -> None:
    (checkpoint(tmp_path, arrays_of()) / WHOLE).rename(tmp_path / "mine.safetensors")
    with raises(NotFoundError, FileNotFoundError, "It has mine.safetensors: give the path of one of these files"):
        load(tmp_path)
    assert load(tmp_path / "mine.safetensors")


def test_a_missing_configuration(tmp_path: Path) -> None:
    (checkpoint(tmp_path, arrays_of()) / "config.json").unlink()
    for path in (tmp_path, tmp_path / WHOLE):
        with raises(NotFoundError, FileNotFoundError, f"there is no config.json in {tmp_path}"):
            load(path)


def test_a_json_file_for_weights(tmp_path: Path) -> None:
    write_config(tmp_path)
    with raises(WeightsError, ValueError, "config.json holds no weights: give its directory"):
        load(tmp_path / "config.json")


@pytest.mark.parametrize("call", [minroberta.load, minroberta.init])
def test_an_unknown_head(tmp_path: Path, call: Callable[..., Model]) -> None:
    with raises(NameUnknownError, KeyError, "unknown head 'ner': give one of", *HEADS):
        call(checkpoint(tmp_path, arrays_of()), head="ner")


@pytest.mark.parametrize("call", [minroberta.load, minroberta.init])
def test_a_span_head_with_three_labels(tmp_path: Path, call: Callable[..., Model]) -> None:
    directory = checkpoint(tmp_path, arrays_of(), num_labels=3)
    with raises(
        ConfigError, ValueError, "'question_answering' needs 2 labels", "has 3: give a model that has this head, or set"
    ):
        call(directory, head="question_answering")


def test_an_unknown_word_for_missing(tmp_path: Path) -> None:
    with raises(NameUnknownError, KeyError, """missing must be "error" or "init", not 'ignore'"""):
        load(checkpoint(tmp_path, arrays_of()), missing="ignore")


# --- random models --------------------------------------------------------------------------------------------------


def test_the_shapes_of_roberta_base() -> None:
    """124,697,433 parameters, as published with a language-model head; the tied decoder counts once."""
    config = Config.from_dict(PRESETS["roberta-base"])
    sizes = shapes(config, "masked_lm")
    assert sum(np.prod(shape) for shape in sizes.values()) == 124_697_433
    assert sizes[WORDS] == (50265, 768)
    assert sizes["embeddings.position_embeddings.weight"] == (514, 768)
    assert sizes["embeddings.token_type_embeddings.weight"] == (1, 768)
    assert sizes["encoder.layer.11.intermediate.dense.weight"] == (3072, 768)
    assert sizes["lm_head.bias"] == (50265,)
    assert "pooler.dense.weight" not in sizes


@pytest.mark.parametrize("name", PRESETS)
def test_a_short_name_gives_its_configuration(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    config = Config.from_dict({**PRESETS[name], "num_hidden_layers": 1, "vocab_size": 53})
    monkeypatch.setitem(PRESETS, name, config.to_dict())
    model = minroberta.init(name)
    assert model.config == config
    assert model.head == config.head
    assert set(flat(model.params)) == set(shapes(config, model.head))


def test_ways_to_give_a_configuration(tmp_path: Path) -> None:
    write_config(tmp_path)
    models = [minroberta.init(given) for given in (config_of(), TINY, tmp_path, str(tmp_path))]
    for model in models:
        assert_weights(model, flat(models[0].params))


def test_the_same_seed_gives_the_same_weights() -> None:
    first, again, other = (minroberta.init(TINY, seed=seed) for seed in (5, 5, 6))
    assert_weights(again, flat(first.params))
    assert not np.array_equal(flat(first.params)[WORDS], flat(other.params)[WORDS])


def test_random_weights_have_the_configurations_deviation() -> None:
    config = config_of(vocab_size=2000, initializer_range=0.1, num_hidden_layers=1)
    arrays = flat(minroberta.init(config, head="masked_lm").params)
    for name, array in arrays.items():
        assert array.dtype == np.float32
        if name.endswith(".bias"):
            assert not array.any(), name
        elif "norm" in name.lower():
            assert (array == 1).all(), name
        else:  # within four standard errors of a mean, and of a deviation; padding's zeros lower both a little
            n = array.size
            assert abs(array.mean()) < 0.1 * 4 / np.sqrt(n), name
            assert abs(array.std() / 0.1 - 1) < 4 / np.sqrt(2 * n) + 30 / n, name


def test_rows_of_padding_are_zero() -> None:
    arrays = flat(minroberta.init(config_of(pad_token_id=3)).params)
    for name in (WORDS, "embeddings.position_embeddings.weight"):
        assert not arrays[name][3].any()
        assert arrays[name][[0, 1, 2, 4]].all()
    assert arrays["embeddings.token_type_embeddings.weight"].all()


def test_a_random_model_on_jax_has_the_same_weights(jax: ModuleType) -> None:
    with jax.enable_x64(False):
        model = minroberta.init(TINY, xp=jax.numpy)
    assert model.xp is jax.numpy
    assert_weights(model, flat(minroberta.init(TINY).params))


# --- trees ----------------------------------------------------------------------------------------------------------


def test_a_tree_has_lists_where_names_are_numbers() -> None:
    leaves = {"a.b": 1, "a.c.0.d": 2, "a.c.1.d": 3, "e": 4}
    assert tree(leaves) == {"a": {"b": 1, "c": [{"d": 2}, {"d": 3}]}, "e": 4}
    assert flat(tree(leaves)) == leaves


def test_layers_are_in_the_order_of_their_numbers() -> None:
    """Whatever the order of names is: JAX returns a dict in alphabetical order, 10 before 2."""
    names = [f"layer.{index}.weight" for index in range(12)]
    layers = [{"weight": name} for name in names]
    for order in (names, sorted(names), names[::-1]):
        assert tree({name: name for name in order}) == {"layer": layers}


def test_a_model_of_many_layers_is_the_same_on_jax(tmp_path: Path) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'minroberta[jax]'")
    minroberta.init({**TINY, "num_hidden_layers": 12}, seed=1).save(tmp_path)
    on_numpy, on_jax = (flat(minroberta.load(tmp_path, head="encoder", xp=xp).params) for xp in (np, jax.numpy))
    assert list(on_jax) == list(on_numpy)
    for name, array in on_numpy.items():
        assert np.array_equal(on_jax[name], array), name


def test_layers_keep_their_order_past_nine() -> None:
    names = list(shapes(config_of(num_hidden_layers=12), "masked_lm"))
    assert list(flat(tree(dict.fromkeys(names)))) == names


# --- saving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("head", HEADS)
def test_what_is_saved_loads(tmp_path: Path, head: str, dtype: str) -> None:
    model = tiny(head, dtype)
    model.save(tmp_path)
    again = load(tmp_path, dtype=dtype, check=True)
    assert (again.head, again.dtype) == (head, np.dtype(dtype))
    assert_weights(again, flat(model.params))
    assert_same_output(model, again)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", HEADS)
def test_saved_names_are_the_familys(tmp_path: Path, family: str, head: str) -> None:
    fields = {"is_decoder": True, "add_cross_attention": True, "position_embedding_type": "relative_key"}
    model = tiny(head, "float32", model_type=family, **fields)
    model.save(tmp_path)
    prefix = "" if head == "encoder" else f"{FAMILIES[family].prefix}."
    wanted = named(flat(model.params), family, prefix)
    if "lm_head.bias" in wanted:
        wanted["lm_head.decoder.bias"] = wanted["lm_head.bias"]
    given = load_file(tmp_path / WHOLE)
    assert set(given) == set(wanted)
    assert all(np.array_equal(given[name], wanted[name]) for name in wanted)
    with safe_open(tmp_path / WHOLE, "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_names_of_a_pre_norm_model(tmp_path: Path) -> None:
    tiny("masked_lm", "float32", model_type="roberta-prelayernorm").save(tmp_path)
    names = set(load_file(tmp_path / WHOLE))
    assert names >= {
        "roberta_prelayernorm.LayerNorm.weight",
        "roberta_prelayernorm.embeddings.LayerNorm.weight",
        "roberta_prelayernorm.encoder.layer.1.attention.LayerNorm.weight",
        "roberta_prelayernorm.encoder.layer.1.intermediate.LayerNorm.weight",
        "lm_head.bias",
        "lm_head.decoder.bias",
        "lm_head.layer_norm.weight",
    }
    assert "lm_head.decoder.weight" not in names


def test_the_config_is_saved_whole(tmp_path: Path) -> None:
    model = tiny("token_classification", "float16", id2label={"0": "a", "1": "é"}, mystery={"x": [1, None]})
    model.save(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["architectures"] == ["RobertaForTokenClassification"]
    assert values["torch_dtype"] == "float16"
    assert values["mystery"] == {"x": [1, None]}
    assert values["id2label"] == {"0": "a", "1": "é"}
    assert {name: values[name] for name in TINY} == TINY
    assert list(values) == sorted(values)


@pytest.mark.parametrize("names", [{"0": "a", "1": 1}, {"0": None, "1": "b"}])
def test_a_config_of_odd_labels_is_saved(tmp_path: Path, names: Any) -> None:
    write_config(tmp_path, id2label=names)
    model = minroberta.init(tmp_path)
    model.save(tmp_path)
    assert load(tmp_path).config.id2label == model.config.id2label
    assert all(isinstance(name, str) for name in model.config.id2label.values())


def test_weights_that_memory_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused before anything is allocated: new ones, and those of a head that a checkpoint lacks."""
    sentence = "weights of these sizes take 2,400.0 GB, and 16.0 GB of memory are left: reduce the sizes in"
    monkeypatch.setattr(weights, "_memory", lambda: 16e9)
    with raises(ConfigError, ValueError, sentence):
        minroberta.init({**TINY, "vocab_size": 10**9, "hidden_size": 600, "num_attention_heads": 5})
    path = checkpoint(tmp_path, named(arrays_of("encoder")))
    monkeypatch.setattr(weights, "_memory", lambda: 100.0)
    with raises(ConfigError, ValueError, "weights of these sizes take"):
        load(path, head="sequence_classification", missing="init")
    assert load(path, head="encoder")


@pytest.mark.parametrize("known", [True, False])
def test_weights_that_the_limit_of_the_process_does_not_hold(known: bool, tmp_path: Path) -> None:
    """The machine has more memory than the process may take, which the system may not say beforehand."""
    path = checkpoint(tmp_path, named(arrays_of("encoder")))
    program = """
import resource, sys
import minroberta
from minroberta import weights
if sys.argv[2] == "False":
    weights._memory = lambda: float("inf")
resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9))
wide = {"hidden_size": 2**15, "num_attention_heads": 16, "num_hidden_layers": 1, "intermediate_size": 2**15}
for make in (lambda: minroberta.init({**TINY, **wide}), lambda: minroberta.load(sys.argv[1], missing="init", **MANY)):
    try:
        make()
    except minroberta.ConfigError as error:
        print(error)
""".replace("TINY", repr(TINY)).replace("**MANY", "head='masked_lm', config={'vocab_size': 10**9}")
    said = alone(program, path, known).splitlines()
    end = "GB of memory are left: reduce the sizes" if known else "GB, which are not left: reduce the sizes"
    assert len(said) == 2 and all("weights of these sizes take" in line and end in line for line in said)


def test_a_system_that_knows_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no module `resource`, and JupyterLite an empty one."""
    for module in (None, ModuleType("resource")):
        monkeypatch.setitem(sys.modules, "resource", module)
        assert minroberta.init(TINY).config.hidden_size == TINY["hidden_size"]


def test_a_model_saved_over_the_file_that_it_is_mapped_from(tmp_path: Path) -> None:
    first = load(checkpoint(tmp_path, named(arrays_of("masked_lm"))), head="masked_lm")
    before = first(IDS).logits
    first.save(tmp_path)
    again = load(tmp_path)
    again.save(tmp_path)
    assert np.array_equal(load(tmp_path)(IDS).logits, before)
    assert np.array_equal(first(IDS).logits, before)
    assert np.array_equal(again(IDS).logits, before)


def test_transposed_weights_are_saved_as_they_look(tmp_path: Path) -> None:
    model = tiny("masked_lm")
    flipped = tree({name: np.asfortranarray(x) for name, x in flat(model.params).items()})
    Model(model.config, flipped, "masked_lm").save(tmp_path)
    assert_weights(load(tmp_path, dtype="float64"), flat(model.params))


def test_saving_makes_the_directories(tmp_path: Path) -> None:
    tiny().save(tmp_path / "a" / "b")
    tiny().save(str(tmp_path / "c"))
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == ["config.json", WHOLE]
    assert load(tmp_path / "c")


@pytest.mark.parametrize("fields", [{"pruned_heads": {"0": [1]}}, {"tie_word_embeddings": False}])
def test_odd_models_are_saved(tmp_path: Path, fields: dict[str, Any]) -> None:
    model = tiny("masked_lm", **fields)
    model.save(tmp_path)
    assert_same_output(load(tmp_path, dtype="float64"), model)


def test_a_model_on_jax_is_saved(tmp_path: Path, jax: ModuleType) -> None:
    with jax.enable_x64(False):
        model = load(checkpoint(tmp_path, named(arrays_of())), xp=jax.numpy, dtype="bfloat16")
        model.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    wanted = {name: np.asarray(x).astype("f4") for name, x in flat(model.params).items()}
    assert_weights(load(tmp_path / "saved"), wanted)


# --- memory ---------------------------------------------------------------------------------------------------------

ROLLUP = Path("/proc/self/smaps_rollup")


def private_bytes() -> int:
    """The memory that this process does not share, in bytes."""
    lines = (line.split() for line in ROLLUP.read_text().splitlines()[1:])
    return sum(int(line[1]) * 1024 for line in lines if line[0].startswith("Private_"))


@pytest.mark.skipif(not ROLLUP.exists(), reason="only Linux says what memory is private")
def test_a_large_file_is_mapped_not_read(tmp_path: Path) -> None:
    fields = {"vocab_size": 100_000, "hidden_size": 512, "num_attention_heads": 8}
    header, end = {}, 0
    for name, shape in shapes(config_of(**fields), "encoder").items():
        start, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    assert end > 200_000_000
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_config(tmp_path, **fields)
    path = tmp_path / WHOLE
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)  # zeros that take no space on the disk
    before, start_time = private_bytes(), time.perf_counter()
    model = load(tmp_path)
    seconds, growth = time.perf_counter() - start_time, private_bytes() - before
    assert np.isfinite(model(IDS).last_hidden_state).all()
    path.unlink()
    assert growth < 60_000_000
    assert seconds < 1


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [None, 3, object(), "float8"])
def test_an_unknown_dtype(dtype: Any, tmp_path: Path) -> None:
    directory = checkpoint(tmp_path, named(arrays_of()))
    with raises(BackendError, TypeError, "unknown dtype", ": give one of float64, float32, float16"):
        load(directory, dtype=dtype)


def test_an_unknown_library() -> None:
    with raises(
        BackendError,
        TypeError,
        "xp must be the module of an array library, such as numpy, cupy or jax.numpy, not 'jax'",
    ):
        minroberta.init(TINY, xp="jax")


@pytest.mark.parametrize("name", ["", 5, None])
def test_an_invalid_name(name: Any) -> None:
    with raises(NotFoundError, FileNotFoundError, "name must be a path or a hub name"):
        load(name)


def test_a_pooler_alone_is_not_a_choice(tmp_path: Path) -> None:
    """The advice is also given where only the classifier is missing."""
    directory = checkpoint(tmp_path, named(arrays_of()))
    with raises(WeightsError, ValueError, "weights, but lacks 2: ", 'give missing="init"'):
        load(directory, head="multiple_choice")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    directory = checkpoint(tmp_path, named(arrays_of()))
    (directory / WHOLE).chmod(0)
    with raises(WeightsError, ValueError, "Permission denied"):
        load(directory)


def test_a_seed_of_numpy() -> None:
    assert minroberta.init(TINY, seed=np.int64(3)).config.hidden_size == TINY["hidden_size"]


@pytest.mark.parametrize("seed", [-1, "a", 1.5])
def test_an_invalid_seed(seed: Any) -> None:
    with raises(InputError, ValueError, f"seed must be an integer of at least 0, not {seed!r}"):
        minroberta.init(TINY, seed=seed)


def test_a_head_of_another_type() -> None:
    with raises(NameUnknownError, KeyError, "unknown head ['encoder']: give one of encoder, masked_lm"):
        minroberta.init(TINY, head=["encoder"])  # type: ignore[arg-type]


def test_saving_to_a_path_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with raises(SaveError, OSError, "the model cannot be written to", "File exists"):
        tiny().save(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        (b"PK\x03\x04 and more", ["is not a readable PyTorch file", "or is incomplete"]),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 and more", ["is not a readable PyTorch file"]),
        (b"", ["file.bin is empty: download or save it again"]),
        (
            b"<!DOCTYPE html>\n",
            ["file.bin is not in a supported format", "as a web page does: download the file itself"],
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", ["is not a readable safetensors file", "a Git LFS pointer"]),
    ],
)
def test_a_file_of_another_kind(content: bytes, sentences: list[str], tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "file.bin").write_bytes(content)
    with raises(WeightsError, ValueError, *sentences):
        load(tmp_path / "file.bin")


@pytest.mark.parametrize(
    ("head", "labels", "pooler", "found"),
    [
        ("token_classification", 1, False, "token_classification"),
        ("token_classification", 3, True, "token_classification"),
        ("multiple_choice", 1, True, "multiple_choice"),
        ("multiple_choice", 4, True, "multiple_choice"),
    ],
)
def test_which_head_a_bare_classifier_belongs_to(head: str, labels: int, pooler: bool, found: str) -> None:
    config = Config.from_dict({**TINY, "num_labels": labels})
    held = {**shapes(config, head), **(shapes(config, "encoder") if pooler else {})}
    assert heads_in(held, config) == [found]
