"""Tests of golden files: contents, the same bytes everywhere, the model again, hostile files, the suite."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from support import alone, mutated, mutations, raises, slow_but, tiny

import minroberta
from minroberta import Cache, InputError, Model, NameUnknownError, NotFoundError, SaveError, WeightsError, trace
from minroberta.checkpoints.formats import safetensors
from minroberta.testing import compare, golden, read
from minroberta.testing.cases import CASES, Case, model_of
from minroberta.testing.runs import exact, run
from minroberta.weights import flat, tree

PAGE = (Path(__file__).parents[2] / "docs" / "golden.md").read_text(encoding="utf-8")
IDS = np.array([[0, 7, 9, 11, 13, 2], [0, 8, 12, 2, 1, 1]])
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
INPUTS = {"input_ids": IDS, "attention_mask": MASK}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "golden.safetensors"


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("suite")
    golden.suite(directory)
    return directory


def values(model: Model, inputs: Any, dtype: str = "float32") -> dict[str, np.ndarray]:
    """The values of a right port in a dtype."""
    params = tree({name: array.astype(dtype) for name, array in flat(model.params).items()})
    return {name: np.array(value) for name, value in run(Model(model.config, params, model.head), inputs).items()}


# --- what a file holds ----------------------------------------------------------------------------------------------


def test_every_value_in_the_order_of_computation(path: Path) -> None:
    model = tiny("masked_lm")
    golden.save(path, model, INPUTS)
    held, plain = golden.load(path), trace(model, **INPUTS)
    assert list(held) == list(plain)
    for name, value in plain.items():
        seen = held[name]
        assert seen.dtype == ("int32" if value.dtype.kind == "i" else "float32")
        shown = abs(value) < 1e30
        np.testing.assert_allclose(seen[shown], value[shown], rtol=2**-24, atol=1e-14)
        assert (seen[~shown] == np.finfo("float32").min).all()
    assert held.head == "masked_lm"
    assert held.config == model.config
    assert {name: array.tolist() for name, array in held.inputs.items()} == {n: x.tolist() for n, x in INPUTS.items()}


def test_the_order_is_that_of_the_bytes(path: Path) -> None:
    """The offsets give the order, for a reader whose JSON objects have none."""
    golden.save(path, tiny("masked_lm"), INPUTS)
    _, header, start = safetensors.read_header(path)
    places = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    assert sorted(places, key=places.get) == list(places)
    kinds = [name.partition(".")[0] for name in places]
    assert list(dict.fromkeys(kinds)) == ["inputs", "values", "weights"]
    assert all((start + begin) % 4 == 0 for begin, _ in places.values())
    assert start % 8 == 0


def test_chosen_values_and_the_outputs(path: Path) -> None:
    golden.save(path, tiny("masked_lm"), INPUTS, names=["encoder.layer.?", "embeddings"])
    assert list(golden.load(path)) == ["embeddings", "encoder.layer.0", "encoder.layer.1", "logits"]
    golden.save(path, tiny(), INPUTS, names="embeddings")
    assert list(golden.load(path)) == ["embeddings", "last_hidden_state", "pooler_output"]


def test_metadata(path: Path) -> None:
    model = tiny("masked_lm")
    golden.save(path, model, INPUTS, command="make it")
    metadata = golden.load(path).metadata
    assert metadata["format_version"] == "1"
    assert metadata["minroberta"] == minroberta.__version__
    assert json.loads(metadata["config"])["hidden_size"] == 30
    assert metadata["command"] == "make it"
    assert json.loads(metadata["weights"]) == {"file": True}
    assert metadata["weights_sha256"] == golden.digest(model)
    stated = re.findall(
        r"^\| `(\w+)`(?:, `(\w+)`)? \|", PAGE.partition("`__metadata__`")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert sorted(metadata) == sorted(name for names in stated for name in names if name)


def test_noise_has_three_digits(path: Path) -> None:
    golden.save(path, tiny("masked_lm"), INPUTS)
    held = golden.load(path)
    assert list(held.noise) == list(held)
    for name, noise in held.noise.items():
        assert noise == float(f"{noise:.3g}")
        assert held[name].dtype == "int32" or 1e-9 < noise < 1e-3


def test_the_digest_is_as_the_page_says() -> None:
    model = tiny("masked_lm", dtype="float32", model_type="roberta-prelayernorm")
    said = hashlib.sha256()
    own = {model.config.family.own_name(name): array for name, array in flat(model.params).items()}
    for name in sorted(own):
        said.update(f"{name} {' '.join(str(n) for n in own[name].shape)}\n".encode())
        said.update(b"".join(np.float64(x).tobytes() for x in own[name].ravel()))
    assert golden.digest(model) == said.hexdigest() == golden.digest(exact(model))


def test_inputs_of_every_kind(path: Path) -> None:
    """Floats are rounded to float32 first, and the values are computed from what is stored."""
    model = tiny("causal_lm", is_decoder=True, add_cross_attention=True)
    states = np.random.default_rng(0).standard_normal((2, 5, 30))
    first = {"input_ids": IDS[:, :4], "encoder_hidden_states": states}
    past = model(**first).past_key_values
    golden.save(path, model, {"input_ids": IDS[:, 4:], "encoder_hidden_states": states, "past_key_values": past})
    held = golden.load(path)
    assert held.inputs["encoder_hidden_states"].dtype == "float32"
    assert np.array_equal(held.inputs["encoder_hidden_states"], states.astype("float32"))
    own = held.inputs["past_key_values"]
    assert isinstance(own, Cache)
    assert np.array_equal(own.tokens, past.tokens)
    assert [len(layer) for layer in own] == [4, 4]
    assert np.array_equal(own[1][3], past[1][3].astype("float32"))
    plain = run(model, held.inputs)
    np.testing.assert_allclose(held["logits"], plain["logits"], rtol=1e-7, atol=1e-12)


def test_a_bare_cache(path: Path) -> None:
    model = tiny("causal_lm", is_decoder=True)
    past = tuple(model(IDS[:, :4]).past_key_values)
    golden.save(path, model, {"input_ids": IDS[:, 4:], "past_key_values": past})
    assert type(golden.load(path).inputs["past_key_values"]) is tuple


# --- the same bytes -------------------------------------------------------------------------------------------------

KERNELS = ["Prescott", "Nehalem", "Sandybridge", "Haswell", "SkylakeX"]


@pytest.mark.slow
def test_the_same_bytes_again(path: Path, suite: Path, tmp_path: Path) -> None:
    golden.suite(tmp_path / "again")
    for file in suite.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        *({"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": "1"} for kernel in KERNELS),
        {"OPENBLAS_NUM_THREADS": "4"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3 AVX512F AVX2 FMA3"},
    ],
    ids=lambda environment: "-".join(environment.values()),
)
def test_the_same_bytes_on_other_kernels(environment: dict[str, str], suite: Path, tmp_path: Path) -> None:
    program = "import sys; from minroberta.testing import golden; golden.suite(sys.argv[1])"
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]
    subprocess.run(command, env={**os.environ, **environment}, check=True, timeout=120)
    for file in suite.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_its_command_makes_it_again(path: Path) -> None:
    golden.save(path, tiny("masked_lm"), INPUTS, names=["encoder.layer.?"])
    before = path.read_bytes()
    exec(golden.load(path).metadata["command"], {"golden": golden, "FILE": path})
    assert path.read_bytes() == before


# --- the model again ------------------------------------------------------------------------------------------------


def test_the_model_from_the_file(path: Path) -> None:
    for family in ("roberta", "roberta-prelayernorm", "xlm-roberta-xl"):
        model = tiny("masked_lm", dtype="float32", model_type=family)
        golden.save(path, model, INPUTS)
        again = golden.load(path).model()
        assert flat(again.params).keys() == flat(model.params).keys()
        assert golden.digest(again) == golden.digest(model)
        assert np.array_equal(golden.load(path).trace()["logits"], trace(model, **INPUTS)["logits"])


LARGE = {"model_type": "roberta", "vocab_size": 4000, "hidden_size": 64, "num_attention_heads": 4}
LARGE |= {"num_hidden_layers": 1, "intermediate_size": 64, "max_position_embeddings": 32}


def test_the_model_from_a_seed(path: Path) -> None:
    model = minroberta.init(LARGE, head="masked_lm", seed=3)
    golden.save(path, model, INPUTS, names=["embeddings"], weights=3)
    held = golden.load(path)
    assert json.loads(held.metadata["weights"]) == {"seed": 3}
    assert path.stat().st_size < 500_000
    assert np.array_equal(held.trace()["logits"], trace(model, **INPUTS)["logits"])


@pytest.mark.slow
def test_the_model_from_a_checkpoint(path: Path) -> None:
    model = minroberta.load("minroberta/tiny", head="masked_lm")
    golden.save(path, model, {"input_ids": [[0, 2]]}, names=["embeddings"], weights="minroberta/tiny")
    assert golden.digest(golden.load(path).model()) == golden.digest(model)


def test_other_weights_are_recognised(path: Path) -> None:
    golden.save(path, minroberta.init(LARGE, head="masked_lm", seed=3), INPUTS, names=["embeddings"], weights=4)
    with raises(WeightsError, ValueError, "was computed with different weights", "the weights' digests differ"):
        golden.load(path).trace()


def test_a_file_without_a_source_of_weights(path: Path) -> None:
    golden.save(path, minroberta.init(LARGE, head="masked_lm"), INPUTS, names=["embeddings"])
    with raises(InputError, ValueError, "does not say where its weights are"):
        golden.load(path).trace()


def test_nothing_is_downloaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        golden,
        "load_model",
        lambda name, **options: asked.append((name, options)) or tiny("masked_lm", num_hidden_layers=1),
    )
    golden.save(path, minroberta.init(LARGE, head="masked_lm"), INPUTS, names=["embeddings"], weights="some/model")
    with pytest.raises(WeightsError, match="has shape"):  # weights of another model
        golden.load(path).trace()
    assert asked == [("some/model", {"head": "masked_lm", "local_files_only": True})]


# --- compared -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", slow_but(CASES, *CASES[::3]), ids=lambda case: case.name)
def test_a_right_port_passes(case: Case, suite: Path) -> None:
    held = golden.load(suite / f"{case.name}.safetensors")
    report = compare(held, values(model_of(case), held.inputs))
    assert report.ok, str(report)


@pytest.mark.parametrize("case", slow_but(CASES, *CASES[::3]), ids=lambda case: case.name)
def test_a_wrong_port_does_not(case: Case, suite: Path) -> None:
    """The last value except the loss is a thousandth too large."""
    held = golden.load(suite / f"{case.name}.safetensors")
    theirs = values(model_of(case), held.inputs)
    name = [name for name in held if name != "loss"][-1]
    report = compare(held, {**theirs, name: theirs[name] * 1.001})
    assert not report.ok
    assert report.first_bad == name


# --- mistakes of a user ---------------------------------------------------------------------------------------------


def test_an_unknown_value(path: Path) -> None:
    with raises(NameUnknownError, KeyError, "unknown name or pattern 'encoder.layers.*'"):
        golden.save(path, tiny(), INPUTS, names=["encoder.layers.*"])
    golden.save(path, tiny(), INPUTS, names=["embeddings"])
    with raises(NameUnknownError, KeyError, "has no value encoder"):
        golden.load(path)["encoder"]


@pytest.mark.parametrize(
    ("inputs", "telling"),
    [
        ([[0, 1, 2]], "invalid inputs of type list"),
        (
            {"input_ids": IDS, "output_attentions": True},
            "unsupported input output_attentions: a golden file can hold input_ids, ",
        ),
        ({"input_ids": IDS, "past_key_values": 5}, "past_key_values must be the value returned by an earlier call"),
        ({"input_ids": IDS, "token_type_ids": [[0]]}, "token_type_ids has shape"),
        ({"input_ids": IDS + 100}, "vocab_size is 53"),
        ({"input_ids": IDS + 2**40}, "beyond 32 bits"),
    ],
)
def test_wrong_inputs(inputs: Any, telling: str, path: Path) -> None:
    with raises(InputError, ValueError, telling):
        golden.save(path, tiny(), inputs)
    assert not path.exists()


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with raises(SaveError, OSError, "nowhere", "No such file"):
        golden.save(tmp_path / "nowhere" / "file", tiny(), INPUTS)
    (tmp_path / "file").write_text("")
    with raises(SaveError, OSError, "cannot be created"):
        golden.suite(tmp_path / "file")


def test_a_missing_file(tmp_path: Path) -> None:
    with raises(NotFoundError, FileNotFoundError, "does not exist, or is not a file"):
        golden.load(tmp_path / "nothing")


# --- hostile files --------------------------------------------------------------------------------------------------


def change(path: Path, metadata: dict[str, str | None], arrays: dict[str, np.ndarray] | None = None) -> Path:
    """The file with other metadata, and other arrays."""
    file = safetensors.File(path)
    held = {name: np.array(array) for name, array in file.items()} | (arrays or {})
    said = {name: text for name, text in {**file.metadata, **metadata}.items() if text is not None}
    safetensors.write(path.with_name("hostile.safetensors"), held, said)
    return path.with_name("hostile.safetensors")


@pytest.mark.parametrize(
    ("metadata", "arrays", "telling"),
    [
        ({"format_version": None}, {}, "format_version is None"),
        ({"format_version": "2" * 10_000}, {}, "is not a golden file of version 1"),
        ({"config": None}, {}, "its config is not a JSON object"),
        ({"config": "[" * 100_000}, {}, "its config is not a JSON object"),
        ({"config": "9" * 100_000}, {}, "its config is not a JSON object"),
        ({"config": "{" + " " * 3_000_000 + "}"}, {}, "its config is not a JSON object"),
        ({"config": "{}"}, {}, "has no model_type"),
        ({"head": None}, {}, "unknown head ''"),
        ({"noise": "[]"}, {}, "its noise is not a JSON object"),
        ({"noise": "{}"}, {}, "the noise of 'embeddings' is None, but must be a finite number"),
        ({"noise": '{"embeddings": true}'}, {}, "the noise of 'embeddings' is True, but must be a finite number"),
        ({"noise": '{"embeddings": "1"}'}, {}, "the noise of 'embeddings' is '1', but must be a finite number"),
        ({"noise": '{"embeddings": NaN}'}, {}, "the noise of 'embeddings' is nan, but must be a finite number"),
        ({"noise": '{"embeddings": -1}'}, {}, "the noise of 'embeddings' is -1, but must be a finite number"),
        ({"noise": '{"embeddings": 1' + "0" * 400 + "}"}, {}, "the noise of 'embeddings' is 1000"),
        ({}, {"inputs.edit": np.zeros(1)}, "unknown input 'edit'"),
        ({}, {"inputs.past_key_values.1.key": np.zeros(1)}, "unknown input 'past_key_values.1.key'"),
        ({}, {"values." + "x" * 10_000: np.zeros(1)}, "must be a finite number"),
    ],
)
def test_a_hostile_file_gets_a_sentence(metadata: Any, arrays: Any, telling: str, path: Path) -> None:
    golden.save(path, tiny(), INPUTS, names=["embeddings"])
    hostile = change(path, metadata, arrays)
    with pytest.raises(minroberta.Error, match=re.escape(telling)) as caught:
        golden.load(hostile)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("metadata", "arrays", "telling"),
    [
        ({"weights": '{"seed": -1}'}, {}, "seed must be an integer"),
        ({"weights": '{"seed": true}'}, {}, "seed must be an integer of at least 0, not True"),
        ({"weights": '{"checkpoint": "/etc/passwd"}'}, {}, "passwd"),
        ({"weights": '{"file": 1}'}, {}, "does not say where its weights are"),
        ({"weights_sha256": None}, {}, "digests differ"),
        ({}, {"weights.pooler.dense.bias": np.zeros(31)}, "has shape (31,)"),
        ({}, {"inputs.input_ids": np.full((1, 3), 99, np.int32)}, "vocab_size"),
        ({}, {"inputs.input_ids": np.zeros(3, np.int32)}, "input_ids has shape"),
    ],
)
def test_a_hostile_file_makes_no_model(metadata: Any, arrays: Any, telling: str, path: Path) -> None:
    golden.save(path, tiny(), {"input_ids": IDS}, names=["embeddings"])
    held = golden.load(change(path, metadata, arrays))
    with pytest.raises(minroberta.Error, match=re.escape(telling)) as caught:
        held.trace()
    assert len(str(caught.value)) < 700


def large(**fields: Any) -> str:
    return json.dumps({**tiny().config.to_dict(), **fields})


@pytest.mark.parametrize(
    ("metadata", "arrays", "telling"),
    [
        ({"weights": '{"seed": 0}', "config": large(vocab_size=2**31 - 1)}, {}, "elements in one value"),
        ({"weights": '{"seed": 0}', "config": large(hidden_size=300_000)}, {}, "random weights"),
        (
            {"weights": '{"seed": 0}', "config": large(num_hidden_layers=400, max_position_embeddings=1600)},
            {"inputs.input_ids": np.full((1, 1500), 5, np.int32)},
            "elements in all values",
        ),
        (
            {"config": large(position_embedding_type="relative_key", max_position_embeddings=2**30)},
            {"inputs.input_ids": np.zeros((1, 100_000), np.int32)},
            "elements in one value",
        ),
    ],
)
def test_a_small_file_takes_little_memory(metadata: Any, arrays: Any, telling: str, path: Path) -> None:
    golden.save(path, tiny(), {"input_ids": IDS}, names=["embeddings"])
    program = """
