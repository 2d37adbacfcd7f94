"""The cases whose gradients are stored: whole ones of a few with one layer, and a few sums of all that have a loss."""

from dataclasses import replace
from typing import Any

import numpy as np

from generators.cases import CASES, Case

NAMES = (
    "loss/masked_lm/post",
    "loss/sequence_single_label/post",
    "loss/causal_lm/pre",
    "loss/token/pre",
    "loss/multiple_choice/pre",
    "loss/span_inside/pre",
    "loss/sequence_multi_label/pre",
    "loss/token_ignored/xl",
    "config/untied/pre",
    "position/relative_key_query/decoder/pre",
)
IN_FLOAT32 = ("loss/masked_lm/post", "loss/causal_lm/pre", "loss/multiple_choice/pre")
"""Those that are stored as a float32 model has them too."""


def with_loss(case: Case) -> Case:
    """The case's first step, without flags, and with labels where it has none."""
    step = {name: value for name, value in case.steps[0].items() if not isinstance(value, bool)}
    if "labels" not in step and "start_positions" not in step:
        step["labels"] = step["input_ids"]
    return replace(case, config={**case.config, "num_hidden_layers": 1}, steps=(step,))


GRADIENT_CASES = tuple(with_loss(case) for case in CASES if case.name in NAMES)

WITH_LOSS = tuple(case for case in CASES if case.head != "encoder")


def with_labels(case: Case) -> dict[str, Any]:
    """The inputs of a case's first step, without flags, and with labels for its head where it has none."""
    inputs = {name: x for name, x in case.steps[0].items() if not isinstance(x, bool)}
    shape = inputs["input_ids"].shape if "input_ids" in inputs else inputs["inputs_embeds"].shape[:-1]
    numbers = np.random.RandomState(0).randint(0, 2, shape)  # few labels are enough for every head
    if case.head == "question_answering":
        return {"start_positions": numbers[:, 0], "end_positions": numbers[:, 1], **inputs}
    of_tokens = case.head in ("masked_lm", "causal_lm", "token_classification")
    return {"labels": numbers if of_tokens else numbers.reshape(len(numbers), -1)[:, 0], **inputs}


def sums(gradient: np.ndarray) -> list[float]:
    """Two numbers that tell an array from others: its sum, and its sum weighted by cos(0), cos(1), ..."""
    flat = gradient.reshape(-1)
    return [float(f"{number:.12e}") for number in (flat.sum(), flat @ np.cos(np.arange(flat.size)))]
