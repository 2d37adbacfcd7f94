"""Two checkpoints are one model, or where they first differ."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support import CHECKPOINTS, tiny

import minroberta
from minroberta import Model, cli
from minroberta.config import HEADS
from minroberta.verify import differences
from minroberta.weights import flat, tree


def changed(model: Model, name: str, change: Any) -> Model:
    """The model with one weight made anew."""
    params = flat(model.params)
    params[name] = change(params[name].copy())
    return Model(model.config, tree(params), model.head)


@pytest.mark.parametrize("head", [head for head in HEADS if head != "causal_lm"])
def test_a_model_is_itself(head: str) -> None:
    assert list(differences(tiny(head, "float32"), tiny(head, "float32"))) == []


def test_the_first_weight_and_its_place() -> None:
    one = tiny("masked_lm")

    def change(weight: np.ndarray) -> np.ndarray:
        weight[1, 2] += 0.5
        return weight

    found = list(differences(one, changed(one, "encoder.layer.1.attention.self.key.weight", change)))
    value = one.params["encoder"]["layer"][1]["attention"]["self"]["key"]["weight"][1, 2]
    assert [str(x) for x in found] == [
        f"encoder.layer.1.attention.self.key.weight[1, 2]: {value:.9g} and {value + 0.5:.9g}"
    ]


def test_the_smallest_change_of_a_weight() -> None:
    one = tiny()
    (found,) = differences(one, changed(one, "embeddings.LayerNorm.bias", lambda x: np.nextafter(x, 9)))
    assert found.name.startswith("embeddings.LayerNorm.bias[")


def test_a_number_that_is_none() -> None:
    one = tiny()
    nan = changed(one, "embeddings.LayerNorm.bias", lambda x: np.where(np.arange(len(x)) == 3, np.nan, x))
    (found,) = differences(one, nan)
    assert (found.name, found.other) == ("embeddings.LayerNorm.bias[3]", "nan")


def test_a_shape_a_weight_and_a_field() -> None:
    one, other = tiny(), tiny(hidden_act="relu", num_hidden_layers=1)
    found = {x.name: (x.one, x.other) for x in differences(one, other)}
    assert found["hidden_act"] == ("'gelu'", "'relu'")
    assert found["encoder.layer.1.output.LayerNorm.bias"] == ("shape (30,)", "nothing")


def test_what_the_outputs_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the same weights are computed with otherwise."""
    one, other = tiny("masked_lm"), tiny("masked_lm")
    call = Model.__call__

    def altered(self: Model, *arguments: Any, **options: Any) -> Any:
        result = call(self, *arguments, **options)
        if self is other:
            result["logits"][1, 2, 3] *= 2
        return result

    monkeypatch.setattr(Model, "__call__", altered)
    assert [x.name for x in differences(one, other)] == ["logits[1, 2, 3]"]


# --- the commands ---------------------------------------------------------------------------------------------------


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli.main, [str(x) for x in arguments])


def test_convert_and_verify(tmp_path: Path) -> None:
    source = CHECKPOINTS / "pytorch-legacy"
    done = run("convert", source, tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"{tmp_path / 'new'}: family roberta, head masked_lm, dtype float32, bytes ")
    done = run("verify", source, tmp_path / "new")
    assert (done.exit_code, done.output) == (0, "equal: 42 weights, and the outputs of a random input\n")


def test_json(tmp_path: Path) -> None:
    source = CHECKPOINTS / "pytorch-zip"
    facts = json.loads(run("convert", source, tmp_path / "new", "--head", "encoder", "--json").output)
    size = sum(path.stat().st_size for path in (tmp_path / "new").iterdir())
    wanted = {"family": "roberta", "head": "encoder", "dtype": "float32", "bytes": size}
    assert facts == {"directory": str(tmp_path / "new"), **wanted}
    same = json.loads(run("verify", source, tmp_path / "new", "--head", "encoder", "--json").output)
    assert same == {"equal": True, "differences": []}
    other = CHECKPOINTS / "dinky-deepspeed"
    found = json.loads(run("verify", source, other, "--json").output)
    assert not found["equal"]
    assert found["differences"][0] == {"name": "vocab_size", "one": "40", "other": "65"}


def test_convert_to_another_dtype_and_head(tmp_path: Path) -> None:
    done = run("convert", CHECKPOINTS / "pytorch-zip", tmp_path, "--dtype", "float16", "--head", "encoder")
    assert done.exit_code == 0, done.output
    model = minroberta.load(tmp_path, dtype="float16")
    assert (model.dtype, model.head) == ("float16", "encoder")
    done = run("verify", CHECKPOINTS / "pytorch-zip", tmp_path, "--head", "encoder")
    assert done.exit_code == 1
    assert done.output.startswith("embeddings.word_embeddings.weight[")
    assert done.output.endswith("; and 36 more\n")


@pytest.mark.filterwarnings("ignore:the weights hold", "ignore:model_type is")
@pytest.mark.parametrize(
    ("name", "dtype"), [("dinky-huggingface", "float32"), ("flax_bfloat16", "float32"), ("keras_masked_lm", "float32")]
)
def test_the_dtype_is_that_of_the_source(name: str, dtype: str, tmp_path: Path) -> None:
    """Whose first array may be one of numbers that are no weights."""
    done = run("convert", CHECKPOINTS / name, tmp_path, "--json")
    assert json.loads(done.output.splitlines()[-1])["dtype"] == dtype
    half = run("convert", CHECKPOINTS / name, tmp_path / "half", "--dtype", "float16")
    assert half.exit_code == 0, half.output
    again = run("convert", tmp_path / "half", tmp_path / "again", "--json")
    assert json.loads(again.output)["dtype"] == "float16"


def test_convert_writes_over_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        done = run("convert", CHECKPOINTS / "pytorch-zip", place)
        assert done.exit_code == 2
        assert done.stderr == f"error: {place} is there already, and not empty: give another directory\n"
