"""Tests that need eight devices. `test_devices.py` runs them in a process where JAX makes eight devices of the CPU."""

import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from support import TINY, raises, slow_but
from test_compiled import FIELDS, _afresh  # noqa: F401  # a fixture

from minroberta import BackendError, Model, compiled, init, load, trace
from minroberta.backend.devices import shared
from minroberta.config import HEADS
from minroberta.model import run, table
from minroberta.weights import flat

ROOT = Path(__file__).parents[1]
SLOW = pytest.mark.slow


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    assert len(jax.devices()) == 8
    with jax.enable_x64(True):
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The inputs and outputs of every compiled call."""
    seen, call = [], compiled.call

    def watched(run: Any, params: Any, config: Any, head: str, inputs: Any, *rest: Any, **asked: Any) -> Any:
        outputs = call(run, params, config, head, inputs, *rest, **asked)
        seen.append(({**inputs, "wanted": asked["wanted"]}, outputs))
        return outputs

    monkeypatch.setattr(compiled, "call", watched)
    return seen


def pair(head: str = "encoder", devices: Any = 8, **fields: Any) -> tuple[Model, Model]:
    """The same model on several devices, and on NumPy. `causal_lm` is that of a decoder."""
    fields = {"is_decoder": head == "causal_lm", **fields}
    given = {"head": head, "dtype": "float64"}
    return init({**FIELDS, **fields}, xp=jnp, devices=devices, **given), init({**FIELDS, **fields}, **given)


def assert_equal(ours: Mapping[str, Any], exact: Mapping[str, Any]) -> None:
    assert list(ours) == list(exact)
    for name, value in exact.items():
        for one, other in zip(jax.tree.leaves(ours[name]), jax.tree.leaves(value), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12, err_msg=name)


def batch(size: int, head: str, length: int = 7) -> dict[str, np.ndarray]:
    """Random ids, and a mask that hides some tokens of each row, but never the first."""
    random = np.random.RandomState(size)
    shape = (size, 3, length) if HEADS[head].choices else (size, length)
    mask = (random.rand(*shape) < 0.7).astype(int)
    mask[..., 0] = 1
    return {"input_ids": random.randint(2, 50, shape), "attention_mask": mask}


def rest_of(head: str) -> str:
    """The end of the description of a compiled call for one of these batches, after their size."""
    return "3 × " * HEADS[head].choices + "16" + ", use_cache" * (head == "causal_lm")


def assert_shared(x: Any, devices: int = 8) -> None:
    """Each device has an equal share of the rows of x, and no row is on two devices."""
    assert len(x.sharding.device_set) == devices
    rows = [shard.index[0].indices(len(x))[:2] for shard in x.addressable_shards]
    assert sorted(rows) == [(i * len(x) // devices, (i + 1) * len(x) // devices) for i in range(devices)]


# --- calls ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", slow_but(HEADS, "encoder"))
def test_calls(head: str, calls: list[Any]) -> None:
    """Batches of any size, with a compilation for each padded size only."""
    ours, exact = pair(head)
    for size in (1, 3, 8, 13, 2, 16):
        inputs = batch(size, head)
        assert_equal(ours(**inputs), exact(**inputs))
    assert ours.compilations == [f"{head} of {size} × {rest_of(head)}, 8 devices" for size in (8, 16)]
    assert compiled._jitted(run)._cache_size() == 2
    for inputs, outputs in calls:
        for x in jax.tree.leaves((inputs, outputs)):
            assert_shared(x)


def test_every_device_has_the_weights() -> None:
    ours, _ = pair()
    for x in jax.tree.leaves(ours.params):
        assert len(x.sharding.device_set) == 8
        assert x.sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("devices", "numbers", "sizes"), [(3, [0, 1, 2], (3, 6)), ([6, 2], [2, 6], (2, 6)), (1, [0], (1, 6))]
)
def test_some_of_the_devices(devices: Any, numbers: list[int], sizes: tuple[int, int], calls: list[Any]) -> None:
    count = devices if isinstance(devices, int) else len(devices)
    ours, exact = pair(devices=devices if isinstance(devices, int) else [jax.devices()[i] for i in devices])
    assert ours.device_count == count
    assert ("devices" in repr(ours)) is (count > 1)
    for size in (1, 5):
        assert_equal(ours(**batch(size, "encoder")), exact(**batch(size, "encoder")))
    note = f", {count} devices" if count > 1 else ""
    assert ours.compilations == [f"encoder of {size} × 16{note}" for size in sizes]
    for x in jax.tree.leaves(calls if count > 1 else [outputs for _, outputs in calls]):
        assert sorted(device.id for device in x.sharding.device_set) == numbers
        assert_shared(x, count)


def test_compilations_are_counted_for_each_number_of_devices() -> None:
    """Models of the same configuration share compilations, but not those for other devices."""
    for count, note in ((8, ", 8 devices"), (1, "")):
        ours, _ = pair(devices=count)
        ours(**batch(8, "encoder"))
        assert ours.compilations == [f"encoder of 8 × 16{note}"]
    again, _ = pair()
    again(**batch(8, "encoder"))
    assert again.compilations == []


@SLOW
def test_compile() -> None:
    ours, _ = pair()
    ours.compile(lengths=[9], batches=[1, 9])
    assert ours.compilations == ["encoder of 8 × 16, 8 devices", "encoder of 16 × 16, 8 devices"]


@SLOW
def test_states_and_probabilities(calls: list[Any]) -> None:
    ours, exact = pair()
    inputs = {**batch(3, "encoder"), "output_hidden_states": True, "output_attentions": True}
    assert_equal(ours(**inputs), exact(**inputs))
    for x in jax.tree.leaves(calls):
        assert_shared(x)


@SLOW
def test_what_is_not_compiled() -> None:
    """Losses, traces, and calls that continue from a cache. One layer: each operation is compiled for eight devices."""
    ours, exact = pair("causal_lm", num_hidden_layers=1)
    inputs = batch(8, "causal_lm")
    found, wanted = ours(**inputs, labels=inputs["input_ids"]), exact(**inputs, labels=inputs["input_ids"])
    np.testing.assert_allclose(found.loss, wanted.loss, rtol=0, atol=1e-12)
    assert ours.compilations == []
    values, others = trace(ours, **inputs), trace(exact, **inputs)
    np.testing.assert_allclose(values["encoder"], others["encoder"], rtol=0, atol=1e-12)
    for rows in (8, 3):
        ids = inputs["input_ids"][:rows]
        again, theirs = (
            model(ids[:, -1:], past_key_values=model(ids[:, :-1]).past_key_values) for model in (ours, exact)
        )
        np.testing.assert_allclose(again.logits, theirs.logits, rtol=0, atol=1e-12)


@SLOW
def test_another_size() -> None:
    """A changed model is still on all devices."""
    ours, exact = pair("masked_lm")
    for change in (lambda model: model.resize_token_embeddings(60), lambda model: model.prune_heads({0: [1]})):
        changed, theirs = change(ours), change(exact)
        assert_equal(changed(**batch(3, "masked_lm")), theirs(**batch(3, "masked_lm")))
        assert changed.compilations == ["masked_lm of 8 × 16, 8 devices"]


def test_skip_padding() -> None:
    ours, exact = pair()
    assert_equal(ours(**batch(3, "encoder"), skip_padding=True), exact(**batch(3, "encoder"), skip_padding=True))
    assert ours.compilations == ["encoder of 8 × 16, 8 devices"]


def test_a_call_within_a_compiled_function() -> None:
    ours, exact = pair()
    inputs = batch(3, "encoder")
    found = jax.jit(lambda x: x + ours(**inputs).last_hidden_state)(1.0)
    np.testing.assert_allclose(found, 1 + exact(**inputs).last_hidden_state, rtol=0, atol=1e-12)


def test_a_part_of_an_array_on_several_devices() -> None:
    """As on a GPU, where outputs are cut on the devices: here to a number of rows that eight does not divide."""
    x = jnp.arange(32.0).reshape(16, 2)
    ours, _ = pair()
    parts = shared(x, table(ours.params))
    assert_shared(parts)
    np.testing.assert_array_equal(parts[(slice(13), slice(1))], x[:13, :1])


# --- tasks ----------------------------------------------------------------------------------------------------------

ROWS = [[0, 5, 2], [0, 7, 8, 9, 2], [0, *range(10, 30), 2], [3], *[[0, 7, 2]] * 9]


@pytest.mark.parametrize("head", slow_but(HEADS, "token_classification"))
def test_rows(head: str, calls: list[Any]) -> None:
    ours, exact = pair(head)
    for wanted in (None, [[0]] * len(ROWS) if HEADS[head].reads_first else [[0, len(row) - 1] for row in ROWS]):
        for found, other in zip(ours.on_rows(ROWS, wanted), exact.on_rows(ROWS, wanted), strict=True):
            assert_equal(found, other)
    for x in jax.tree.leaves(calls):
        assert_shared(x)


TEXTS = [f"The {'very ' * (index % 5)}old house was sold." for index in range(20)]
TASKS = {
    "encoder": lambda model: model.encode(TEXTS).tolist(),
    "question_answering": lambda model: [model.answer("Who came?", "Then the old man came.")[0]["score"]],
}
"""A task of many rows and one of a single row: what else tasks ask of devices is `on_rows`, tested for every head."""


@pytest.mark.parametrize("head", slow_but(TASKS, "encoder"))
def test_tasks(head: str, calls: list[Any]) -> None:
    ours = load(head=head, xp=jnp, dtype="float64", devices=8)
    np.testing.assert_allclose(TASKS[head](ours), TASKS[head](load(head=head, dtype="float64")), rtol=0, atol=1e-10)
    for x in jax.tree.leaves(calls):
        assert_shared(x)


@SLOW
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=str)
def test_generate(options: dict[str, Any]) -> None:
    """Each device computes all of it, since beams move between rows."""
    ours, exact = pair("causal_lm", vocab_size=8000, eos_token_id=None)
    ours.tokenizer = exact.tokenizer = load(head="encoder").tokenizer
    found, other = (model.generate("The old house", 14, **options) for model in (ours, exact))
    assert found == other
    assert len(ours.compilations) == 3  # the prompt, and caches of 16 and 24 positions


# --- other meshes ---------------------------------------------------------------------------------------------------


def test_batches_and_weights_may_both_be_shared(calls: list[Any]) -> None:
    """A mesh of two axes: the batch along one, and a product's columns along the other."""
    ours, exact = pair("masked_lm", devices=None)
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("batch", "model"))

    def place(path: Any, x: Any) -> Any:
        columns = jax.tree_util.keystr(path).endswith("['query']['weight']")
        return jax.device_put(x, NamedSharding(mesh, PartitionSpec("model") if columns else PartitionSpec()))

    ours = Model(ours.config, jax.tree_util.tree_map_with_path(place, ours.params), ours.head)
    assert ours.device_count == 4
    assert_equal(ours(**batch(5, "masked_lm")), exact(**batch(5, "masked_lm")))
    assert ours.compilations == ["masked_lm of 8 × 16, 4 devices"]
    for inputs, _ in calls:
        assert inputs["input_ids"].addressable_shards[0].data.shape == (2, 16)


