"""Vectors of sentence-transformers for the same repositories, and what becomes of odd ones."""

import json
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from generators import GOLDEN
from generators.embedding_cases import (
    CASES,
    MEAN,
    OLD,
    PLACE,
    TANH,
    TEXTS,
    Case,
    D,
    dense,
    pooling,
    write,
    write_json,
)
from generators.task_cases import STORY
from support import raises, slow_but

import minroberta
from minroberta import ConfigError, Error, InputError, Model, NameUnknownError, NotFoundError, WeightsError
from minroberta.checkpoints import files, modules
from minroberta.checkpoints.formats import safetensors
from minroberta.cli.app import main

CASE = {case.name: case for case in CASES}
EXPECTED = json.loads((GOLDEN / "embeddings.json").read_text(encoding="utf-8"))
VECTORS = [case.name for case in CASES if case.labels is None]
NEAR = 1e-5
"""Float32 rounding of two small layers: values are up to 4."""


def opened(case: Case, directory: Path, **options: Any) -> Model:
    """The model of a case. Without `modules.json`, `architectures` decides: it names a head that the file lacks."""
    write(case, directory)
    plain = {"head": "encoder"} if case.modules is None and case.labels is None else {}
    return minroberta.load(directory, **plain, **options)


def texts_of(case: Case) -> list[str]:
    """Version 6 leaves the spaces around a text, and was given texts without."""
    return TEXTS if case.version == OLD else [text.strip() for text in TEXTS]


def vectors(model: Model, case: Case) -> np.ndarray:
    return encode(model, texts_of(case), **case.options)