import sys
from minroberta import Error
from minroberta.testing import golden
try:
    golden.load(sys.argv[1]).trace()
except Error as error:
    print(error)
"""
    assert telling in alone(program, change(path, metadata, arrays))


def test_damaged_files(path: Path) -> None:
    golden.save(path, tiny(), INPUTS, names=["embeddings"])
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:100], whole[:-1], b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        with raises(WeightsError, ValueError, "is not a readable safetensors file"):
            golden.load(path)


@given(mutations("flip", "digit", "set", "delete", "insert", most=6000, size=3))
def test_a_changed_file_is_a_golden_file_or_an_error(path: Path, changes: list[tuple[str, int, bytes]]) -> None:
    golden.save(path, tiny(num_hidden_layers=1), {"input_ids": IDS}, names=["embeddings"])
    path.write_bytes(mutated(path.read_bytes(), changes))
    with contextlib.suppress(minroberta.Error), np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        held = golden.load(path)
        dict(held)
        held.trace()


# --- the suite ------------------------------------------------------------------------------------------------------


def test_the_index(suite: Path) -> None:
    index = json.loads((suite / "index.json").read_text(encoding="utf-8"))
    assert index["suite"] == 1
    assert [case["name"] for case in index["cases"]] == [case.name for case in CASES]
    for case in index["cases"]:
        file = suite / case["file"]
        assert case["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert case["head"] == golden.load(file).head
        assert case["shows"] and case["precision"] in ("float32", "float16", "bfloat16")
    assert len({case["sha256"] for case in index["cases"]}) == len(CASES)


def test_the_size(suite: Path) -> None:
    size = sum(file.stat().st_size for file in suite.iterdir())
    assert size < 5_000_000
    stated = re.search(r"writes (\d+) small files \(([\d.]+) MB in all\)", PAGE)
    assert stated
    assert (int(stated[1]), float(stated[2])) == (len(CASES), round(size / 1e6, 1))


def test_raw_files_hold_what_the_file_holds(path: Path, tmp_path: Path) -> None:
    golden.save(path, tiny("masked_lm", "float16"), INPUTS)
    golden.write_raw(path, tmp_path / "raw")
    index, file = json.loads((tmp_path / "raw" / "index.json").read_text(encoding="utf-8")), safetensors.File(path)
    assert list(index["arrays"]) == list(file)
    for name, entry in index["arrays"].items():
        numbers = np.fromfile(tmp_path / "raw" / entry["file"], {"float32": "<f4", "int32": "<i4"}[entry["dtype"]])
        assert np.array_equal(numbers.reshape(entry["shape"]), file[name])
    held = golden.load(path)
    assert (index["head"], index["config"], index["noise"]) == (
        held.head,
        json.loads(held.metadata["config"]),
        held.noise,
    )
    assert sorted(p.name for p in (tmp_path / "raw").iterdir()) == sorted(
        ["index.json", *(entry["file"] for entry in index["arrays"].values())]
    )


@pytest.mark.parametrize(("dtype", "stored"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_dtypes_of_weights(dtype: str, stored: str, path: Path) -> None:
    model = tiny("masked_lm", dtype)
    golden.save(path, model, INPUTS, names=["embeddings"])
    held = {name: array for name, array in safetensors.File(path).items() if name.startswith("weights.")}
    assert {str(array.dtype) for array in held.values()} == {stored}
    assert golden.digest(golden.load(path).model()) == golden.digest(model)


def test_an_old_file_with_weights_of_float16(path: Path) -> None:
    model = tiny("masked_lm", "float16")
    golden.save(path, model, INPUTS)
    file = safetensors.File(path)
    weights = {name: array.astype("float16") for name, array in file.items() if name.startswith("weights.")}
    old = golden.load(change(path, {}, weights))
    assert old.model().dtype == np.float16
    assert golden.digest(old.model()) == golden.digest(model)
    assert compare(old, values(model, INPUTS)).ok


def test_the_page_lists_the_cases() -> None:
    table = PAGE.partition("| about | cases |")[2].partition("\n\n")[0]
    assert re.findall(r"`([a-z0-9-]+)`", table) == [case.name for case in CASES]


def test_a_version_keeps_its_numbers(suite: Path) -> None:
    """The digest covers neither the noise, whose definition may change, nor the package's version."""
    said = hashlib.sha256()
    for case in CASES:
        for name, stored in safetensors.File(suite / f"{case.name}.safetensors").items():
            array = stored.astype("float16") if name.startswith("weights.") else stored  # all are of float16
            said.update(f"{case.name} {name} {array.dtype} {array.shape}".encode() + array.tobytes())
    assert (golden.SUITE, said.hexdigest()) == (1, "f700dce6da0cedf33396f4294aaa5f9b7238bdf583551ccf771c0f18ec194b31")


