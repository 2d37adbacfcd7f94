"""Write `right.safetensors`: the values of right models in later libraries, in which `diagnose` must find no mistake.

    python -m generators.make_right

needs transformers 5.23.0, torch 2.13.0 (the CPU build), onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.31.1, numpy and
safetensors 0.8.0. Models and inputs are those of `mistake_cases.py`. Values are float32, under

    {engine}/{setting}|{name of the module or output}

The engines are `transformers-5` and `transformers-5-sdpa`, whose attention is a formula in Python or torch's fused one,
and `onnxruntime`, which fuses what it can, and gives the states between the layers and the outputs.
"""

import io
import re
from contextlib import ExitStack

import numpy as np
import onnxruntime
import torch
import transformers
from safetensors.numpy import save_file
from torch import nn

from generators import GOLDEN
from generators.make import to_torch
from generators.make_mistakes import Port, record, short, unrepeated
from generators.make_mistakes import build as build_right
from generators.mistake_cases import FIRST, SETTINGS

FILE = GOLDEN / "right.safetensors"
VERSION = "5.23.0"
EAGER = ("post", "encoder", "classify", "tag", "answer", "pre", "xl", "decoder", "tanh", "left")
SDPA = ("post", "pre", "xl", "hidden", "choose")
ONNX = ("post", "encoder", "classify", "pre", "decoder")


def by_transformers(name: str, attention: str) -> dict[str, np.ndarray]:
    """The values of all modules of the first layer, and only the outputs of later layers."""
    setting = SETTINGS[name]
    model = build_right(setting)
    model.set_attn_implementation(attention)
    found = unrepeated(record(Port(model, to_torch(setting.inputs, torch.float32), ExitStack())))
    return {name: x for name, x in found.items() if re.fullmatch(FIRST, short(name))}


class Flat(nn.Module):
    """A model of positional inputs, and a tuple of outputs: the states between the layers, then the last."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.model(**dict(zip(self.names, inputs, strict=True)), output_hidden_states=True)
        last = [output[name] for name in ("logits", "last_hidden_state", "pooler_output") if name in output]
        return (*output.hidden_states, *last)


def by_onnxruntime(name: str) -> dict[str, np.ndarray]:
    """The states between the layers and the outputs."""
    setting = SETTINGS[name]
    model = build_right(setting)
    inputs = {name: x for name, x in to_torch(setting.inputs, torch.float32).items() if isinstance(x, torch.Tensor)}
    flat = Flat(model, list(inputs)).eval()
    file = io.BytesIO()
    torch.onnx.export(flat, tuple(inputs.values()), dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    given = dict(zip([x.name for x in session.get_inputs()], [x.numpy() for x in inputs.values()], strict=True))
    states = session.run(None, given)
    layers = model.config.num_hidden_layers
    names = ["embeddings", *(f"encoder.layer.{i}" for i in range(layers))]
    if name == "pre":
        names[-1] = "LayerNorm"  # this version's last state comes after the last norm
    last = ["last_hidden_state", "pooler_output"] if len(states) == layers + 3 else ["logits"]
    return dict(zip([*names, *last], states, strict=True))


def main() -> None:
    """Rewrite the file; a second run gives the same bytes."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"right.safetensors needs transformers {VERSION}, this is {transformers.__version__}")
    torch.set_num_threads(1)
    found = {f"transformers-5/{name}": by_transformers(name, "eager") for name in EAGER}
    found |= {f"transformers-5-sdpa/{name}": by_transformers(name, "sdpa") for name in SDPA}
    found |= {f"onnxruntime/{name}": by_onnxruntime(name) for name in ONNX}
    save_file({f"{model}|{name}": x for model, values in found.items() for name, x in values.items()}, FILE)


if __name__ == "__main__":
    main()
