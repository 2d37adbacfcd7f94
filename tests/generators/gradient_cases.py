"""The cases whose gradients are stored: those of `cases.py` that have a loss, with one layer."""

from dataclasses import replace

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
