"""Tests of a port's values: from files, hostile ones too; from live models; under each framework's names."""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators.worked_examples import shown
from hypothesis import given
from support import CHECKPOINTS, GOLDEN, alone, mutated, mutations, owner, raises, slow_but, weights_of

import minroberta
from minroberta import Config, InputError, Model, NameUnknownError, NotFoundError, WeightsError, trace
from minroberta.checkpoints.formats.safetensors import File
from minroberta.config import labels_of_task
from minroberta.testing import compare, read
from minroberta.testing.values import under_our_names
from minroberta.trace import Trace
from minroberta.weights import move, tree

# --- files ----------------------------------------------------------------------------------------------------------

ARRAYS = {
    "encoder.layer.10.attention.self.query": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "encoder.layer.2": np.array([[0.5, -2]], np.float16),
    "loss": np.array(2.5),
    "embeddings.position_ids": np.array([[2, 3, 1]]),
    "none": np.zeros((0, 3), np.float32),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


def as_npz(directory: Path) -> Path:
    np.savez(directory / "port.npz", **ARRAYS)
    return directory / "port.npz"


def as_compressed(directory: Path) -> Path:
    np.savez_compressed(directory / "port.npz", **ARRAYS)
    return directory / "port.npz"


def as_directory(directory: Path) -> Path:
    for name, array in ARRAYS.items():
        np.save(directory / f"{name}.npy", array)
    (directory / "notes.txt").write_text("of no interest")
    return directory


def as_safetensors(directory: Path) -> Path:
    from safetensors.numpy import save_file

    save_file({name: array.copy() for name, array in ARRAYS.items()}, directory / "port.safetensors")
    return directory / "port.safetensors"


@pytest.mark.parametrize("write", [as_npz, as_compressed, as_directory, as_safetensors])
@pytest.mark.parametrize("kind", [str, Path])
def test_read(write: Callable[[Path], Path], kind: Callable, tmp_path: Path) -> None:
    values = read(kind(write(tmp_path)))
    assert values.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert values[name].dtype == array.dtype
        assert values[name].shape == array.shape
        assert np.array_equal(values[name], array)


def test_one_array_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "encoder.layer.0.npy", ARRAYS["loss"])
    assert read(tmp_path / "encoder.layer.0.npy") == {"encoder.layer.0": 2.5}


def test_an_array_of_a_directory_is_mapped(tmp_path: Path) -> None:
    values = read(as_directory(tmp_path))
    assert type(owner(values["encoder.layer.10.attention.self.query"])).__name__ == "mmap"
    with pytest.raises(ValueError, match="read-only"):
        values["encoder.layer.2"][0] = 1


class Code:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('a pickle ran')",))


PICKLE = np.array([Code()], dtype=object)


