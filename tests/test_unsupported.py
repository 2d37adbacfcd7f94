"""What is not supported gets a sentence: what was found, and what to do. Nothing is loaded as if it were one."""

import json
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import CHECKPOINTS, TINY, raises

import minroberta
from minroberta import ConfigError, InputError, NotFoundError, WeightsError

WEIGHTS = "model.safetensors"
IDS = [[0, 7, 8, 2]]
CTRANSLATE2 = struct.pack("<IH", 6, 12) + b"RobertaSpec\0" + bytes(40)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    minroberta.init(TINY, head="masked_lm").save(tmp_path)
    return tmp_path


def change(directory: Path, **fields: Any) -> None:
    values = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**values, **fields}))


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"model.onnx": b""}, "model.onnx is an ONNX model: give the repository that it was exported from"),
        ({"onnx/model_quantized.onnx": b""}, "onnx/model_quantized.onnx is an ONNX model: give the repository"),
        ({"bge-m3-Q4.gguf": b"GGUF"}, "bge-m3-Q4.gguf is a GGUF model: give the repository"),
        ({"openvino_model.bin": b"\0", "openvino_model.xml": b"<"}, "openvino_model.xml is an OpenVINO model: give"),
        ({"model.bin": CTRANSLATE2}, "model.bin is a CTranslate2 model: give the repository"),
        ({"rust_model.ot": b"PK"}, "rust_model.ot is weights for rust-bert: give the repository"),
        ({"pytorch_adapter.bin": b"PK", "pytorch_model_head.bin": b"PK"}, "adapter of the adapters library: load it"),
        ({"saved_model.pb": b""}, "saved_model.pb is a SavedModel of TensorFlow: save the model with save_pretrained"),
    ],
)
def test_files_of_other_programs(files: dict[str, bytes], sentence: str, directory: Path) -> None:
    """No advice to give the path of a file that is not read either."""
    (directory / WEIGHTS).unlink()
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    with raises(NotFoundError, FileNotFoundError, "holds no weights", sentence) as caught:
        minroberta.load(directory)
    assert "give the path of one of these files" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_is_no_file_of_the_directory_is_not_opened(
    directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither a pipe, which would wait without end, nor what a link leads to."""
    (directory / WEIGHTS).unlink()
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_bytes(CTRANSLATE2)
    (directory / "mine.bin").symlink_to(secret)
    for put in (os.mkfifo, lambda path: path.symlink_to(secret)):
        put(directory / "model.bin")
        with raises(NotFoundError, FileNotFoundError, "holds no weights") as caught:
            minroberta.load(directory)
        assert "CTranslate2" not in str(caught.value) and "mine.bin" not in str(caught.value)
        (directory / "model.bin").unlink()


def test_a_variant_that_is_alone(directory: Path) -> None:
    expected = minroberta.load(directory)(IDS).logits
    (directory / WEIGHTS).rename(directory / "model.fp16.safetensors")
    with pytest.warns(UserWarning, match=r"no weights other than the variant model.fp16.safetensors, which is read"):
        model = minroberta.load(directory)
    assert np.array_equal(model(IDS).logits, expected)


def shards(directory: Path, ending: str = "safetensors", variant: str = "fp16") -> list[Path]:
    """Divide the weights as transformers' `save_pretrained(variant=, max_shard_size=)` does. The index comes first."""
    arrays = load_file(directory / WEIGHTS)
    stem = {"safetensors": "model", "bin": "pytorch_model"}[ending]
    files = [f"{stem}.{variant}-0000{number}-of-00002.{ending}" for number in (1, 2)]
    index = directory / f"{stem}.{ending}.index.{variant}.json"
    weight_map = {name: files[number % 2] for number, name in enumerate(arrays)}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for file in files:  # a format is recognised by a file's content, not by its ending
        save_file({name: arrays[name] for name in arrays if weight_map[name] == file}, directory / file)
    return [index, *(directory / file for file in files)]


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_variant_in_shards(ending: str, directory: Path) -> None:
    expected = minroberta.load(directory)(IDS).logits
    index, *_ = shards(directory, ending)
    assert np.array_equal(minroberta.load(index)(IDS).logits, expected)
    (directory / WEIGHTS).unlink()
    with pytest.warns(UserWarning, match=f"no weights other than the variant {index.name}, which is read"):
        model = minroberta.load(directory)
    assert np.array_equal(model(IDS).logits, expected)


def test_a_variant_in_both_formats(directory: Path) -> None:
    shards(directory)
    (directory / WEIGHTS).unlink()
    (directory / "pytorch_model.fp16.bin").write_bytes(b"not read")
    with pytest.warns(UserWarning, match="the variant model.safetensors.index.fp16.json, which is read"):
        assert minroberta.load(directory)


def test_a_shard_of_a_variant_that_is_missing(directory: Path) -> None:
    index, first, _ = shards(directory)
    first.unlink()
    with raises(NotFoundError, FileNotFoundError, f"{index.name} names '{first.name}', which is missing"):
        minroberta.load(index)


def test_a_variant_beside_the_weights(directory: Path) -> None:
    (directory / "model.fp16.safetensors").write_bytes(b"not read")
    assert minroberta.load(directory)


def test_several_variants(directory: Path) -> None:
    (directory / WEIGHTS).rename(directory / "model.fp16.safetensors")
    (directory / "model.bf16.safetensors").write_bytes(b"")
    (directory / "model.safetensors.index.fp8.json").write_bytes(b"")
    sentence = (
        "It has model.bf16.safetensors, model.fp16.safetensors, model.safetensors.index.fp8.json: "
        "give the path of one of these files"
    )
    with raises(NotFoundError, FileNotFoundError, sentence):
        minroberta.load(directory)
    assert minroberta.load(directory / "model.fp16.safetensors")


@pytest.mark.parametrize("name", ["model-0000{}-of-00002.safetensors", "model.fp16-0000{}-of-00002.safetensors"])
def test_shards_without_an_index(name: str, directory: Path) -> None:
    """Not the advice to give the path of one, which holds a part of the model only."""
    arrays, expected = load_file(directory / WEIGHTS), minroberta.load(directory)(IDS).logits
    (directory / WEIGHTS).unlink()
    files = {array: name.format(1 + index % 2) for index, array in enumerate(arrays)}
    for file in set(files.values()):
        save_file({array: arrays[array] for array in arrays if files[array] == file}, directory / file)
    index = "model.safetensors.index.json"
    sentence = f"It has shards, such as {name.format(1)}, but no index that lists them, such as {index}: download that"
    with raises(NotFoundError, FileNotFoundError, sentence):
        minroberta.load(directory)
    (directory / index).write_text(json.dumps({"weight_map": files}))
    assert np.array_equal(minroberta.load(directory)(IDS).logits, expected)


def test_a_file_of_another_name(directory: Path) -> None:
    """Such as the last checkpoint of Lightning, which is a pickle of PyTorch."""
    (directory / WEIGHTS).unlink()
    shutil.copy(CHECKPOINTS / "pytorch-zip" / "pytorch_model.bin", directory / "last.ckpt")
    with raises(NotFoundError, FileNotFoundError, "It has last.ckpt: give the path of one of these files"):
        minroberta.load(directory)


@pytest.mark.parametrize("folders", [["checkpoint-20", "checkpoint-9"], ["snapshots/1a2b"]])
def test_weights_in_folders(folders: list[str], directory: Path) -> None:
    """As in the output of a training run, and in a repository's directory in the hub's cache."""
    for folder in folders:
        (directory / folder).mkdir(parents=True)
        (directory / folder / WEIGHTS).write_bytes((directory / WEIGHTS).read_bytes())
        (directory / folder / "config.json").write_bytes((directory / "config.json").read_bytes())
    (directory / WEIGHTS).unlink()
    sentence = f"There are weights in its folders {', '.join(folders)}: give the path of one of these folders"
    with raises(NotFoundError, FileNotFoundError, sentence):
        minroberta.load(directory)
    assert minroberta.load(directory / folders[0])


# --- weights --------------------------------------------------------------------------------------------------------

QUERY = "roberta.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("added", "library"),
    [
        ({".SCB": np.ones(30, "f4")}, "bitsandbytes, in 8 bits"),
        ({".weight_format": np.uint8(0)}, "bitsandbytes, in 8 bits"),
        ({".weight.absmax": np.ones(8, "f4"), ".weight.quant_map": np.ones(16, "f4")}, "bitsandbytes, in 4 bits"),
        ({".weight.quant_state.bitsandbytes__nf4": np.zeros(9, "u1")}, "bitsandbytes, in 4 bits"),
        ({".qweight": np.ones((3, 30), "i4"), ".scales": np.ones((1, 30), "f2")}, "GPTQ or AWQ"),
        ({".weight_scale": np.ones(1, "f4")}, "compressed-tensors or FP8"),
        ({".weight_scale_inv": np.ones((1, 1), "f4")}, "compressed-tensors or FP8"),
    ],
)
def test_quantised_weights(added: dict[str, Any], library: str, directory: Path) -> None:
    """Even where the weights have a floating-point dtype and the right shape."""
    arrays = load_file(directory / WEIGHTS)
    save_file({**arrays, **{QUERY + ending: np.asarray(x) for ending, x in added.items()}}, directory / WEIGHTS)
    with raises(WeightsError, ValueError, f"holds weights quantised with {library} (", "save them dequantised"):
        minroberta.load(directory)


