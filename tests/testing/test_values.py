"""Tests of a port's values: from files, hostile ones too; from live models; under each framework's names."""

import collections
import contextlib
import dataclasses
import io
import json
import re
import sys
import types
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators.worked_examples import shown
from hypothesis import given
from support import CHECKPOINTS, GOLDEN, alone, mutated, mutations, owner, raises, slow_but, tiny, weights_of

import minroberta
from minroberta import BackendError, Config, InputError, Model, NameUnknownError, NotFoundError, WeightsError, trace
from minroberta.checkpoints.formats.safetensors import File
from minroberta.config import labels_of_task
from minroberta.testing import Report, compare, read, record
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


# --- live models ----------------------------------------------------------------------------------------------------


class Tensor(np.ndarray):
    """A stand-in for torch's tensors."""

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> np.ndarray:
        return self.view(np.ndarray)


class Hook:
    def __init__(self, hooks: list, function: Callable) -> None:
        self.hooks, self.function = hooks, function
        hooks.append(self)

    def remove(self) -> None:
        self.hooks.remove(self)


class Module:
    """A stand-in for torch's modules: children by name, hooks, modes."""

    def __init__(self, function: Callable, **children: "Module") -> None:
        self.function, self.children, self.hooks, self.training = function, children, [], True

    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        output = self.function(self, *arguments, **inputs)
        for hook in list(self.hooks):
            hook.function(self, arguments, output)
        return output

    def register_forward_hook(self, function: Callable) -> Hook:
        return Hook(self.hooks, function)

    def named_modules(self, prefix: str = "") -> Any:
        yield prefix, self
        for name, child in self.children.items():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Any:
        return (module for _, module in self.named_modules())

    def parameters(self) -> Any:
        return iter(())

    def eval(self) -> None:
        for module in self.modules():
            module.training = False


