"""Write `training.json`: ten steps of torch's AdamW on models of transformers 4.48.3, without dropout, in float64.

    python -m generators.make_training [FILE]

needs torch and exactly that version of transformers. The optimizer, its groups, the schedule and the clipping are those
of transformers' Trainer. Stored are the losses, the norms of the gradients before clipping, and for each parameter at
the end two numbers: its sum, and its sum weighted by cos(0), cos(1), ... For each family and head, the values that pass
a dropout are stored, too: its probability and their shape.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from generators import GOLDEN
from generators.cases import CASES as ALL_CASES
from generators.cases import Case
from generators.gradient_cases import GRADIENT_CASES
from generators.make import VERSION, build, to_torch, without_prefix

CASES = ("loss/masked_lm/post", "loss/sequence_multi_label/pre", "loss/token_ignored/xl")
STEPS, WARM_UP, RATE, DECAY, MOST = 10, 3, 0.01, 0.1, 0.5


def trained(case: Case) -> dict[str, Any]:
    """What is stored of a case."""
    model, inputs = build(case, torch.float64), to_torch(case.steps[0], torch.float64)
    named = dict(model.named_parameters())
    names = transformers.trainer_pt_utils.get_parameter_names(model, transformers.trainer.ALL_LAYERNORM_LAYERS)
    decayed = {name for name in names if "bias" not in name}
    groups = [
        {"params": [x for name, x in named.items() if name in decayed], "weight_decay": DECAY},
        {"params": [x for name, x in named.items() if name not in decayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, WARM_UP, STEPS)
    losses, norms = [], []
    for _ in range(STEPS):
        loss = model(**inputs).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), MOST)))
        losses.append(float(loss.detach()))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    ends = {}
    for name, weight in named.items():
        flat = weight.detach().numpy().reshape(-1)
        ends[without_prefix(name, model)] = [float(flat.sum()), float(flat @ np.cos(np.arange(len(flat))))]
    return {"losses": losses, "norms": norms, "ends": ends}


RATES = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2, "classifier_dropout": 0.3}


def dropped(case: Case) -> list[Any]:
    """The probability and the shape of each value that passes a dropout, in order."""
    model, seen = build(replace(case, config={**case.config, **RATES}), torch.float64), []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda own, inputs, _: seen.append([own.p, list(inputs[0].shape)]))
    with torch.no_grad():
        model(**to_torch(case.steps[0], torch.float64))
    return seen


def main() -> None:
    """Rewrite the golden file; a second run gives the same bytes."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden files need transformers {VERSION}, this is {transformers.__version__}")
    torch.set_num_threads(1)
    cases = {case.name: trained(case) for case in GRADIENT_CASES if case.name in CASES}
    dropout = {case.name: dropped(case) for case in ALL_CASES if case.name.startswith("family/")}
    settings = {"steps": STEPS, "warm_up": WARM_UP, "learning_rate": RATE, "weight_decay": DECAY, "most": MOST}
    versions = {library.__name__: library.__version__ for library in (transformers, torch, np)}
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN / "training.json"
    stored = {"versions": versions, "settings": settings, "cases": cases, "rates": RATES, "dropout": dropout}
    path.write_text(json.dumps(stored) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