def encode(model: Model, texts: Any, **options: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* longer than the (8|12|16) ")  # some are made to be cut
        return model.encode(texts, **options)


def assert_near(found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=NEAR, atol=NEAR)


# --- as sentence-transformers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_are_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    case = CASE[name]
    model = opened(case, tmp_path)
    assert_near(vectors(model, case), EXPECTED[name])
    assert_near(encode(model, texts_of(case)[1], **case.options), EXPECTED[name][1])


@pytest.mark.parametrize("name", slow_but(VECTORS, *list(VECTORS)[::5]))
def test_a_saved_model_gives_the_same(name: str, tmp_path: Path) -> None:
    opened(CASE[name], tmp_path / "a").save(tmp_path / "b")
    model = minroberta.load(tmp_path / "b")
    assert_near(vectors(model, CASE[name]), EXPECTED[name])
    assert model.encode([]).shape == (0, len(model.encode("")))


def test_a_model_saved_over_another(tmp_path: Path) -> None:
    """What an earlier model said of vectors is forgotten, and the activation of a cross-encoder of version 6."""
    plain = opened(CASE["plain"], tmp_path / "plain")
    opened(CASE["pooling all"], tmp_path / "a").save(tmp_path / "b")
    (tmp_path / "b" / "config_sentence_transformers.json").write_text('{"activation_fn": "torch.nn.Identity"}')
    plain.save(tmp_path / "b")
    assert not (tmp_path / "b" / "config_sentence_transformers.json").exists()
    assert_near(vectors(minroberta.load(tmp_path / "b"), CASE["plain"]), EXPECTED["plain"])


@pytest.mark.parametrize("name", slow_but(VECTORS))
def test_vectors_on_jax(name: str, tmp_path: Path) -> None:
    assert_near(vectors(opened(CASE[name], tmp_path, xp=jax.numpy), CASE[name]), EXPECTED[name])


def test_info_says_what_encode_does(tmp_path: Path) -> None:
    write(CASE["default prompt"], tmp_path)
    (printed,) = CliRunner().invoke(main, ["info", str(tmp_path), "--json"]).output.splitlines()
    facts = json.loads(printed)
    assert (facts["pooling"], facts["modules"], facts["prompts"]) == (["mean"], ["Normalize"], ["query", "passage"])
    assert "labels" not in facts


# --- the arguments of encode ----------------------------------------------------------------------------------------


def test_arguments_win_over_the_repository(tmp_path: Path) -> None:
    model = opened(CASE["mean, normalized"], tmp_path)
    plain = EXPECTED["plain"]
    assert_near(model.encode(TEXTS, normalize=False), plain)
    for name in ("cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"):
        assert_near(model.encode(TEXTS, pooling=name, normalize=False), EXPECTED[f"pooling {name}"])
    assert_near(np.linalg.norm(model.encode(TEXTS, pooling="cls"), axis=-1), np.ones(len(TEXTS)))
    short = model.encode(TEXTS, truncate_dim=8)
    assert_near(short, EXPECTED["truncated"])
    assert_near(model.encode(TEXTS, truncate_dim=8, normalize=True), EXPECTED["truncated and normalized"])


def test_another_length(tmp_path: Path) -> None:
    model = opened(CASE["mean, normalized"], tmp_path)
    assert_near(encode(model, TEXTS, max_seq_length=8), EXPECTED["max_seq_length"])
    with raises(InputError, ValueError, "max_seq_length must be an integer from 1 to"):
        model.encode("a", max_seq_length=10**6)


def test_prompts(tmp_path: Path) -> None:
    model = opened(CASE["default prompt"], tmp_path)
    texts = ["Anna Berg", "Oslo"]
    bare = minroberta.load(tmp_path).encode(texts, prompt="")
    assert np.abs(bare - model.encode(texts)).max() > 0.01
    for options, before in (({}, "query: "), ({"prompt_name": "passage"}, "passage: "), ({"prompt": "x "}, "x ")):
        written = [before + text for text in texts]
        assert_near(model.encode(texts, **options), model.encode(written, prompt=""))
    with raises(NameUnknownError, KeyError, "unknown prompt_name 'title': give one of query, passage"):
        model.encode(texts, prompt_name="title")
    with raises(InputError, ValueError, "give prompt or prompt_name, not both"):
        model.encode(texts, prompt="a", prompt_name="query")
    with raises(InputError, ValueError, "prompt must be a str, not 3"):
        model.encode(texts, prompt=3)
    without = opened(CASE["plain"], tmp_path / "plain")
    with raises(NameUnknownError, KeyError, "unknown prompt_name 'query': this model has none: give prompt="):
        without.encode(texts, prompt_name="query")


def test_the_pooler(tmp_path: Path) -> None:
    model = opened(CASE["plain"], tmp_path)
    expected = [model(**model.tokenize([text.strip()])).pooler_output[0] for text in TEXTS]
    assert_near(model.encode(TEXTS, pooling="pooler"), expected)
    params = {name: value for name, value in model.params.items() if name != "pooler"}
    with raises(InputError, ValueError, "this model has no pooler: give another pooling, one of cls, max"):
        Model(model.config, params, "encoder", model.tokenizer).encode("a", pooling="pooler")


@pytest.mark.parametrize(
    ("options", "kind", "builtin", "said"),
    [
        ({"pooling": "sum"}, NameUnknownError, KeyError, "unknown pooling 'sum': give one of cls, max, mean, "),
        ({"normalize": "yes"}, InputError, ValueError, "normalize must be True or False, not 'yes'"),
        ({"truncate_dim": 0}, InputError, ValueError, "truncate_dim must be an integer from 1 to 16, not 0"),
        ({"truncate_dim": 17}, InputError, ValueError, "truncate_dim must be an integer from 1 to 16, not 17"),
    ],
)
def test_invalid_arguments(
    options: dict[str, Any], kind: type[Error], builtin: type[Exception], said: str, tmp_path: Path
) -> None:
    with raises(kind, builtin, said):
        opened(CASE["dense"], tmp_path).encode("a", **options)


def test_a_pooling_that_does_not_fit_the_modules_after_it(tmp_path: Path) -> None:
    model = opened(CASE["dense, no bias"], tmp_path)
    with raises(InputError, ValueError, "the module Dense does not take vectors of size 32", "after max pooling"):
        model.encode("a", pooling="max")


def test_a_prompt_that_fills_the_text(tmp_path: Path) -> None:
    model = opened(CASE["prompt left out, mean"], tmp_path)
    with (
        raises(InputError, ValueError, "but this model reads only 64: shorten the prompt"),
        pytest.warns(UserWarning, match="longer than the 64"),
    ):
        encode(model, "a", prompt="a b " * 100)


def test_a_cut_text_warns_with_the_limit_of_the_repository(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="text 2 is longer than the 8 tokens that this model reads") as caught:
        opened(CASE["max_seq_length"], tmp_path).encode(["a", STORY])
    assert caught[0].filename == __file__


def test_a_limit_beyond_the_positions_is_theirs(tmp_path: Path) -> None:
    model = opened(Case("long", (MEAN,), {"max_seq_length": 500}), tmp_path)
    with pytest.warns(UserWarning, match="longer than the 64 tokens"):
        model.encode(STORY)


# --- the head -------------------------------------------------------------------------------------------------------


def test_the_head_of_a_repository(tmp_path: Path) -> None:
    assert opened(CASE["mean, normalized"], tmp_path).head == "encoder"
    assert minroberta.load(tmp_path, head="masked_lm", missing="init").head == "masked_lm"
    assert opened(CASE["reranker, file of version 6"], tmp_path / "ce").head == "sequence_classification"
    old = opened(CASE["old layout"], tmp_path / "old")
    assert old.head == "encoder"
    assert minroberta.init(tmp_path / "old", head="encoder").config == old.config


@pytest.mark.parametrize("name", ["max_seq_length", "old layout", "plain"])
def test_each_file_is_read_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = files.read_any_json

    def recording(path: Path, *arguments: Any) -> Any:
        read.append(path.name)
        return original(path, *arguments)

    for module in (files, modules):
        monkeypatch.setattr(module, "read_any_json", recording)
    opened(CASE[name], tmp_path)
    settings = [file for file in read if file.startswith(("modules", "sentence_", "config_"))]
    assert len(settings) == len(set(settings)), settings
    assert ("modules.json" in settings) == (name != "plain")


def test_the_path_of_the_weights(tmp_path: Path) -> None:
    """It opens with the settings beside it, as its directory does."""
    case = CASE["max_seq_length"]
    write(case, tmp_path)
    assert_near(vectors(minroberta.load(tmp_path / "model.safetensors"), case), EXPECTED[case.name])


def test_the_tokenizer_of_an_old_layout(tmp_path: Path) -> None:
    old = opened(CASE["old layout"], tmp_path / "old")
    plain = opened(CASE["plain"], tmp_path / "plain", tokenizer=tmp_path / "old")
    assert plain.tokenize("Anna Berg")["input_ids"].tolist() == old.tokenize("Anna Berg")["input_ids"].tolist()


def test_an_adapter_of_an_old_layout(tmp_path: Path) -> None:
    """The model's folder has the base's configuration and weights."""
    base, adapter = GOLDEN / "adapters" / "base", GOLDEN / "adapters" / "features"
    shutil.copytree(base, tmp_path / "0_Transformer")
    write_json(tmp_path / "1_Pooling" / "config.json", pooling("cls")[1])
    write_json(tmp_path / "modules.json", [module("0_Transformer", f"{PLACE}Transformer"), module()])
    model, ids = minroberta.load(tmp_path, adapter=adapter), [[0, 5, 2]]
    assert model.embedding is not None and model.embedding.poolings == ("cls",)
    np.testing.assert_array_equal(model(ids)[0], minroberta.load(base, adapter=adapter)(ids)[0])


def test_new_sizes_keep_the_description(tmp_path: Path) -> None:
    model = opened(CASE["pooling all"], tmp_path)
    assert_near(model.resize_token_embeddings(500).encode(TEXTS), EXPECTED["pooling all"])


# --- odd and hostile repositories -----------------------------------------------------------------------------------


def module(path: str = "1_Pooling", type: Any = f"{PLACE}Pooling") -> dict[str, Any]:
    return {"idx": 1, "name": "1", "path": path, "type": type}


SPARSE = "sentence_transformers.sparse_encoder.models."
TRANSFORMER = module("", f"{PLACE}Transformer")


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({}, "modules.json must hold a list of 1 to 20 modules"),
        ([], "modules.json must hold a list of 1 to 20 modules"),
        ([TRANSFORMER] * 21, "modules.json must hold a list of 1 to 20 modules"),
        ([TRANSFORMER, 3], "a type and a path, both strings, for each module"),
        ([TRANSFORMER, module(type=None)], "a type and a path, both strings, for each module"),
        ([TRANSFORMER, module("../x")], "the path '../x': a path must be the name of a folder next to modules.json"),
        ([TRANSFORMER, module("/etc")], "the path '/etc': a path must be"),
        ([TRANSFORMER, module("..")], "the path '..': a path must be"),
        ([TRANSFORMER, module("a*")], "the path 'a*': a path must be"),
        ([TRANSFORMER, module("a\\b")], "a path must be"),
        ([TRANSFORMER, module(), module("2", f"{PLACE}LSTM")], "unsupported module 'LSTM' in modules.json: it"),
        ([TRANSFORMER, module("1", f"{PLACE}WordWeights"), module()], "unsupported module 'WordWeights' in"),
        ([TRANSFORMER, module("1", "custom_st.Pooling")], "unknown module 'custom_st.Pooling'"),
        ([module("", f"{PLACE}BoW"), module()], "unsupported module 'BoW' in modules.json: it is not a"),
        ([TRANSFORMER, module(), module("2", f"{PLACE}SparseAutoEncoder")], "'SparseAutoEncoder' in modules.json: it"),
        ([TRANSFORMER, module("1", f"{SPARSE}SpladePooling")], "modules.json: it belongs to a sparse encoder (SPLADE)"),
        ([module("", f"{SPARSE}MLMTransformer"), module()], "with head='masked_lm' the model gives the logits"),
        ([module("", "sentence_transformers.base.modules.router.Router")], "it sends queries and documents through"),
        ([module("", f"{PLACE}Asym"), module()], "unsupported module 'Asym' in modules.json: it sends queries and doc"),
        ([TRANSFORMER, module("1", "sentence_transformers.x.MultiVectorMask")], "a vector for each token (ColBERT)"),
        ([TRANSFORMER, module("2", f"{PLACE}Normalize")], "it must list Transformer, then Pooling"),
        ([TRANSFORMER, module(), module()], "it must list Transformer, then Pooling"),
    ],
)  # fmt: skip
def test_lists_of_modules_that_are_refused(listed: Any, said: str, tmp_path: Path) -> None:
    write(CASE["mean, normalized"], tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    with raises(ConfigError, ValueError, said):
        minroberta.load(tmp_path)


@pytest.mark.parametrize("kind", ["Transformer", "Pooling", "Dense", "Normalize"])
def test_a_folder_whose_name_no_system_has(kind: str, tmp_path: Path) -> None:
    opened(CASE["plain"], tmp_path)
    write_json(tmp_path / "1_Pooling" / "config.json", pooling("cls")[1])
    listed = {"Transformer": "", "Pooling": "1_Pooling", kind: "a" * 300}
    write_json(tmp_path / "modules.json", [module(path, PLACE + name) for name, path in listed.items()])
    if kind == "Normalize":  # it needs no folder
        assert minroberta.load(tmp_path).embedding
    else:
        with raises(NotFoundError, FileNotFoundError, "has no folder aaa"):
            minroberta.load(tmp_path)


POOLED = {"method": "forward", "method_output_name": "pooler_output"}


def linear(**changes: Any) -> tuple[Any, ...]:
    name, settings = dense(32, 16, True, TANH)
    return (MEAN, (name, {**settings, **changes}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"modules": (("Pooling", {"pooling_mode": "sum"}),)}, "unknown pooling_mode 'sum': give one of cls, max"),
        ({"modules": (("Pooling", {"pooling_mode_mean_tokens": False}),)}, "must be a name or a list of names, not []"),
        ({"modules": (("Pooling", {"pooling_mode": 3}),)}, "pooling_mode must be a name or a list of names, not 3"),
        ({"modules": (("Pooling", {"pooling_mode": ["cls", {}]}),)}, "unknown pooling_mode {}"),
        ({"modules": linear(activation_function="os.system")}, "unknown activation_function of 2_Dense 'os.system'"),
        ({"modules": linear(activation_function="torch.nn.Softshrink")}, "one of Identity, Tanh, Sigmoid"),
        ({"modules": linear(module_input_name="token_embeddings")}, "module_input_name 'token_embeddings', which is"),
        ({"modules": linear(module_output_name="scores")}, "2_Dense has module_output_name 'scores', which"),
        ({"modules": (MEAN, ("Normalize", {"module_input_name": "x"}))}, "2_Normalize has module_input_name 'x'"),
        ({"settings": {"transformer_task": "fill-mask"}}, "only 'feature-extraction' is"),
        ({"settings": {"module_output_name": "sentence_embedding"}}, "has module_output_name 'sentence_embedding'"),
        ({"settings": {"modality_config": {"text": POOLED}}}, "has modality_config {'text': {'method': "),
        ({"settings": {"modality_config": {"message": {}}}}, "has modality_config {'message': {}}, which is"),
        ({"settings": {"processing_kwargs": {"text": {"max_length": 9}}}}, "has processing_kwargs {'text': {"),
        ({"settings": {"tokenizer_name_or_path": "other"}}, "has tokenizer_name_or_path 'other', which is"),
        ({"settings": {"query_length": 9}}, "has query_length 9, which is not supported"),
        ({"settings": {"document_length": 9}}, "has document_length 9, which is not supported"),
        ({"settings": {"query_expansion": {"length": 9}}}, "has query_expansion {'length': 9}, which is"),
        ({"settings": {"config_args": {"num_hidden_layers": 1}}}, "has config_args {'num_hidden_layers': 1}"),
        ({"settings": {"model_kwargs": {"dtype": "x", "variant": "a"}}}, "has model_kwargs {'variant': 'a'}, which"),
        ({"settings": {"tokenizer_args": ["x"]}}, "has tokenizer_args ['x'], which is not supported"),
        ({"library": {"truncate_dim": 0}}, "truncate_dim must be an integer of at least 1, not 0"),
        ({"modules": (pooling("cls", "max"), linear()[1])}, "module Dense does not take vectors of size 64"),
        ({"modules": (MEAN, ("LayerNorm", {"dimension": 16}))}, "LayerNorm does not take vectors of size 32"),
        ({"settings": {"max_seq_length": "long"}}, "max_seq_length must be an integer of at least 1, not 'long'"),
        ({"library": {"prompts": ["a"]}}, "prompts must be an object from names to texts, not ['a']"),
        ({"library": {"prompts": {"a": 3}}}, "prompts must be an object from names to texts"),
        ({"library": {"prompts": {"a": "b" * 10_001}}}, "prompts has a text of 10001 characters; the limit is 10000"),
        ({"library": {"default_prompt_name": "a"}}, "default_prompt_name is 'a', but the prompts are none"),
        ({"library": {"prompts": {f"p{i}": "" for i in range(999)}, "default_prompt_name": "a"}}, "p0, p1, p2"),
        ({"library": {"default_prompt_name": []}}, "default_prompt_name is []"),
        ({"library": {"similarity_fn_name": "angle"}}, "unknown similarity_fn_name 'angle': give one of cosine, dot"),
        ({"library": {"similarity_fn_name": ["dot"]}}, "unknown similarity_fn_name ['dot']"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    with raises(ConfigError, ValueError, said):
        opened(Case("odd", **{"modules": (MEAN,), **fields}), tmp_path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"weight": np.zeros((16, 32), "f4")}, "lacks linear.weight"),
        ({"linear.weight": np.zeros((16, 32), "f4")}, "lacks linear.bias"),
        ({"linear.weight": np.zeros((16, 32), "i4"), "linear.bias": np.zeros(16, "f4")}, "must hold floats, not int32"),
        ({"linear.weight": np.zeros((16, 32), "f4"), "linear.bias": np.zeros(3, "f4")}, "shapes (O, I) and (O,)"),
        ({"linear.weight": np.zeros(32, "f4"), "linear.bias": np.zeros(32, "f4")}, "shapes (O, I) and (O,)"),
    ],
)
def test_weights_that_are_refused(arrays: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    write(Case("dense", linear()), tmp_path)
    safetensors.write(tmp_path / "2_Dense" / "model.safetensors", arrays, {})
    with raises(WeightsError, ValueError, said):
        minroberta.load(tmp_path)


def test_settings_without_an_effect(tmp_path: Path) -> None:
    """Version 6 writes the first ones; arguments for transformers may change the dtype, and nothing else."""
    settings = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "unpad_inputs": True,
        "model_args": {"torch_dtype": "float16", "attn_implementation": "sdpa", "trust_remote_code": True},
        "config_args": {},
    }
    normalize = ("Normalize", {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"})
    model = opened(Case("a", (MEAN, normalize), settings), tmp_path)
    assert_near(model.encode(TEXTS), EXPECTED["mean, normalized"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"modules": linear(gate=True, scale=2)}, "2_Dense/config.json has unknown settings, .*: gate, scale"),
        ({"modules": (pooling("cls", temperature=2),)}, "1_Pooling/config.json has unknown settings, .*: temperature"),
        (
            {"modules": (MEAN, ("LayerNorm", {"dimension": D, "eps": 1}))},
            "2_LayerNorm/config.json has .*: eps",
        ),
        ({"modules": (MEAN, ("Normalize", {"p": 1}))}, "2_Normalize/config.json has unknown settings, .*: p"),
        ({"settings": {"later": 1}}, "sentence_bert_config.json has unknown settings, .*: later"),
    ],
)
def test_a_setting_that_is_unknown(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=said.replace("/", re.escape(os.sep))):
        opened(Case("later", **{"modules": (MEAN,), **fields}), tmp_path)
    sizes = {"off": False, "none": None}
    opened(Case("off", (pooling("cls", **sizes),), {"max_seq_length": 9, **sizes}), tmp_path / "off")