class NoGrad:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: Any) -> None: ...


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for torch, with all that `record` uses."""
    library: Any = types.ModuleType("torch")
    library.nn = types.SimpleNamespace(Module=Module)
    library.Tensor, library.no_grad = Tensor, NoGrad
    library.as_tensor = lambda x, device: x.view(Tensor)
    monkeypatch.setitem(sys.modules, "torch", library)


def tensor(*numbers: float) -> Tensor:
    return np.array(numbers).view(Tensor)


def model_of_parts() -> Module:
    double = Module(lambda self, x: (2 * x, {"cache": x}, x + 5))
    twice = Module(lambda self, x: x + 1)
    nothing = Module(lambda self, x: None)

    def forward(self: Module, x: Tensor, *, scale: Any) -> dict:
        assert isinstance(x, Tensor)
        assert not any(part.training for part in self.modules())
        y = double(twice(x))[0]
        nothing(y)
        logits = twice(y)
        y *= 0  # after it was seen
        return {"logits": scale * logits, "hidden_states": (x, y), "count": 3}

    return Module(forward, body=Module(None, double=double, twice=twice), nothing=nothing)  # type: ignore[arg-type]


def test_record(torch: None) -> None:
    model = model_of_parts()
    model.children["nothing"].training = False
    values = record(model, np.array([1.0, 2.0]), scale=3)
    assert {name: value.tolist() for name, value in values.items()} == {
        "body.twice": [2, 3],
        "body.double": [4, 6],
        "body.double.2": [7, 8],
        "body.twice#2": [5, 7],
        "logits": [15, 21],
        "hidden_states.0": [1, 2],
        "hidden_states.1": [0, 0],
    }
    assert all(type(value) is np.ndarray for value in values.values())
    assert [part.training for part in model.modules()] == [True, True, True, True, False]
    assert not any(part.hooks for part in model.modules())


def test_a_compiled_module_has_the_same_names(torch: None) -> None:
    inner = Module(lambda self, x: x + 1)
    layer = Module(lambda self, x: inner(x), _orig_mod=Module(None, inner=inner))  # type: ignore[arg-type]
    model = Module(lambda self, x: layer(x), _orig_mod=Module(None, layer=layer))  # type: ignore[arg-type]
    assert [*record(model, np.zeros(1))] == ["layer.inner", "layer", "output"]


@pytest.mark.parametrize(
    ("output", "names"),
    [(tensor(1), ["output"]), ((tensor(1), tensor(2)), ["output", "output.1"]), ([[tensor(1)], None], ["output"]),
     (3, []), ((), []), ({}, [])],
)  # fmt: skip
def test_an_output_without_fields(torch: None, output: Any, names: list[str]) -> None:
    told = contextlib.nullcontext() if names else pytest.warns(UserWarning, match="in which no tensors were found")
    with told:
        assert [*record(Module(lambda self: output))] == names


def test_arrays_within_lists_become_tensors(torch: None) -> None:
    """Keys and values of a cache, as tuples of tuples."""

    def forward(self: Module, *, past: tuple, masks: list) -> Tensor:
        assert isinstance(past, tuple) and isinstance(past[0], tuple) and isinstance(masks, list)
        assert all(isinstance(x, Tensor) for x in (*past[0], masks[0]))
        return past[0][0]

    x = np.zeros(1)
    assert [*record(Module(forward), past=((x, x),), masks=[x])] == ["output"]


def test_an_error_leaves_no_hooks(torch: None) -> None:
    part = Module(lambda self: 1 / 0)
    model = Module(lambda self: part(), part=part)
    with pytest.raises(ZeroDivisionError):
        record(model)
    assert model.training and part.training and not part.hooks


@pytest.mark.parametrize("model", [tiny(), None, "roberta-base"])
def test_something_else_than_a_live_model(model: Any) -> None:
    with raises(BackendError, TypeError, "torch module", "Keras model", type(model).__name__):
        record(model)


class Layer:
    """A stand-in for Keras' layers."""

    def __init__(self, name: str, call: Callable, *parts: "Layer") -> None:
        self.name, self.function, self.parts = name, call, parts

    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        return self.call(*arguments, **inputs)

    def call(self, *arguments: Any, **inputs: Any) -> Any:
        return self.function(*arguments, **inputs)

    def _flatten_layers(self, include_self: bool, recursive: bool) -> list["Layer"]:
        assert not include_self and not recursive
        return list(self.parts)


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Keras, with all that `record` uses."""
    library: Any = types.ModuleType("keras")
    library.layers = types.SimpleNamespace(Layer=Layer)
    library.ops = types.SimpleNamespace(is_tensor=lambda x: isinstance(x, Tensor), convert_to_numpy=np.asarray)
    monkeypatch.setitem(sys.modules, "keras", library)


def test_record_a_keras_model(keras: None) -> None:
    """A layer that two others hold has the first of its names."""
    embedding = Layer("embedding", lambda x, reverse=False: -x if reverse else x + 1)
    body = Layer("body", lambda x: 2 * embedding(x), embedding)
    head = Layer("head", lambda x: embedding(x, reverse=True), embedding)
    values = record(Layer("model", lambda x: head(body(x)), body, head), tensor(1, 2))
    assert {name: value.tolist() for name, value in values.items()} == {
        "body.embedding": [2, 3],
        "body": [4, 6],
        "body.embedding#2": [-4, -6],
        "head": [-4, -6],
        "output": [-4, -6],
    }
    assert not any("call" in vars(layer) for layer in (embedding, body, head))


def found(model: Model, values: Mapping[str, Any], **options: Any) -> Report:
    ids = np.array([[0, 7, 9, 2], [0, 8, 2, 1]])
    return compare(trace(model, ids, attention_mask=(ids != 1).astype(int)), values, **options)


def test_record_a_real_torch_module() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: its recordings are golden files")

    class Port(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5), torch.nn.ReLU(inplace=True))
            self.narrow = torch.nn.Linear(3, 2).to(torch.bfloat16)

        def forward(self, x: Any) -> Any:
            return self.narrow(self.inner(x).to(torch.bfloat16))

    port, x = Port(), np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    values = record(port, x)
    assert [*values] == ["inner.0", "inner.1", "inner.2", "inner", "narrow", "output"]
    assert values["inner.0"].min() < 0 == values["inner.2"].min()  # in spite of inplace
    assert np.array_equal(values["inner.0"], values["inner.1"])
    assert values["narrow"].dtype == np.float32
    assert port.training and port.inner[1].training


def test_tensors_of_torch_are_values() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    given = {"logits": torch.ones(2, requires_grad=True), "loss": torch.ones((), dtype=torch.bfloat16)}
    values = under_our_names(given, None)
    assert values["logits"].tolist() == [1, 1] and values["loss"].dtype == np.float32


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


def test_fused_paths_of_torch_are_off_while_recording() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: its recordings are golden files")
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = torch.nn.ModuleDict({"encoder": torch.nn.TransformerEncoder(layer, 2)})
    model.forward = lambda x, mask: model["encoder"](x, src_key_padding_mask=mask)
    x, mask = np.zeros((2, 5, 8), "float32"), np.arange(5) >= np.array([[5], [3]])
    assert record(model, x=x, mask=mask)["encoder.layers.1.linear1"].shape == (2, 5, 16)
    assert torch.backends.mha.get_fastpath_enabled()


def test_outputs_of_other_kinds(torch: None) -> None:
    """Dataclasses, named tuples and plain objects have fields; an output without tensors is told."""

    @dataclasses.dataclass
    class Output:
        state: Any
        layers: list[Any]

    values = record(Module(lambda self, x: Output(x["a"], [x["a"], x["b"]])), {"a": np.ones(1), "b": np.zeros(2)})
    assert {name: value.shape for name, value in values.items()} == {"state": (1,), "layers.0": (1,), "layers.1": (2,)}
    pair = collections.namedtuple("pair", "state pooled")
    for other in (pair(tensor(1), tensor(2)), types.SimpleNamespace(state=tensor(1), pooled=tensor(2))):
        assert [*record(Module(lambda self, other=other: other))] == ["state", "pooled"]
        part = Module(lambda self, other=other: other)
        assert [*record(Module(lambda self, part=part: part().state, part=part))] == ["part", "part.1", "output"]
    with pytest.warns(UserWarning, match="the Module returned a object, in which no tensors were found"):
        assert record(Module(lambda self: object())) == {}


def test_a_prefix_that_all_names_have_is_removed() -> None:
    """As of a sentence-transformers model, whose first module holds the encoder."""
    one = np.zeros(1)
    values = {"0.auto_model.embeddings.word_embeddings": one, "0.auto_model.encoder.layer.1.output": one, "1": one}
    assert list(under_our_names(values, None)) == ["embeddings.word_embeddings", "encoder.layer.1.output", "1"]
    two = {"query.embeddings.word_embeddings": one, "document.embeddings.word_embeddings": one}
    assert list(under_our_names(two, None)) == list(two)
