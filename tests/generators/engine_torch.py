"""Helpers of the scripts for torch's engines: weights as tensors, and the outputs of modules by name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from generators import engine_cases

STEPS = r"(.*\.)?(dense|query|key|value|LayerNorm|layer_norm|self|intermediate|embeddings|layer\.\d+|out_proj)"
"""Hugging Face's modules whose outputs are values, each once: not the dropouts and those that only pass on."""
FIRST = rf"(?!.*layers?\.[12]\.){STEPS}"
"""The same, but of the later layers the states alone."""
STATES = r"(.*\.)?(embeddings|encoder\.layer\.\d+)"
"""The states between the layers."""
ONE = r"(.*\.)?encoder\.layer\.1"
"""The state of one layer."""
NONE = r"(?!)"
"""The outputs alone."""


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The arrays as tensors, which may be written into."""
    return {name: torch.tensor(array) for name, array in arrays.items()}


def array(x: Any) -> np.ndarray:
    """A float32 array of a tensor, of any dtype."""
    return x.detach().to(torch.float32).numpy().copy()


def record(model: torch.nn.Module, kept: str, *args: Any, **kwargs: Any) -> tuple[dict[str, np.ndarray], Any]:
    """The outputs of the modules whose names match, and the model's output. Of several outputs the first counts."""
    found: dict[str, np.ndarray | None] = {}

    def hook(name: str) -> Any:
        def keep(_: torch.nn.Module, __: Any, out: Any) -> None:  # returns None: a hook's result replaces the output
            found[name] = _first(out)

        return keep

    named = [(name, module) for name, module in model.named_modules() if re.fullmatch(kept, name)]
    hooks = [module.register_forward_hook(hook(name)) for name, module in named]
    with torch.no_grad():
        output = model(*args, **kwargs)
    for handle in hooks:
        handle.remove()
    return {name: value for name, value in found.items() if value is not None}, output


def _first(out: Any) -> np.ndarray | None:
    while isinstance(out, (tuple, list)):
        out = out[0]
    return array(out) if isinstance(out, torch.Tensor) else None


def outputs(output: Any) -> dict[str, np.ndarray]:
    """Hugging Face's outputs that stand for something."""
    names = ("last_hidden_state", "pooler_output", "logits")
    return {name: array(output[name]) for name in names if name in output and output[name] is not None}


def inputs(setting: str) -> dict[str, torch.Tensor]:
    """The setting's inputs."""
    return tensors(engine_cases.inputs(setting))