def test_a_residual_of_another_shape(tmp_path: Path) -> None:
    write(Case("dense", linear(use_residual=True)), tmp_path)
    file = tmp_path / "2_Dense" / "model.safetensors"
    arrays = {name: np.array(x) for name, x in safetensors.File(file).items()}
    safetensors.write(file, {**arrays, "residual.weight": np.zeros((32, 16), "f4")}, {})
    with raises(WeightsError, ValueError, "residual.weight of 2_Dense must have the shape of linear.weight"):
        minroberta.load(tmp_path)


def test_the_size_that_the_repository_says(tmp_path: Path) -> None:
    model = opened(CASE["truncated by the repository"], tmp_path)
    assert model.encode(TEXTS, truncate_dim=4).shape == (len(TEXTS), 4)
    assert_near(model.encode(TEXTS, truncate_dim=32), EXPECTED["mean, normalized"])


def test_another_head_of_an_unsupported_repository(tmp_path: Path) -> None:
    """Modules that are not computed matter only to `encode`."""
    write(CASE["mean, normalized"], tmp_path)
    splade = module("1_SpladePooling", f"{SPARSE}SpladePooling")
    (tmp_path / "modules.json").write_text(json.dumps([TRANSFORMER, splade]))
    assert minroberta.load(tmp_path, head="masked_lm", missing="init").head == "masked_lm"


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"])
def test_a_file_that_is_missing(name: str, tmp_path: Path) -> None:
    write(Case("dense", linear()), tmp_path)
    (tmp_path / name).unlink()
    with raises(NotFoundError, FileNotFoundError, Path(name).name):
        minroberta.load(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a permission to make links")
@pytest.mark.parametrize("name", ["1_Pooling", "2_Dense", "2_Dense/model.safetensors", "0_Transformer", "modules.json"])
def test_a_link_out_of_the_repository(name: str, tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    write(Case("dense", linear(), folder="0_Transformer"), inner)
    outer.mkdir()
    (inner / name).rename(outer / "moved")
    (inner / name).symlink_to(outer / "moved")
    with pytest.raises((ConfigError, WeightsError), match="is a link that points outside its directory"):
        minroberta.load(inner)


# --- similarity -----------------------------------------------------------------------------------------------------


def test_similarity() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    differences = a[:, None] - b
    expected = {
        "cosine": a @ b.T / norms,
        "dot": a @ b.T,
        "euclidean": -np.sqrt((differences**2).sum(-1)),
        "manhattan": -np.abs(differences).sum(-1),
    }
    for name, values in expected.items():
        assert_near(minroberta.similarity(a, b, name), values)
        assert minroberta.similarity(a, b, name).dtype == np.float32
    assert_near(minroberta.similarity(a, jax.numpy.asarray(b)), expected["cosine"])
    assert_near(minroberta.similarity(a[0], b), expected["cosine"][:1])
    assert minroberta.similarity([[1, 0]], [[0, 0], [2, 0]]).tolist() == [[0, 1]]
    assert minroberta.similarity(a[:0], b, "manhattan").shape == (0, 3)


def test_the_similarity_of_the_repository(tmp_path: Path) -> None:
    model = opened(Case("dot", (MEAN,), library={"similarity_fn_name": "dot"}), tmp_path)
    x = model.encode(TEXTS)
    assert_near(model.similarity(x, x), x @ x.T)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([1.0], [1.0, 2.0], "vectors of 1 and 2 elements: give vectors of the same size"),
        ("a", [1.0], "vectors must be floats of shape (W,) or (N, W)"),
        ([[[1.0]]], [1.0], "not float64 of shape (1, 1, 1)"),
        ([[1.0], [1.0, 2.0]], [1.0], "vectors must have the same size"),
    ],
)
def test_vectors_that_cannot_be_compared(a: Any, b: Any, said: str) -> None:
    with raises(InputError, ValueError, said):
        minroberta.similarity(a, b)


def test_an_unknown_similarity() -> None:
    with raises(NameUnknownError, KeyError, "unknown similarity_fn_name 'angle': give one of cosine, dot, euclidean"):
        minroberta.similarity([1.0], [1.0], "angle")  # type: ignore[arg-type]
