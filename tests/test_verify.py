"""Verification: two checkpoints are the same model, or the first difference between them is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support import CHECKPOINTS, tiny

import minroberta
from minroberta import Model
from minroberta.checkpoints.verify import verify
from minroberta.cli import app as cli
from minroberta.config import HEADS
from minroberta.weights import flat, tree

pytestmark = pytest.mark.filterwarnings("default:the source also holds")


def changed(model: Model, name: str, change: Any) -> Model:
    """The model with one weight replaced."""
    params = flat(model.params)
    params[name] = change(params[name].copy())
    return Model(model.config, tree(params), model.head)


@pytest.mark.parametrize("head", [head for head in HEADS if head != "causal_lm"])
def test_a_model_is_itself(head: str) -> None:
    assert verify(tiny(head, "float32"), tiny(head, "float32")) == ([], 0.0)


def test_the_first_weight_that_differs_and_where() -> None:
    one = tiny("masked_lm")

    def change(weight: np.ndarray) -> np.ndarray:
        weight[1, 2] += 0.5
        return weight

    found = verify(one, changed(one, "encoder.layer.1.attention.self.key.weight", change))
    value = one.params["encoder"]["layer"][1]["attention"]["self"]["key"]["weight"][1, 2]
    place = "encoder.layer.1.attention.self.key.weight[1, 2]"
    assert found.differences == [(place, f"{value:.9g}", f"{value + 0.5:.9g}")]
    assert found.outputs is not None
    assert found.outputs > 1e-4
    assert not found.equal


def test_the_smallest_change_of_a_weight() -> None:
    """A change is found even if the outputs change by less than rounding."""
    one = tiny()
    found = verify(one, changed(one, "embeddings.LayerNorm.bias", lambda x: np.nextafter(x, 9)))
    assert [x.name.partition("[")[0] for x in found.differences] == ["embeddings.LayerNorm.bias"]
    assert found.outputs is not None
    assert found.outputs < 1e-12
    assert not found.equal


def test_a_weight_that_is_nan() -> None:
    one = tiny()
    nan = changed(one, "embeddings.LayerNorm.bias", lambda x: np.where(np.arange(len(x)) == 3, np.nan, x))
    found = verify(one, nan)
    assert [(x.name, x.other) for x in found.differences] == [("embeddings.LayerNorm.bias[3]", "nan")]
    assert np.isnan(found.outputs)


def test_a_shape_a_weight_and_a_field() -> None:
    one, other = tiny(), tiny(hidden_act="relu", num_hidden_layers=1)
    verdict = verify(one, other)
    found = {name: (own, its) for name, own, its in verdict.differences}
    assert found["hidden_act"] == ("'gelu'", "'relu'")
    assert found["encoder.layer.1.output.LayerNorm.bias"] == ("shape (30,)", "missing")
    assert verdict.outputs is None


def test_a_field_alone_shows_in_the_outputs() -> None:
    verdict = verify(tiny(), tiny(hidden_act="relu"))
    assert [x.name for x in verdict.differences] == ["hidden_act"]
    assert verdict.outputs is not None
    assert verdict.outputs > 0.01


def test_outputs_that_differ_with_equal_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal weights may give other outputs in another implementation; padding is not compared."""
    one, other = tiny("masked_lm"), tiny("masked_lm")
    call = Model.__call__

    places = [(1, 2, 3), (1, 15, 3)]

    def altered(self: Model, *arguments: Any, **options: Any) -> Any:
        result = call(self, *arguments, **options)
        if self is other:
            result["logits"][places.pop(0)] *= 2
        return result

    monkeypatch.setattr(Model, "__call__", altered)
    for equal in (False, True):
        verdict = verify(one, other)
        assert verdict.differences == []
        assert verdict.equal == equal


# --- the commands ---------------------------------------------------------------------------------------------------


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli.main, [str(x) for x in arguments])


def test_convert_and_verify(tmp_path: Path) -> None:
    source = CHECKPOINTS / "pytorch-legacy"
    done = run("convert", source, tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"{tmp_path / 'new'}: family roberta, head masked_lm, dtype float32, bytes ")
    done = run("verify", source, tmp_path / "new")
    outputs = "outputs: largest difference 0.0e+00, relative to the largest output; rounding is below 1e-04\n"
    assert (done.exit_code, done.output) == (0, "equal: 42 weights\n" + outputs)


