"""Write what PaddleNLP's RoBERTas give for the settings of `engine_cases.py`.

    python -m generators.make_engines_paddlenlp

needs Python 3.10 and `pip install paddlepaddle==2.6.2 paddlenlp==2.8.1 numpy==1.26.4 datasets==2.21.0 pyarrow==17.0.0
huggingface_hub==0.25.2 aistudio_sdk==0.2.6 setuptools safetensors`.

PaddleNLP has one class for all families. Its weights of linear modules are (inputs, outputs). The embedding of padding
is zero, whatever its row holds. No other token sees that, but with padding on the left the pooled token is padding: so
what is pooled then is left out.
"""

from __future__ import annotations

import itertools
import re
import zlib  # noqa: F401 - before paddle, whose library exports symbols of another zlib
from importlib.metadata import version
from typing import Any

import numpy as np
import paddle
from paddlenlp import transformers

from generators import engine_cases
from generators.engine_cases import ENDINGS, FAMILIES, LABELS, Candidates, setting

NAMES = {
    r"embeddings\.layer_norm": "embeddings.LayerNorm",
    r"encoder\.layers\.(\d+)\.self_attn\.q_proj": r"encoder.layer.\1.attention.self.query",
    r"encoder\.layers\.(\d+)\.self_attn\.k_proj": r"encoder.layer.\1.attention.self.key",
    r"encoder\.layers\.(\d+)\.self_attn\.v_proj": r"encoder.layer.\1.attention.self.value",
    r"encoder\.layers\.(\d+)\.self_attn\.out_proj": r"encoder.layer.\1.attention.output.dense",
    r"encoder\.layers\.(\d+)\.norm1": r"encoder.layer.\1.attention.output.LayerNorm",
    r"encoder\.layers\.(\d+)\.linear1": r"encoder.layer.\1.intermediate.dense",
    r"encoder\.layers\.(\d+)\.dropout": r"encoder.layer.\1.intermediate",
    r"encoder\.layers\.(\d+)\.linear2": r"encoder.layer.\1.output.dense",
    r"encoder\.layers\.(\d+)\.norm2": r"encoder.layer.\1.output.LayerNorm",
}
"""PaddleNLP's names of modules, mapped to ours: those of weights, and those of values, after `roberta.` or nothing."""

PATTERNS = {rf"(?:roberta\.)?{theirs}": ours for theirs, ours in NAMES.items()}

EMBEDDINGS = r"(word|position|token_type)_embeddings"
FULL = re.compile(rf"(?!.*layers\.[12]\.)(.*\.)?({'|'.join(NAMES)}|{EMBEDDINGS}|dense|layer_norm|out_proj)")
"""The modules whose outputs are kept of some settings."""


def ours(name: str) -> str:
    """Our name for a module."""
    for theirs, mapped in NAMES.items():
        if found := re.fullmatch(theirs, name):
            return found.expand(mapped)
    return name


def build(name: str) -> paddle.nn.Layer:
    """The setting's model, with each of its weights given."""
    _, head, _ = name.split("/")
    told = {key: x for key, x in engine_cases.config(name).items() if key not in ("model_type", "torch_dtype")}
    config = transformers.RobertaConfig(**told, num_labels=LABELS, cls_token_id=0)
    model = getattr(transformers, "Roberta" + ENDINGS[head])(config)
    held = engine_cases.parameters(name)
    if head == "masked_lm":
        held["lm_head.decoder.weight"] = held["embeddings.word_embeddings.weight"]
        held["lm_head.decoder.bias"] = held["lm_head.bias"]
    modules = dict(model.named_sublayers())
    for key, weight in model.state_dict().items():
        module, _, kind = key.rpartition(".")
        array = held[f"{ours(module.removeprefix('roberta.'))}.{kind}"]
        transposed = kind == "weight" and type(modules[module]) is paddle.nn.Linear
        weight.set_value(np.ascontiguousarray(array.T if transposed else array))
    model.eval()
    return model


def record(model: paddle.nn.Layer, whole: bool, **inputs: paddle.Tensor) -> tuple[dict[str, np.ndarray], Any]:
    """The outputs of the modules of FULL if they are wanted, and the model's output."""
    found: dict[str, np.ndarray] = {}

    def hook(name: str) -> Any:
        def keep(_: paddle.nn.Layer, __: Any, out: paddle.Tensor) -> None:
            found[name] = out.numpy()

        return keep

    for name, module in model.named_sublayers():
        if whole and FULL.fullmatch(name):
            module.register_forward_post_hook(hook(name))
    with paddle.no_grad():
        return found, model(**inputs, output_hidden_states=True, output_attentions=True, return_dict=True)


def values(name: str, whole: bool) -> dict[str, np.ndarray]:
    """The outputs of modules, the states between the layers, the probabilities and the outputs of the model."""
    given = {key: paddle.to_tensor(x) for key, x in engine_cases.inputs(name).items()}
    found, output = record(build(name), whole, **given)
    if found:
        found["attentions.0"] = output["attentions"][0].numpy()
    if "logits" in output:
        return {**found, "logits": output["logits"].numpy()}
    found["hidden_states.2"], found["last_hidden_state"] = output["hidden_states"][2].numpy(), output[0].numpy()
    pooled = {} if name.endswith("left") else {"pooler_output": output["pooler_output"].numpy()}
    return {**found, **pooled}


WHOLE = ("roberta/masked_lm/left", "roberta/sequence_classification/none")
"""Settings of which all values of the first layer are kept."""


def main() -> None:
    """Rewrite the file; a second run gives the same bytes on the same machine."""
    found = Candidates("paddlenlp", f"{version('paddlenlp')}-paddle-{version('paddlepaddle')}")
    for family, head, padding in itertools.product(FAMILIES, ENDINGS, engine_cases.PADDING):
        is_pooled = head == "sequence_classification" and padding == "left"
        if (family != "camembert" or head == "encoder") and not is_pooled:
            name = setting(family, head, padding)
            found.add(f"paddlenlp/{name}", name, values(name, name in WHOLE), names=PATTERNS)
    found.save()


if __name__ == "__main__":
    main()