@pytest.mark.parametrize("case", slow_but(CASES, *CASES[::3]), ids=lambda case: case.name)
def test_weights_are_exact_in_the_precision_of_the_case(case: Case) -> None:
    bits = 8 if case.precision == "bfloat16" else 11
    for array in flat(model_of(case).params).values():
        assert array.dtype == "float16"
        mantissa, _ = np.frexp(array.astype(float))
        assert (mantissa * 2**bits % 1 == 0).all()


# --- other languages ------------------------------------------------------------------------------------------------


def built(language: str, which: int, directory: Path) -> list[str]:
    """The command that runs one of the page's programs in a language: 0 reads, 1 writes."""
    program = {"c": "cc", "js": "node"}[language]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    source = directory / f"program.{language}"
    source.write_text(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[which], encoding="utf-8")
    if language == "js":
        return ["node", str(source)]
    subprocess.run(["cc", "-w", "-o", "program", source], check=True, cwd=directory)
    return [str(directory / "program")]


@pytest.mark.parametrize("language", ["c", "js"])
def test_the_readers_of_the_page(language: str, path: Path, tmp_path: Path) -> None:
    golden.save(path, model_of(CASES[1]), INPUTS)
    file, command = safetensors.File(path), built(language, 0, tmp_path)
    names = ["values.embeddings", "values.encoder.layer.1.output", "values.logits", "inputs.input_ids"]
    for name in [*names, "weights.embeddings.LayerNorm.weight"]:
        said = subprocess.run([*command, str(path), name], capture_output=True, check=True, text=True).stdout
        first, last = map(file[name].dtype.type, said.split()[-2:])
        assert (first, last) == (file[name].ravel()[0], file[name].ravel()[-1])


