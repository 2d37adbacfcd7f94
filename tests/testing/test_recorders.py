"""Tests of recorders: with stand-ins for libraries too large for these tests, and with the real ones that are there."""

import collections
import contextlib
import dataclasses
import doctest
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators.worked_examples import runnable
from support import raises, tiny

from minroberta import BackendError
from minroberta.testing import record

ROOT = Path(__file__).parents[2]

# --- torch ----------------------------------------------------------------------------------------------------------


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
    endless = types.SimpleNamespace()
    endless.itself, endless.state = endless, tensor(1)
    part = Module(lambda self: endless)
    assert [*record(Module(lambda self: part().state, part=part))] == ["part.1", "output"]


# --- Keras and TensorFlow -------------------------------------------------------------------------------------------


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


def keras_3(monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = types.ModuleType("keras")
    library.layers = types.SimpleNamespace(Layer=Layer)
    library.ops = types.SimpleNamespace(is_tensor=lambda x: isinstance(x, Tensor), convert_to_numpy=np.asarray)
    monkeypatch.setitem(sys.modules, "keras", library)


def tf_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras 2 has no `ops`: TensorFlow says what a tensor is."""
    library: Any = types.ModuleType("tf_keras")
    library.layers = types.SimpleNamespace(Layer=Layer)
    tensorflow: Any = types.ModuleType("tensorflow")
    tensorflow.is_tensor = lambda x: isinstance(x, Tensor)
    monkeypatch.setitem(sys.modules, "tf_keras", library)
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)


@pytest.mark.parametrize("library", [keras_3, tf_keras])
def test_record_a_keras_model(library: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that two others hold has the first of its names."""
    library(monkeypatch)
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


# --- Flax -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_record_a_bound_module_of_flax() -> None:
    """A compiled part too; a wrapper with a `module`, as transformers' models are, is called as it is."""
    linen = pytest.importorskip("flax.linen", reason="flax is not installed: pip install 'minroberta[recorders]'")
    jax = pytest.importorskip("jax")

    class Inner(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return linen.Dense(3, use_bias=False, kernel_init=linen.initializers.ones)(x)

    class Port(linen.Module):
        def setup(self) -> None:
            self.inner = Inner()
            self.compiled = linen.jit(Inner)()

        def __call__(self, x: Any) -> Any:
            return {"logits": self.compiled(self.inner(x)), "hidden_states": (x, self.inner(2 * x))}

    class Wrapper:
        module = Port()

        def __call__(self, x: Any) -> Any:
            return self.module.apply(variables, x)

    x = np.ones((1, 3), np.float32)
    variables = Port().init(jax.random.key(0), x)
    values = record(Port().bind(variables), x)
    assert {name: float(value.max()) for name, value in values.items()} == {
        "inner.Dense_0": 3,
        "inner": 3,
        "compiled.Dense_0": 9,
        "compiled": 9,
        "inner.Dense_0#2": 6,
        "inner#2": 6,
        "logits": 9,
        "hidden_states.0": 1,
        "hidden_states.1": 6,
    }
    assert all(type(value) is np.ndarray for value in values.values())
    assert [*record(Wrapper(), x)] == [*values]


# --- MLX ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_record_a_module_of_mlx() -> None:
    """A shared module has its first name. Afterwards, classes and modes are as they were, also after an error."""
    nn = pytest.importorskip("mlx.nn", reason="mlx is not installed: pip install 'minroberta[recorders]'")
    core = pytest.importorskip("mlx.core")

    class Port(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.drop = nn.ReLU(), nn.Dropout(0.5)
            self.layers = [nn.Sequential(nn.Linear(2, 2), self.act) for _ in range(2)]
            self.drop.eval()

        def __call__(self, x: Any, *, fail: bool = False) -> Any:
            assert isinstance(x, core.array) and not any(part.training for part in self.modules())
            for layer in self.layers:
                x = layer(x)
            return {"logits": 1 / 0 if fail else self.drop(x).astype(core.bfloat16)}

    port = Port()
    before = [(type(part), part.training) for part in port.modules()]
    values = record(port, np.ones((1, 2), np.float32))
    assert [*values] == [
        "layers.0.layers.0",
        "act",
        "layers.0",
        "layers.1.layers.0",
        "act#2",
        "layers.1",
        "drop",
        "logits",
    ]
    assert values["logits"].dtype == np.float32 and np.abs(values["logits"] - values["drop"]).max() < 1e-2
    with pytest.raises(ZeroDivisionError):
        record(port, np.ones((1, 2), np.float32), fail=True)
    assert [(type(part), part.training) for part in port.modules()] == before


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("library", ["flax", "mlx", "onnxruntime"])
def test_the_recipes_with_the_real_library(library: str) -> None:
    """The page is run by other tests too, with stored values in place of libraries that are not there."""
    pytest.importorskip(library, reason=f"{library} is not installed: pip install 'minroberta[recorders]'")
    page = (ROOT / "docs" / "recorders.md").read_text(encoding="utf-8")
    assert f"```python {library}\n" in page
    example = doctest.DocTestParser().get_doctest(runnable(page), {}, library, None, 0)
    assert doctest.DocTestRunner().run(example).failed == 0