def test_json(tmp_path: Path) -> None:
    source = CHECKPOINTS / "pytorch-zip"
    facts = json.loads(run("convert", source, tmp_path / "new", "--head", "encoder", "--json").stdout)
    size = sum(path.stat().st_size for path in (tmp_path / "new").iterdir())
    wanted = {"family": "roberta", "head": "encoder", "dtype": "float32", "bytes": size}
    assert facts == {"directory": str(tmp_path / "new"), **wanted}
    same = json.loads(run("verify", source, tmp_path / "new", "--head", "encoder", "--json").stdout)
    assert same == {"equal": True, "differences": [], "outputs": 0.0}
    other = CHECKPOINTS / "dinky-deepspeed"
    found = json.loads(run("verify", source, other, "--json").stdout)
    assert not found["equal"]
    assert found["differences"][0] == {"name": "vocab_size", "one": "40", "other": "65"}


def test_convert_to_another_dtype_and_head(tmp_path: Path) -> None:
    done = run("convert", CHECKPOINTS / "pytorch-zip", tmp_path, "--dtype", "float16", "--head", "encoder")
    assert done.exit_code == 0, done.output
    model = minroberta.load(tmp_path, dtype="float16")
    assert (model.dtype, model.head) == ("float16", "encoder")
    done = run("verify", CHECKPOINTS / "pytorch-zip", tmp_path, "--head", "encoder")
    assert done.exit_code == 1
    assert done.output.startswith("differ: embeddings.word_embeddings.weight[")
    assert f" in {CHECKPOINTS / 'pytorch-zip'}, but " in done.output
    assert "; 36 more (--json lists them)\noutputs: " in done.output


@pytest.mark.filterwarnings("ignore:ignored arrays", "ignore:model_type is")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("dinky-huggingface", "float32"), ("flax_token_classification", "float32"), ("keras_masked_lm", "float32")],
)
def test_the_dtype_is_that_of_the_source(name: str, dtype: str, tmp_path: Path) -> None:
    """The first array of a file may hold other numbers than weights."""
    done = run("convert", CHECKPOINTS / name, tmp_path, "--json")
    assert json.loads(done.output.splitlines()[-1])["dtype"] == dtype
    half = run("convert", CHECKPOINTS / name, tmp_path / "half", "--dtype", "float16")
    assert half.exit_code == 0, half.output
    again = run("convert", tmp_path / "half", tmp_path / "again", "--json")
    assert json.loads(again.output)["dtype"] == "float16"


def test_a_head_that_is_left_out(tmp_path: Path) -> None:
    done = run("convert", CHECKPOINTS / "fairseq-classifier", tmp_path)
    assert done.exit_code == 0
    assert done.stderr == (
        "warning: the source also holds masked_lm, but only sequence_classification is converted: "
        "use --head to convert another head\n"
    )


def test_float64_is_compared_as_float64(tmp_path: Path) -> None:
    """A copy in float32 is not the same model, though both would be loaded as float32."""
    model = tiny("masked_lm")
    model.save(tmp_path / "wide")
    minroberta.load(tmp_path / "wide").save(tmp_path / "narrow")
    done = run("verify", tmp_path / "wide", tmp_path / "narrow")
    assert done.exit_code == 1
    assert "outputs: " in done.output


def test_weights_that_kerashub_lacks(tmp_path: Path) -> None:
    """Rows of positions used only by padding, and token types, are named though the outputs agree."""
    pytest.importorskip("h5py", reason="a preset is written with h5py, of the extra formats")
    done = run("convert", CHECKPOINTS / "pytorch-zip", tmp_path, "--to", "keras")
    assert done.exit_code == 0, done.output
    verdict = json.loads(run("verify", CHECKPOINTS / "pytorch-zip", tmp_path, "--json").stdout)
    names = {difference["name"].partition("[")[0] for difference in verdict["differences"]}
    assert names == {f"embeddings.{kind}_embeddings.weight" for kind in ("position", "token_type")}
    assert verdict["outputs"] < 1e-6


def test_convert_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        done = run("convert", CHECKPOINTS / "pytorch-zip", place)
        assert done.exit_code == 2
        assert done.stderr == f"error: {place} exists, but is not an empty directory: give a new or empty directory\n"
