"""Write the values that `minroberta.testing.record` gives for models of the frameworks.

    PYTHONPATH=.. python -m generators.make_ports

records the models of the framework that is installed, and writes a file for each into `tests/golden/ports`:

    huggingface-4-*, huggingface-5-*   transformers 4.48.3 and 5.23.0, with torch; weights as in `cases.py`
    keras_hub-*                        keras 3.15.1 with keras-hub 0.32.0, and jax; checkpoints of `make_keras.py`
    keras_nlp-*                        keras 3.6.0 with keras-nlp 0.15.1, and jax; a checkpoint of `make_keras.py`
    fairseq*                           fairseq 0.12.2, installed as for `make_fairseq.py`; its checkpoints

Values have the framework's names; the inputs of minroberta are under `inputs|input_ids` and `inputs|attention_mask`.
The metadata's `port` gives in JSON the kind of `names`, the versions of the libraries, and the model: the name of a
`checkpoint`, or a `config`; and its `head`.

    PYTHONPATH=.. python -m generators.make_ports flax

writes what the docs' example of a library gives into `tests/golden/ports/docs`:

    flax          flax 0.10.6 with jax 0.10.2
    mlx           mlx 0.32.4
    tensorflow    tensorflow 2.21.0 with tf_keras 2.21.0 and transformers 4.48.3
    llama_cpp     llama-cpp-python 0.3.36 and gguf 0.19.0
    onnxruntime   onnxruntime 1.32.0 and onnx 1.23.2, and for the model torch 2.13.0 and transformers 4.48.3
"""

import doctest
import importlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from generators import GOLDEN
from generators.cases import parameter
from generators.worked_examples import VALUES, runnable
from minroberta.testing import record
from minroberta.weights import flat

OUT = GOLDEN / "ports"
CHECKPOINTS = GOLDEN / "checkpoints"
IDS = np.array([[0, 7, 9, 2], [0, 8, 2, 1]])
PAD = 1

CONFIG = {
    "vocab_size": 17,
    "hidden_size": 6,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 7,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
    "pad_token_id": PAD,
}


def save(name: str, values: dict[str, np.ndarray], ids: np.ndarray = IDS, **port: Any) -> None:
    """Write one file, with the same bytes every time."""
    inputs = {"inputs|input_ids": ids, "inputs|attention_mask": (ids != PAD).astype(np.int64)}
    arrays = {name: value.copy() for name, value in values.items()}
    OUT.mkdir(exist_ok=True)
    save_file({**inputs, **arrays}, OUT / f"{name}.safetensors", {"port": json.dumps(port, sort_keys=True)})


def versions(*libraries: str) -> dict[str, str]:
    return {name: importlib.import_module(name).__version__ for name in libraries}


def save_example(library: str) -> None:
    """Save the values recorded by the docs' example that needs a library."""
    os.chdir(GOLDEN.parents[1])  # where the examples are run
    docs = Path("docs").glob("*.md")
    page = next(text for path in docs if f"```python {library}\n" in (text := path.read_text(encoding="utf-8")))
    start = page.index(f"```python {library}\n")
    if library == "onnxruntime":
        export(after(page[:start])["model"])
    if library == "llama_cpp":
        export_gguf(after(page[:start])["model"])
    values = after(page[: page.index("```\n", start + 3) + 4])["values"]
    save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, VALUES / f"{library}.safetensors")


def after(page: str) -> dict[str, Any]:
    """The variables that a page's examples leave."""
    example = doctest.DocTestParser().get_doctest(runnable(page), {}, "page", None, 0)
    assert not doctest.DocTestRunner().run(example, clear_globs=False).failed
    return example.globs


def export(model: Any) -> None:
    """Write the ONNX file of the docs' example: transformers' model with the weights of ours."""
    import torch
    import transformers

    with tempfile.TemporaryDirectory() as directory:
        model.save(directory)
        port = transformers.RobertaForMaskedLM.from_pretrained(directory, attn_implementation="eager")
    names, example = ("input_ids", "attention_mask"), torch.ones(2, 5, dtype=int)
    axes = {name: {0: "batch", 1: "length"} for name in names}
    torch.onnx.export(
        port.eval(),
        (example, example),
        str(VALUES / "roberta.onnx"),
        opset_version=20,
        dynamo=False,
        input_names=list(names),
        output_names=["logits"],
        dynamic_axes=axes,
    )


# --- Hugging Face ---------------------------------------------------------------------------------------------------

