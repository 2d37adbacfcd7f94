"""Write what MLX's RoBERTas give for the settings of `engine_cases.py`.

    python -m generators.make_engines_mlx

needs `pip install mlx[cpu]==0.32.4 mlx-embeddings==0.1.0 mlx-transformers==0.3.0 safetensors`.
"""

from __future__ import annotations

import importlib
import itertools
import re
from importlib.metadata import version
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from generators import engine_cases
from generators.engine_cases import FAMILIES, Candidates, setting

ENDINGS = {
    "encoder": "Model",
    "sequence_classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
}
KEPT = r"(.*\.)?(dense|query|key|value|LayerNorm|intermediate|embeddings|layer\.\d+|out_proj)"


def load(model: nn.Module, name: str) -> nn.Module:
    """Give the model the setting's weights, and check that they are all it has."""
    held = engine_cases.with_prefix(name)
    own = {key for key, _ in tree_flatten(model.parameters())}
    assert own <= set(held), own - set(held)
    model.load_weights([(key, mx.array(x)) for key, x in held.items() if key in own])
    model.eval()
    return model


def record(model: nn.Module, kept: str, *args: Any, **kwargs: Any) -> tuple[dict[str, np.ndarray], Any]:
    """The outputs of the modules whose names match, and the model's output.

    MLX has no hooks, so the modules' classes are replaced meanwhile.
    """
    found: dict[str, np.ndarray] = {}
    named = [(name, module, type(module)) for name, module in model.named_modules() if re.fullmatch(kept, name)]

    def recording(name: str, kind: type) -> type:
        def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            out = kind.__call__(self, *args, **kwargs)
            found[name] = np.array(out[0] if isinstance(out, tuple) else out)
            return out

        return type(kind.__name__, (kind,), {"__call__": call})

    for name, module, kind in named:
        module.__class__ = recording(name, kind)
    output = model(*args, **kwargs)
    for _, module, kind in named:
        module.__class__ = kind
    return found, output


def by_transformers(name: str, kept: str) -> dict[str, np.ndarray]:
    """mlx-transformers' model, which takes transformers' configuration."""
    family, head, _ = name.split("/")
    ours = importlib.import_module(f"mlx_transformers.models.{family.replace('-', '_')}")
    config = importlib.import_module("transformers")
    told = {key: x for key, x in engine_cases.config(name).items() if key != "torch_dtype"}
    kind = getattr(config, f"{FAMILIES[family]}Config")(**told)
    prefix = "XLMRoberta" if family == "xlm-roberta" else "Roberta"
    model = load(getattr(ours, prefix + ENDINGS[head])(kind), name)
    found, output = record(model, kept, **{key: mx.array(x) for key, x in engine_cases.inputs(name).items()})
    return {**found, **outputs(output)}


def by_embeddings(name: str, kept: str) -> dict[str, np.ndarray]:
    """mlx-embeddings' XLM-RoBERTa."""
    from mlx_embeddings.models.xlm_roberta import Model, ModelArgs

    model = load(Model(ModelArgs.from_dict(engine_cases.config(name))), name)
    found, output = record(model, kept, **{key: mx.array(x) for key, x in engine_cases.inputs(name).items()})
    return {**found, **outputs(output)}


def outputs(output: Any) -> dict[str, np.ndarray]:
    names = ("last_hidden_state", "pooler_output", "logits")
    return {name: np.array(x) for name in names if (x := getattr(output, name, None)) is not None}


def main() -> None:
    """Rewrite the files; a second run gives the same bytes on the same machine."""
    mx.set_default_device(mx.cpu)
    by_name = {"mlx-transformers": by_transformers, "mlx-embeddings": by_embeddings}
    heads = {"mlx-transformers": [*itertools.product(("roberta", "xlm-roberta"), ENDINGS)]}
    heads["mlx-embeddings"] = [("roberta", "encoder"), ("xlm-roberta", "encoder"), ("camembert", "encoder")]
    for engine, values in by_name.items():
        found = Candidates(engine, f"{version(engine)}-mlx-{version('mlx')}")
        for (family, head), padding in itertools.product(heads[engine], engine_cases.PADDING):
            name = setting(family, head, padding)
            kept = r"(?!.*layer\.[12]\.)" + KEPT if name == setting() else "(?!)"
            found.add(f"{engine}/{name}", name, values(name, kept))
        found.save()


if __name__ == "__main__":
    main()
