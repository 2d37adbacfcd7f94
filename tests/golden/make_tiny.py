"""Write what transformers 4.48.3 makes of the embedded model: `python make_tiny.py`, with torch 2.13.0."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "minroberta" / "tiny"
TEXTS = ["The capital of France is <mask>.", "She was born in <mask>, and moved to London in 1950."]
QUESTION = ("Where is the cup?", "The cup is on the table, beside an old blue lamp.")
CLASSES = {
    "masked_lm": transformers.RobertaForMaskedLM,
    "sequence_classification": transformers.RobertaForSequenceClassification,
    "token_classification": transformers.RobertaForTokenClassification,
    "question_answering": transformers.RobertaForQuestionAnswering,
}
TASKS = {"sequence_classification": "text-classification", "token_classification": "token-classification"}


def main() -> None:
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(MODEL / "tokenizer.json"), pad_token="<pad>")
    arrays: dict[str, Any] = {}
    for head, kind in CLASSES.items():
        pair = [[QUESTION[0]], [QUESTION[1]]] if head == "question_answering" else [TEXTS]
        inputs = tokenizer(*pair, padding=True, return_tensors="pt", return_token_type_ids=False)
        arrays |= {f"{head}.{name}": value.numpy() for name, value in inputs.items()}
        settings = json.loads((MODEL / "config.json").read_text())["task_specific_params"].get(TASKS.get(head), {})
        labels = {name: {int(k): v for k, v in value.items()} if name == "id2label" else value
                  for name, value in settings.items()}  # fmt: skip
        kind._supports_param_buffer_assignment = False  # that version sets lm_head.bias to zero otherwise
        for dtype in (torch.float64, torch.float32):
            model = kind.from_pretrained(MODEL, torch_dtype=dtype, attn_implementation="eager", **labels).eval()
            with torch.no_grad():
                output = model(**inputs)
            for name in ("logits", "start_logits", "end_logits"):
                if name in output:
                    value = output[name].numpy()
                    if head == "masked_lm":
                        value = value[inputs["input_ids"].numpy() == tokenizer.convert_tokens_to_ids("<mask>")]
                    arrays[f"{head}.{name}.{str(dtype).removeprefix('torch.')}"] = np.ascontiguousarray(value)
    save_file(arrays, HERE / "tiny.safetensors")


if __name__ == "__main__":
    main()