def archive(path: Path, *members: tuple[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", kind) as file:
        warnings.simplefilter("ignore")  # about a duplicate name
        for name, data in members:
            file.writestr(name, data)
    return path


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def lying(shape: str) -> bytes:
    """An array of a few bytes whose header promises another shape."""
    return npy(np.arange(1_000.0)).replace(b"(1000,)", shape.encode().ljust(7), 1)


def npz(name: str, *members: tuple[str, bytes], **options: Any) -> Callable[[Path], Path]:
    return lambda directory: archive(directory / name, *members, **options)


def file(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(directory: Path) -> Path:
        (directory / name).write_bytes(data)
        return directory / name

    return write


ONE = npy(np.arange(3.0))

HOSTILE = {
    "a pickle": (file("a.npy", npy(PICKLE)), InputError, "a.npy"),
    "a pickle in an archive": (npz("a.npz", ("x.npy", npy(PICKLE))), InputError, "a.npz"),
    "an archive by another name": (npz("a.npy", ("x.npy", ONE)), InputError, "a.npy"),
    "an array by another name": (file("a.npz", ONE), InputError, "a.npz"),
    "no array": (npz("a.npz", ("x.txt", b"hello")), InputError, "a.npz"),
    "nothing": (file("a.npz", b""), InputError, "a.npz"),
    "nothing at all": (file("a.npy", b""), InputError, "a.npy"),
    "half of one": (file("a.npy", npy(np.arange(1_000.0))[:900]), InputError, "a.npy"),
    "a name twice": (npz("a.npz", ("x.npy", ONE), ("x.npy", ONE)), InputError, "holds x.npy twice"),
    "another compression": (npz("a.npz", ("x.npy", ONE), kind=zipfile.ZIP_LZMA), InputError, "numpy.savez"),
    "a shape too large": (file("a.npy", lying("(9**9,)")), InputError, "a.npy"),
    "more than there is": (file("a.npy", lying("(9999,)")), InputError, "a.npy"),
    "more than there is, in an archive": (npz("a.npz", ("x.npy", lying("(9999,)"))), InputError, "a.npz"),
    "a negative shape": (file("a.npy", lying("(-100,)")), InputError, "a.npy"),
    "no safetensors": (file("a.safetensors", b"hello"), WeightsError, "a.safetensors"),
    "something else": (file("a.txt", b"hello"), WeightsError, "a.txt"),
}


@pytest.mark.parametrize(("write", "kind", "telling"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file(write: Callable[[Path], Path], kind: type, telling: str, tmp_path: Path) -> None:
    with raises(kind, ValueError, telling) as caught:
        read(write(tmp_path))
    assert str(caught.value).count(str(tmp_path)) == 1  # it is one sentence


READ = """
import sys
from minroberta import InputError
from minroberta.testing import read
try:
    read(sys.argv[1])
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(("size", "telling"), [(2**27, "would unpack to"), (1_000, "numpy.savez")])
def test_an_archive_is_limited_in_memory(size: int, telling: str, tmp_path: Path) -> None:
    """Forty megabytes of zeros in forty kilobytes, whose directory claims gigabytes, or almost nothing."""
    zeros = npy(np.zeros(2**20, np.uint8))
    path = archive(tmp_path / "a.npz", *((f"{i}.npy", zeros) for i in range(40)), kind=zipfile.ZIP_DEFLATED)
    own = len(zeros).to_bytes(4, "little")
    assert path.read_bytes().count(own) == 2 * 40
    path.write_bytes(path.read_bytes().replace(own, size.to_bytes(4, "little")))
    said = alone(READ, path)
    assert "a.npz" in said
    assert telling in said


@pytest.mark.parametrize("name", ["port.npz", "encoder.layer.2.npy"])
@given(changes=mutations("flip", "cut", "insert", "delete", "set", "fill", "digit", most=1500, size=8))
def test_a_damaged_file_is_read_or_refused(name: str, changes: list, tmp_path: Path) -> None:
    source = as_npz(tmp_path) if name.endswith("npz") else as_directory(tmp_path) / name
    (tmp_path / f"damaged{source.suffix}").write_bytes(mutated(source.read_bytes(), changes))
    try:
        values = read(tmp_path / f"damaged{source.suffix}")
    except InputError:
        return
    assert all(isinstance(value, np.ndarray) for value in values.values())


def test_missing_files(tmp_path: Path) -> None:
    with raises(NotFoundError, FileNotFoundError, "port.npz does not exist", ".npy files"):
        read(tmp_path / "port.npz")
    with raises(NotFoundError, FileNotFoundError, "no .npy file", tmp_path.name):
        read(tmp_path)
    (tmp_path / "a.npy").mkdir()
    with raises(InputError, ValueError, "a.npy is not a file"):
        read(tmp_path)


# --- models of the frameworks ---------------------------------------------------------------------------------------

PORTS = {path.stem: path for path in sorted((GOLDEN / "ports").glob("*.safetensors"))}

SHARED = {
    "fairseq": 21,
    "fairseq-classifier": 22,
    "fairseq-normalize-before": 22,
    "fairseq-prenorm": 21,
    "huggingface-4-roberta": 40,
    "huggingface-4-roberta-prelayernorm": 42,
    "huggingface-4-xlm-roberta-xl": 38,
    "huggingface-5-roberta": 40,
    "huggingface-5-roberta-prelayernorm": 42,
    "huggingface-5-xlm-roberta-xl": 38,
    "keras_hub_masked_lm": 118,
    "keras_hub_xlm_classifier": 17,
    "keras_nlp_classifier": 17,
}
"""Number of our names that each model gives: all values that pass through their own module."""


def recorded(port: str) -> tuple[Trace, dict[str, np.ndarray], str]:
    """A run of the reference, the same model's values in its framework, and the framework's name."""
    about = json.loads(File(PORTS[port]).metadata["port"])
    values = read(PORTS[port])
    inputs = {name: values.pop(f"inputs|{name}") for name in ("input_ids", "attention_mask")}
    if "checkpoint" in about:
        path = CHECKPOINTS / about["checkpoint"]
        model = minroberta.load(path / "model.pt" if about["names"] == "fairseq" else path, head=about["head"])
    else:
        config = Config.from_dict({**about["config"], **labels_of_task(about["config"], about["head"])})
        model = Model(config, tree(move(weights_of(config, about["head"]), "float32", np)), about["head"])
    return trace(model, **inputs), values, about["names"]


def test_every_framework_is_recorded() -> None:
    assert PORTS.keys() == SHARED.keys()


@pytest.mark.parametrize("port", PORTS)
def test_a_right_model_of_a_framework(port: str) -> None:
    reference, values, names = recorded(port)
    ours = under_our_names(values, names, reference.model.config.family)
    report = compare(reference, ours)
    assert report.ok
    assert all(row.verdict == "good" for row in report.rows)
    assert report.unknown == ()
    assert len(report.rows) == SHARED[port]
    assert compare(reference, values, names=names).ok


ONE_A_FRAMEWORK = ("fairseq", "huggingface-4-roberta", "huggingface-5-roberta-prelayernorm", "keras_nlp_classifier")


@pytest.mark.parametrize("port", slow_but(PORTS, "fairseq", "huggingface-4-roberta", "keras_hub_xlm_classifier"))
def test_a_wrong_value_of_a_framework_is_found(port: str) -> None:
    """A mistake in any value of a framework's model is found."""
    reference, values, names = recorded(port)
    family = reference.model.config.family
    for name in under_our_names(values, names, family):
        spoilt = {**under_our_names(values, names, family)}
        spoilt[name] = spoilt[name] * np.float32(1.01)
        assert compare(reference, spoilt).first_bad == name


# --- names ----------------------------------------------------------------------------------------------------------

X = np.array([1.0, 2.0])


def named(values: Mapping[str, Any], names: Any = None) -> list[str]:
    return sorted(under_our_names(dict.fromkeys(values, X), names))


PREFIXES = ("roberta.", "roberta_prelayernorm.", "data2vec_text.", "")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("foreign", "ours"),
    {
        "encoder.layer.11.attention.self.query": "encoder.layer.11.attention.self.query",
        "embeddings.dropout": "embeddings",
        "encoder.layer.3.attention.self.dropout": "encoder.layer.3.attention.self.probs",
        "encoder.layer.3.attention.self.1": "encoder.layer.3.attention.self.probs",
        "encoder.layer.3.crossattention.self.1": "encoder.layer.3.crossattention.self.probs",
        "encoder.layer.3.attention.output.dropout": "encoder.layer.3.attention.output.dense",
        "encoder.layer.3.output.dropout": "encoder.layer.3.output.dense",
        "encoder.layer.3.intermediate.intermediate_act_fn": "encoder.layer.3.intermediate",
        "pooler.activation": "pooler",
    }.items(),
)
def test_hugging_faces_modules(prefix: str, foreign: str, ours: str) -> None:
    assert named({prefix + foreign: X}) == [ours]
    assert named({prefix + foreign: X}, "huggingface") == [ours]


@pytest.mark.parametrize(
    ("foreign", "ours"),
    {
        "lm_head.decoder": "lm_head",
        "classifier.dropout#2": "classifier.tanh",
        "hidden_states.0": "embeddings",
        "hidden_states.1": "encoder.layer.0",
        "hidden_states.12": "encoder.layer.11",
        "attentions.10": "encoder.layer.10.attention.self.probs",
        "cross_attentions.2": "encoder.layer.2.crossattention.self.probs",
        "my.own.module": "my.own.module",
        "logits": "logits",
        "pooler_output": "pooler_output",
    }.items(),
)
def test_hugging_faces_heads_and_outputs(foreign: str, ours: str) -> None:
    assert named({foreign: X}) == [ours]


@pytest.mark.parametrize(
    "foreign",
    [*(p.rstrip(".") for p in PREFIXES[:3]), "roberta.1", "dropout", "classifier.dropout", "encoder.layer.0.1",
     "roberta.encoder.layer.0.attention.1"],
)  # fmt: skip
def test_modules_without_a_canonical_name(foreign: str) -> None:
    assert named({foreign: X}) == []


@pytest.mark.parametrize("order", [1, -1])
def test_a_modules_value_is_preferred_to_an_output(order: int) -> None:
    """Modules win over outputs: `lm_head` has the bias that `decoder` may lack, and XL's last state has its norm."""
    values = {"lm_head": X, "lm_head.decoder": 0 * X, "encoder.layer.1": X, "hidden_states.2": 0 * X}
    ours = under_our_names(dict([*values.items()][::order]), None)
    assert np.array_equal(ours["lm_head"], X)
    assert np.array_equal(ours["encoder.layer.1"], X)


def test_a_table_of_names() -> None:
    names = {
        "emb[0]": "embeddings",  # as a pattern this would be another name
        r"h\.(\d+)\.q": r"encoder.layer.\1.attention.self.query",
        r"h\..*\.cache": None,
    }
    assert named(["emb[0]", "h.0.q", "h.11.q", "h.0.cache", "other"], names) == [
        "embeddings", "encoder.layer.0.attention.self.query", "encoder.layer.11.attention.self.query", "other",
    ]  # fmt: skip


def test_a_function_of_names() -> None:
    names = {"a": "embeddings", "b": None}.get
    assert named(["a", "b", "c"], names) == ["embeddings"]


def test_a_familys_names() -> None:
    names = ["encoder.layer.0.output.LayerNorm", "encoder.layer.0.attention.output.LayerNorm", "LayerNorm"]
    values = dict.fromkeys(names, X)
    families = minroberta.config.FAMILIES
    assert [*under_our_names(values, None, families["roberta"])] == names
    assert [*under_our_names(values, None, families["xlm-roberta-xl"])] == [
        "encoder.layer.0.LayerNorm", "encoder.layer.0.attention.self_attn_layer_norm", "encoder.LayerNorm",
    ]  # fmt: skip
    own = [*under_our_names(values, None, families["roberta-prelayernorm"])]
    assert own == ["encoder.layer.0.intermediate.LayerNorm", "encoder.layer.0.attention.LayerNorm", "LayerNorm"]
    again = under_our_names(dict.fromkeys(own, X), None, families["roberta-prelayernorm"])
    assert [*again] == own


@pytest.mark.parametrize(
    ("values", "names", "kind", "telling"),
    [
        ([X], None, InputError, ["type list", "a mapping from names to arrays"]),
        ({"a": X}, "keras", NameUnknownError, ["keras_hub", "fairseq", "huggingface", "'keras'"]),
        ({"a": X, "b": X}, {"a": "embeddings", "b": "embeddings"}, InputError, ["embeddings", " a ", " b ", "None"]),
        ({"a": X, "logits": X}, {"a": "logits"}, InputError, ["logits", " a "]),
        ({"a": X, "b": X}, {".": "embeddings"}, InputError, ["embeddings"]),
        ({"a": X}, {"(": "embeddings"}, InputError, ["'('", "pattern"]),
        ({"a": X}, {"a+": r"\1"}, InputError, ["'a+'", "pattern"]),
        ({"a": np.array(["x"])}, None, InputError, ["dtype <U1 of a:"]),
        ({"a": np.array([1j])}, None, InputError, ["dtype complex128 of a:"]),
        ({"a": None}, None, InputError, ["dtype object of a:"]),
        ({"a": np.zeros(2, "V2")}, None, InputError, ["dtype |V2 of a:"]),
    ],
)
def test_values_that_cannot_be_named(values: Any, names: Any, kind: type, telling: list[str]) -> None:
    with raises(kind, KeyError if kind is NameUnknownError else ValueError, *telling):
        under_our_names(values, names)


def test_bfloat16() -> None:
    jax = pytest.importorskip("jax")
    value = under_our_names({"logits": jax.numpy.ones(3, "bfloat16")}, None)["logits"]
    assert value.dtype == np.float32
    assert np.array_equal(value, [1, 1, 1])


def test_tensors_of_torch_are_values() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    given = {"logits": torch.ones(2, requires_grad=True), "loss": torch.ones((), dtype=torch.bfloat16)}
    values = under_our_names(given, None)
    assert values["logits"].tolist() == [1, 1] and values["loss"].dtype == np.float32


def test_a_prefix_that_all_names_have_is_removed() -> None:
    """As of a sentence-transformers model, whose first module holds the encoder."""
    one = np.zeros(1)
    values = {"0.auto_model.embeddings.word_embeddings": one, "0.auto_model.encoder.layer.1.output": one, "1": one}
    assert list(under_our_names(values, None)) == ["embeddings.word_embeddings", "encoder.layer.1.output", "1"]
    two = {"query.embeddings.word_embeddings": one, "document.embeddings.word_embeddings": one}
    assert list(under_our_names(two, None)) == list(two)


# --- the guide ------------------------------------------------------------------------------------------------------

GUIDE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


def without_figures(page: str) -> str:
    """The report without what differs between machines: rounding, the place of the largest, column widths."""
    return re.sub(r"-?\d[\d.e+-]*", "0", re.sub(" +", " ", page))


def test_the_guide_shows_what_its_examples_make() -> None:
    pytest.importorskip("jax", reason="an example is a kernel of JAX")
    assert without_figures(shown(GUIDE)) == without_figures(GUIDE)


@pytest.mark.parametrize("port", PORTS)
def test_the_guide_says_how_many_values_a_framework_gives(port: str) -> None:
    reference, _, names = recorded(port)
    row = rf"\|[^|]*\| {names} \| {SHARED[port]} of {len(compare(reference, dict(reference)).rows)} \|"
    assert re.search(row.replace("huggingface", "").replace("|  ", "| "), GUIDE.replace("`", ""))