HEADS = {
    "roberta": ("masked_lm", "RobertaForMaskedLM"),
    "roberta-prelayernorm": ("sequence_classification", "RobertaPreLayerNormForSequenceClassification"),
    "xlm-roberta-xl": ("token_classification", "XLMRobertaXLForTokenClassification"),
}


def make_huggingface() -> None:
    """Record a model of each order of norms; attentions are asked for, so that they are computed eagerly."""
    import torch
    import transformers

    for family, (head, name) in HEADS.items():
        model_class = getattr(transformers, name)
        config = model_class.config_class(**CONFIG)
        config._attn_implementation = "eager"
        model = model_class(config)
        with torch.no_grad():
            for own, weight in model.named_parameters():
                plain = own.removeprefix(f"{model.base_model_prefix}.")
                weight.copy_(torch.from_numpy(parameter(plain, tuple(weight.shape))))
        values = record(
            model,
            input_ids=IDS,
            attention_mask=(IDS != PAD).astype(np.int64),
            output_attentions=True,
            output_hidden_states=True,
        )
        save(
            f"huggingface-{transformers.__version__[0]}-{family}",
            values,
            names="huggingface",
            versions=versions("transformers", "torch"),
            config={"model_type": family, **CONFIG},
            head=head,
        )


# --- KerasHub -------------------------------------------------------------------------------------------------------


def make_keras(library: Any) -> None:
    """Record the tasks whose presets the library has written."""
    models, of_hub = library.models, library.__name__ == "keras_hub"
    tasks = {"keras_masked_lm": models.RobertaMaskedLM, "keras_xlm_classifier": models.XLMRobertaTextClassifier}
    for checkpoint, task in tasks.items() if of_hub else [("keras_nlp_classifier", models.RobertaTextClassifier)]:
        masked_lm = checkpoint == "keras_masked_lm"
        ids = IDS[1:] if masked_lm else IDS  # one row for the model of many layers
        inputs = {"token_ids": ids, "padding_mask": ids != PAD}
        if masked_lm:
            inputs["mask_positions"] = np.arange(ids.shape[1])[None]  # so that each position has logits
        model = task.from_preset(str(CHECKPOINTS / checkpoint))
        save(
            checkpoint if not of_hub else checkpoint.replace("keras", "keras_hub"),
            record(model, {name: x.astype(np.int32) for name, x in inputs.items()}),
            ids,
            names="keras_hub",
            versions=versions("keras", library.__name__),
            checkpoint=checkpoint,
            head="masked_lm" if masked_lm else "sequence_classification",
        )


# --- fairseq --------------------------------------------------------------------------------------------------------


def make_fairseq() -> None:
    """Record the models that `fairseq-train` has written; they make a mask themselves."""
    import make_fairseq as maker

    for checkpoint in ("fairseq", "fairseq-classifier", "fairseq-normalize-before", "fairseq-prenorm"):
        data = "pairs" if checkpoint == "fairseq-classifier" else "text"
        (model,), _, _ = maker.checkpoint_utils.load_model_ensemble_and_task(
            [str(CHECKPOINTS / checkpoint / "model.pt")],
            arg_overrides={"data": data, "load_checkpoint_heads": True},
        )
        head = next(iter(model.classification_heads), None)
        save(
            checkpoint,
            record(model, IDS, classification_head_name=head),
            names="fairseq",
            versions=versions("fairseq", "torch"),
            checkpoint=checkpoint,
            head="sequence_classification" if head else "masked_lm",
        )


def export_gguf(model: Any) -> None:
    """Write the GGUF of the docs' example: the encoder with the weights of ours."""
    from generators import make_engines_llamacpp

    make_engines_llamacpp.write(model.config.to_dict(), flat(model.params), VALUES / "roberta.gguf", True)


def main() -> None:
    """Record the models of the framework that is installed, or the docs' examples of the libraries given."""
    if sys.argv[1:]:
        for library in sys.argv[1:]:
            save_example(library)
        return
    os.environ["KERAS_BACKEND"] = "jax"
    has: Callable[[str], Any] = importlib.util.find_spec
    if has("fairseq"):
        import make_fairseq as maker

        with tempfile.TemporaryDirectory() as work:
            os.chdir(work)
            maker.write_data()
            make_fairseq()
    elif has("keras_hub") or has("keras_nlp"):
        make_keras(importlib.import_module("keras_hub" if has("keras_hub") else "keras_nlp"))
        if has("keras_hub"):
            save_example("keras_hub")
    else:
        make_huggingface()
        save_example("torch")


if __name__ == "__main__":
    main()