def test_modules_of_the_adapters_library(directory: Path) -> None:
    arrays = load_file(directory / WEIGHTS)
    name = "roberta.encoder.layer.0.output.adapters.sst-2.adapter_down.0.weight"
    save_file({**arrays, name: np.ones((4, 30), "f4")}, directory / WEIGHTS)
    with raises(WeightsError, ValueError, f"holds modules of the adapters library ({name})", "with that library"):
        minroberta.load(directory)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("flair.data Dictionary", "It was written by Flair: load it with that library"),
        (
            "transformers.models.roberta.modeling_roberta RobertaModel",
            "It holds a whole model: save the model's state_",
        ),
        ("torch qint8", "It holds weights quantised by PyTorch: save the model before it is quantised"),
        ("__main__ Net", "It holds an object of a script: save the model's state_dict"),
    ],
)
def test_a_pickle_of_something_else(name: str, sentence: str, directory: Path) -> None:
    (directory / WEIGHTS).unlink()
    with zipfile.ZipFile(directory / "pytorch_model.bin", "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n.")
    with raises(WeightsError, ValueError, f"names {name.replace(' ', '.')}, which weights do not need", sentence):
        minroberta.load(directory)


# --- code, and heads of other libraries -----------------------------------------------------------------------------


def test_code_of_the_repository_is_not_run(directory: Path, tmp_path: Path) -> None:
    change(directory, auto_map={"AutoModel": "modeling.Model"})
    with pytest.warns(UserWarning, match=r"code of its own \(auto_map in config.json\), which is not run"):
        model = minroberta.load(directory)
    model.save(tmp_path / "saved")
    assert minroberta.load(tmp_path / "saved")


def test_rotary_positions(directory: Path) -> None:
    change(directory, position_embedding_type="rotary", auto_map={"AutoModel": "modeling.Model"})
    with raises(ConfigError, ValueError, "'rotary' belongs to models with code of their own, like jina-embeddings-v3"):
        minroberta.load(directory)


def test_the_classifier_of_setfit(directory: Path) -> None:
    (directory / "model_head.pkl").write_bytes(b"cos\nsystem\n.")
    with pytest.warns(UserWarning, match="trained with SetFit, whose classifier .* is not read: encode gives"):
        model = minroberta.load(directory, head="encoder")
    with raises(InputError, ValueError, "classify needs head", "The classifier of a SetFit model is not read"):
        model.classify("a")
