"""Write transformers 4.48.3's outputs for the embedded model: `python -m generators.make_tiny`, with torch 2.13.0.

`tiny.safetensors` holds its logits, and `tiny_tasks.json` answers of the pipelines, in the format of `make_tasks.py`.
"""

import json
import warnings
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from generators import GOLDEN, make_tasks
from generators.task_cases import EMBEDDED, TaskCase

MODEL = GOLDEN.parents[1] / "minroberta" / "tiny"
TEXTS = ["The capital of France is <mask>.", "She was born in <mask>, and moved to London in 1950."]
QUESTION = ("Where is the cup?", "The cup is on the table, beside an old blue lamp.")
CLASSES = {
    "masked_lm": transformers.RobertaForMaskedLM,
    "sequence_classification": transformers.RobertaForSequenceClassification,
    "token_classification": transformers.RobertaForTokenClassification,
    "question_answering": transformers.RobertaForQuestionAnswering,
}
TASKS = {"sequence_classification": "text-classification", "token_classification": "token-classification"}


def build(head: str, dtype: torch.dtype) -> transformers.PreTrainedModel:
    """The embedded model with this head and its labels."""
    settings = json.loads((MODEL / "config.json").read_text())["task_specific_params"].get(TASKS.get(head), {})
    labels = {
        name: {int(k): v for k, v in value.items()} if name == "id2label" else value for name, value in settings.items()
    }
    kind = CLASSES.get(head, transformers.RobertaModel)
    kind._supports_param_buffer_assignment = False  # that version sets lm_head.bias to zero otherwise
    return kind.from_pretrained(MODEL, torch_dtype=dtype, attn_implementation="eager", **labels).eval()


def build_for(case: TaskCase, dtype: torch.dtype) -> transformers.PreTrainedModel:
    return build(case.head, dtype)


def logits(tokenizer: transformers.PreTrainedTokenizerFast) -> dict[str, Any]:
    """The inputs and logits of every head, in both dtypes."""
    arrays: dict[str, Any] = {}
    for head in CLASSES:
        pair = [[QUESTION[0]], [QUESTION[1]]] if head == "question_answering" else [TEXTS]
        inputs = tokenizer(*pair, padding=True, return_tensors="pt")
        arrays |= {f"{head}.{name}": value.numpy() for name, value in inputs.items()}
        for dtype in (torch.float64, torch.float32):
            with torch.no_grad():
                output = build(head, dtype)(**inputs)
            for name in ("logits", "start_logits", "end_logits"):
                if name in output:
                    value = output[name].numpy()
                    if head == "masked_lm":
                        value = value[inputs["input_ids"].numpy() == tokenizer.mask_token_id]
                    arrays[f"{head}.{name}.{str(dtype).removeprefix('torch.')}"] = np.ascontiguousarray(value)
    return arrays


def main() -> None:
    """Rewrite both files; a second run gives the same bytes."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")  # about words that are split only at spaces
    tokenizer = transformers.RobertaTokenizerFast(tokenizer_file=str(MODEL / "tokenizer.json"), model_max_length=512)
    save_file(logits(tokenizer), GOLDEN / "tiny.safetensors")
    make_tasks.write("tiny_tasks.json", EMBEDDED, tokenizer, build_for)


if __name__ == "__main__":
    main()
