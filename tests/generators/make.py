"""Write the golden files: the outputs of Hugging Face transformers 4.48.3 for every case of `cases.py`.

    python -m generators.make

needs torch, safetensors and exactly that version of transformers, with its "eager" attention; the tests need none of
them. Every case is run by a new model in float64 and again in float32. A value is stored under

    {case}|{float64 or float32}|{step}|{output}

in the file named by the first part of the case. Outputs are `last_hidden_state`, `logits`, `hidden_states.0`,
`past_key_values.0.1` (layer 0, value) and so on, and `module:{name}` for the output of a module, named without the base
model's prefix. To keep the files small, only the greatest distance of the float32 value from the float64 one is stored
for all but the final outputs, under `{case}|error|{step}|{output}`; and the past is stored after the last step only,
since it holds that of every step before.

Values keep the dtype in which transformers gives them: it computes the causal loss in float32 even in float64 models.
Models are built in memory, because `from_pretrained` of this version sets `lm_head.bias` to zero.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers.utils import ModelOutput

from generators import GOLDEN
from generators.cases import CASES, Case, parameter

VERSION = "4.48.3"
DTYPES = {"float64": torch.float64, "float32": torch.float32}
INTERMEDIATES = ("hidden_states.", "attentions.", "cross_attentions.", "past_key_values.", "module:")

FAMILY_CLASSES = {
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "data2vec-text": "Data2VecText",
    "roberta-prelayernorm": "RobertaPreLayerNorm",
    "xlm-roberta-xl": "XLMRobertaXL",
}
HEAD_CLASSES = {
    "encoder": "Model",
    "masked_lm": "ForMaskedLM",
    "causal_lm": "ForCausalLM",
    "sequence_classification": "ForSequenceClassification",
    "multiple_choice": "ForMultipleChoice",
    "token_classification": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
}


def build(case: Case, dtype: torch.dtype) -> transformers.PreTrainedModel:
    """The case's model with its random weights, ready for inference."""
    family = FAMILY_CLASSES[case.model_type]
    config_class = getattr(transformers, f"{family}Config")
    model_class = getattr(transformers, family + HEAD_CLASSES[case.head])
    model = model_class(config_class.from_dict(case.config, attn_implementation="eager")).to(dtype).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(parameter(without_prefix(name, model), tuple(weight.shape))))
    return model


def without_prefix(name: str, model: transformers.PreTrainedModel) -> str:
    """A parameter's or module's name as the base model alone would have it."""
    return name.removeprefix(f"{model.base_model_prefix}.")


def to_torch(value: Any, dtype: torch.dtype) -> Any:
    """An input, or a dict or tuple of them, with arrays as tensors: floats in the model's dtype, integers as int64."""
    if isinstance(value, dict):
        return {name: to_torch(item, dtype) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(to_torch(item, dtype) for item in value)
    if isinstance(value, np.ndarray):
        return torch.tensor(value, dtype=dtype if value.dtype.kind == "f" else torch.int64)
    return value


def flatten(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of an output, with indices in tuples added to the name: `attentions.0`, `attentions.1`, ..."""
    if isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from flatten(f"{name}.{place}", item)
    else:
        yield name, value.numpy().copy()


@contextmanager
def watched(model: transformers.PreTrainedModel) -> Iterator[dict[str, list[np.ndarray]]]:
    """Collect the outputs of all named modules inside the `with` block, one list entry for every call."""
    outputs: dict[str, list[np.ndarray]] = defaultdict(list)

    def hook_for(name: str):
        def hook(module, inputs, output) -> None:
            if isinstance(output, ModelOutput):
                output = output.last_hidden_state
            elif isinstance(output, tuple):
                output = output[0]
            outputs[name].append(output.numpy().copy())

        return hook

    hooks = [
        module.register_forward_hook(hook_for(without_prefix(name, model)))
        for name, module in model.named_modules()
        if name
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def run(case: Case, dtype: torch.dtype) -> list[dict[str, np.ndarray]]:
    """The outputs of each step by name. A module that is called twice in one step is left out."""
    model, past, results = build(case, dtype), {}, []
    for step in case.steps:
        with torch.no_grad(), watched(model) as modules:
            output = model(**to_torch(step, dtype), **past)
        result = dict(pair for name, value in output.items() for pair in flatten(name, value))
        if case.trace:
            result |= {f"module:{name}": values[0] for name, values in modules.items() if len(values) == 1}
        results.append(result)
        past = {"past_key_values": output.past_key_values} if "past_key_values" in output else {}
    return results


def golden_values(case: Case) -> Iterator[tuple[str, np.ndarray]]:
    """The keys and values to store for a case."""
    exact, rounded = (run(case, dtype) for dtype in DTYPES.values())
    last = len(case.steps) - 1
    for step in range(len(case.steps)):
        for name, value in exact[step].items():
            if name.startswith("past_key_values") and step < last:
                continue
            yield f"{case.name}|float64|{step}|{name}", value
            if name.startswith(INTERMEDIATES):
                error = np.abs(rounded[step][name].astype(np.float64) - value).max()
                yield f"{case.name}|error|{step}|{name}", np.array(error)
            else:
                yield f"{case.name}|float32|{step}|{name}", rounded[step][name]


def main() -> None:
    """Rewrite all golden files; a second run gives the same bytes."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden files need transformers {VERSION}, this is {transformers.__version__}")
    torch.set_num_threads(1)
    versions = {library.__name__: library.__version__ for library in (transformers, torch, np)}
    # One entry only: safetensors writes several in any order.
    metadata = {"versions": json.dumps(versions)}
    files: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for case in CASES:
        files[case.name.partition("/")[0]].update(golden_values(case))
    for name, values in files.items():
        save_file(values, GOLDEN / f"{name}.safetensors", metadata)


if __name__ == "__main__":
    main()