@pytest.mark.parametrize("language", ["c", "js"])
def test_the_writers_of_the_page(language: str, tmp_path: Path) -> None:
    file = tmp_path / "port" / "logits.npy"
    file.parent.mkdir()
    subprocess.run([*built(language, 1, tmp_path), str(file)], check=True)
    array = read(file.parent)["logits"]
    assert (array.dtype, array.tolist()) == (np.float32, [[[1, 2, 3]], [[4, 5, 0.5]]])


def test_the_values_of_the_page() -> None:
    """Every value of the encoder, the pooler and the head has a formula, and the shape that the page says."""
    rows = re.findall(r"^\| (`.*`.*) \| ([A-Z, ]+) \| .+ \|$", PAGE.partition("and their formulas\n")[2], re.MULTILINE)
    stated = {}
    for names, shape in rows:
        first, *others = re.findall(r"`([^`]+)`", names)
        for name in (first, *(f"{first.rpartition('.')[0]}{x}" if x.startswith(".") else x for x in others)):
            in_layer = name.startswith(("attention", "intermediate", "output"))
            stated["encoder.layer.0." * in_layer + name.replace(".layer.i", ".layer.0")] = shape.split(", ")
    found = {}
    for head in ("encoder", "masked_lm"):
        model = tiny(head, "float32")
        sizes = {"H": model.config.num_attention_heads, "D": model.config.hidden_size, "V": model.config.vocab_size}
        sizes |= {"B": 2, "L": 6, "F": model.config.intermediate_size}
        output = model(**INPUTS)
        values = {**trace(model, **INPUTS), **{name: output[name] for name in output}}
        found |= {name: value.shape for name, value in values.items() if not name.startswith("encoder.layer.1")}
    assert {name: tuple(sizes[axis] for axis in shape) for name, shape in stated.items()} == found


def test_weights_that_float32_does_not_hold(path: Path) -> None:
    """Values rounded once, on storing, do not count as damage."""
    model = tiny("masked_lm", "float64")
    golden.save(path, model, INPUTS)
    assert golden.load(path).model().dtype == np.float64
    assert compare(golden.load(path), values(model, INPUTS)).ok


def test_a_value_that_the_model_does_not_make(path: Path) -> None:
    model = tiny("encoder", "float32")
    golden.save(path, model, INPUTS, names=["encoder"])
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b'"values.encoder"', b'"values.decoder"').replace(b'\\"encoder\\":', b'\\"decoder\\":')
    )
    with raises(InputError, ValueError, "the golden file is damaged: its decoder is not what its model computes"):
        compare(golden.load(path), values(model, INPUTS))
