"""Write what adapters gives for the settings of `engine_cases.py`: its models, with an adapter that changes nothing.

    python -m generators.make_engines_adapters

needs torch 2.13.0 (the CPU build), transformers 4.57.6, adapters 1.3.0, numpy and safetensors.
"""

from __future__ import annotations

import itertools

import adapters
import torch

from generators.engine_cases import Candidates, setting
from generators.engine_torch import FIRST, ONE, inputs, outputs, record
from generators.make_engines_transformers import build

HEADS = ("encoder", "masked_lm", "sequence_classification")


def main() -> None:
    """Rewrite the file; a second run gives the same bytes on the same machine."""
    torch.set_num_threads(1)
    found = Candidates("adapters", adapters.__version__)
    for family, head, padding in itertools.product(("roberta", "xlm-roberta"), HEADS, ("right", "left")):
        name = setting(family, head, padding)
        model = build(name, "eager" if padding == "right" else "sdpa")
        adapters.init(model)
        model.add_adapter("unused", config="seq_bn")
        model.eval()
        values, output = record(model, FIRST if name == setting(head="masked_lm") else ONE, **inputs(name))
        found.add(f"adapters/{name}", name, {**values, **outputs(output)})
    found.save()


if __name__ == "__main__":
    main()
