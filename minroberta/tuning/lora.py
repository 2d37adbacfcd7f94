"""LoRA: instead of a weight W, train two narrow matrices beside it (Hu et al. 2021, section 4.1).

    W' = W + s·B A,    A: (r, I), B: (O, r), s = alpha / r

B begins with zeros, so that W' = W at first. `checkpoints/adapters.py` reads and merges what `Lora.save` writes.
"""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy

from ..backend.arrays import Array, namespace, to_host
from ..checkpoints.adapters import CONFIG, ENDINGS, FILES
from ..checkpoints.files import write_json
from ..checkpoints.formats import safetensors
from ..checkpoints.save import name_in_file, own_fields
from ..config import HEADS
from ..errors import InputError, check_integer
from ..loading import Model
from ..model import Network
from ..train import Part, Weights
from ..weights import flat
from .heads import new_to_each_task

TARGETS = ("query", "value")
"""The modules beside which there are matrices by default, as in section 4.2 and in peft."""


class Lora(Part):
    """Two matrices beside the weight of each target, and the weights of the head, except a language model's.

    rank: r. alpha: by default 2 r. targets: the last parts of the names of linear layers, or two parts, such as
    `intermediate.dense`. seed: of A, which is uniform within ±1/√I, as peft has it. Raises InputError.
    """

    def __init__(
        self,
        model: Network,
        rank: int = 8,
        *,
        alpha: float | None = None,
        targets: Collection[str] = TARGETS,
        seed: int = 0,
    ) -> None:
        weights, head = flat(model.params), new_to_each_task(model)
        self.rank = check_integer("rank", rank, 1, model.config.hidden_size)
        self.alpha, self.targets = 2 * self.rank if alpha is None else alpha, tuple(targets)
        if not 0 < self.alpha < math.inf:
            raise InputError(f"alpha must be a positive number, not {alpha!r}")
        endings = tuple(f".{target}.weight" for target in self.targets)
        self.base = {
            name: w for name, w in weights.items() if name.endswith(endings) and w.ndim == 2 and name not in head
        }
        if not self.base:
            raise InputError(f"no linear layer is named {', '.join(self.targets)}: give targets such as query, value")
        random = numpy.random.default_rng(seed)
        self.weights = {}
        for name, w in self.base.items():
            xp, (outputs, inputs) = namespace(w), w.shape
            first = random.uniform(-1, 1, (self.rank, inputs)) / math.sqrt(inputs)
            self.weights[_a(name)] = xp.asarray(first, dtype=w.dtype)
            self.weights[_b(name)] = xp.zeros((outputs, self.rank), dtype=w.dtype)
        self.weights |= {name: weights[name] for name in head}

    def merged(self, weights: Weights) -> Weights:
        """W' = W + s·B A for each target, and the head's weights."""
        s = self.alpha / self.rank
        own = {name: w + s * (weights[_b(name)] @ weights[_a(name)]) for name, w in self.base.items()}
        return {**own, **{name: w for name, w in weights.items() if ".lora_" not in name}}

    def gradients(self, weights: Weights, found: Mapping[str, Array]) -> Weights:
        """∂A = s·Bᵀ ∂W' and ∂B = s·∂W' Aᵀ, from dW' = s (dB A + B dA)."""
        s, own = self.alpha / self.rank, dict[str, Array]()
        for name in self.base:
            a, b = _a(name), _b(name)
            own[a] = s * (weights[b].T @ found[name])  # (r, O) @ (O, I) -> (r, I)
            own[b] = s * (found[name] @ weights[a].T)  # (O, I) @ (I, r) -> (O, r)
        return {name: own.get(name, found.get(name)) for name in weights}

    def save(self, directory: str | Path, weights: Weights, model: Model, base: str) -> None:
        """Write `adapter_config.json` and `adapter_model.safetensors`, as peft 0.14 does, the labels and the tokenizer.

        weights: those of a `Step`. base: the name or path under which the model without the adapter is found. The names
        of the labels are in a `config.json`, which peft does not read. Raises OSError.
        """
        directory, config, head = Path(directory), model.config, model.head
        directory.mkdir(parents=True, exist_ok=True)
        whole = sorted({name.split(".")[0] for name in weights if ".lora_" not in name})
        arrays = {f"base_model.model.{name_in_file(name, config, head)}": to_host(x) for name, x in weights.items()}
        safetensors.write(directory / FILES[0], arrays, {"format": "pt"})
        architecture = config.family.architecture + HEADS[head].ending
        fields: dict[str, Any] = {
            "peft_type": "LORA",
            "task_type": next((task for task, name in ENDINGS.items() if name == head), None),
            "auto_mapping": {"base_model_class": architecture, "parent_library": "transformers"},
            "base_model_name_or_path": base,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "target_modules": self.targets,
            "modules_to_save": whole or None,
        }
        write_json(directory / CONFIG, fields, indent=2)
        write_json(directory / "config.json", dict(sorted(own_fields(config, head).items())), indent=2)
        if model.tokenizer is not None:
            model.tokenizer.save(directory)


def _a(name: str) -> str:
    return name.replace(".weight", ".lora_A.weight")


def _b(name: str) -> str:
    return name.replace(".weight", ".lora_B.weight")
