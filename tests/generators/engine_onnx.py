"""Models of transformers as ONNX files, with the outputs of modules as outputs of the graph."""

from __future__ import annotations

import itertools
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import transformers

from generators import engine_cases
from generators.engine_cases import ENDINGS, FAMILIES, setting
from generators.engine_torch import FIRST, NONE, ONE, inputs, tensors

if TYPE_CHECKING:
    from collections.abc import Iterable

OPSETS = (17, 20)


class Flat(torch.nn.Module):
    """A model of positional inputs, and a tuple of outputs: those of the modules whose names match, then the last."""

    def __init__(self, model: torch.nn.Module, kept: str) -> None:
        super().__init__()
        self.model, self.names = model, []
        self.found: dict[str, torch.Tensor] = {}
        for name, module in model.named_modules():
            if re.fullmatch(kept, name):
                module.register_forward_hook(self.hook(name))

    def hook(self, name: str) -> Any:
        def keep(_: torch.nn.Module, __: Any, out: Any) -> None:
            self.found[name] = out[0] if isinstance(out, tuple) else out

        return keep

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.found.clear()
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        last = ("last_hidden_state", "pooler_output", "logits")
        self.found.update({name: output[name] for name in last if output.get(name) is not None})
        self.names = list(self.found)
        # a graph has no output twice, nor an output that is another's
        return tuple(value.clone() for value in self.found.values())


def build(name: str) -> torch.nn.Module:
    """transformers' model with the setting's weights."""
    told = engine_cases.config(name)
    model_class = getattr(transformers, told["architectures"][0])
    model = model_class(model_class.config_class(**{**told, "attn_implementation": "eager"}))
    missing, unexpected = model.load_state_dict(tensors(engine_cases.with_prefix(name)), strict=False)
    assert all("position_ids" in x or "token_type_ids" in x for x in missing), missing
    assert not unexpected, unexpected
    return model.eval()


def export(name: str, file: Path, kept: str, opset: int) -> list[str]:
    """Write the setting's model, and give the names of its outputs in their order."""
    flat = Flat(build(name), kept).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        flat(**inputs(name))
        torch.onnx.export(
            flat,
            tuple(inputs(name).values()),
            str(file),
            opset_version=opset,
            dynamo=False,
            input_names=["input_ids", "attention_mask"],
            output_names=[f"out.{key}" for key in flat.names],
        )
    return flat.names


class Exported(NamedTuple):
    """An ONNX file, its setting, and the names of its outputs in their order."""

    setting: str
    opset: int
    file: str
    names: list[str]

    def given(self, outputs: Iterable[Any]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        return dict(zip(self.names, (np.asarray(x) for x in outputs), strict=True))


def models(folder: Path) -> list[Exported]:
    """Every head of every family by either padding, in two opsets.

    One has the outputs of the modules of a layer, those with pads on the left the output of one layer.
    """
    found = []
    for i, which in enumerate(itertools.product(FAMILIES, ENDINGS, ("right", "left"))):
        name, opset = setting(*which), OPSETS[i // 2 % 2]
        kept = FIRST if name == setting() else ONE if which[2] == "left" else NONE
        file = folder / f"{i}.onnx"
        found.append(Exported(name, opset, str(file), export(name, file, kept, opset)))
    return found