XL = {
    "model_type": "xlm-roberta-xl",
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 8,
    "num_hidden_layers": 2,
    "max_position_embeddings": 60,
}


@pytest.mark.parametrize("head", slow_but(HEADS, "masked_lm"))
def test_weights_divided_as_in_the_example(head: str) -> None:
    """Each device has an eighth of each large weight, and calls and rows give the same as NumPy."""
    exact = init({**XL, "is_decoder": head == "causal_lm"}, head=head, dtype="float64")
    ours = runpy.run_path(str(ROOT / "examples/sharded.py"))["sharded"](exact, jax.devices(), "float64")
    for name, x in flat(ours.params).items():
        (size,) = {shard.data.size for shard in x.addressable_shards}
        divided = (x.ndim == 2 and "layer" in name) or "word_embeddings" in name
        assert size == x.size // 8 if divided else size in (x.size, x.size // 8), name
        assert x.sharding.is_fully_replicated or size == x.size // 8, name
    for size in (1, 3):
        assert_equal(ours(**batch(size, head)), exact(**batch(size, head)))
    for found, other in zip(ours.on_rows(ROWS), exact.on_rows(ROWS), strict=True):
        assert_equal(found, other)
    assert ours.compilations[0] == f"{head} of 1 × {rest_of(head)}"


def test_more_devices_than_there_are() -> None:
    with raises(BackendError, TypeError, "devices must be from 1 to 8, the number that JAX has here, not 9"):
        init(TINY, xp=jnp, devices=9)
