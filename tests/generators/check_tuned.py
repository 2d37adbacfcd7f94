"""Open what `minroberta fine-tune` writes with transformers and peft, and compare outputs.

    pip install torch==2.13.0 transformers==4.48.3 peft==0.14.0
    cd tests && PYTHONPATH=.. python -m generators.check_tuned

Each head is trained for an epoch: all weights, the head alone, and LoRA's matrices. Outputs are computed in float64.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from click.testing import CliRunner
from peft import PeftModel

import minroberta
from minroberta.cli import main

WORDS = ("good", "great", "moving", "fine", "bad", "dull", "boring", "poor")
DATA = {
    "sequence_classification": "text,label\n"
    + "".join(f"A {w} film {i}.,{w > 'e'}\n" for i in range(4) for w in WORDS),
    "multiple_choice": "prompt,choice1,choice2,label\n"
    + "".join(f"Film {i},is {w},was,{i % 2}\n" for i, w in enumerate(WORDS * 4)),
    "token_classification": "\n".join(f"A X\n{w} Y\nfilm{i} Z\n" for i in range(4) for w in WORDS),
    "question_answering": "question,context,answer\n"
    + "".join(f"What {i}?,A {w} film {i},{w}\n" for i in range(4) for w in WORDS),
    "masked_lm": "\n".join(f"A {w} film {i}." for i in range(4) for w in WORDS),
}
CLASSES = {
    "sequence_classification": "ForSequenceClassification",
    "multiple_choice": "ForMultipleChoice",
    "token_classification": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
    "masked_lm": "ForMaskedLM",
}


def check(head: str, what: str, directory: Path) -> float:
    """The largest difference of any output, relative to the largest output."""
    base, out = directory / "base", directory / "out"
    minroberta.load(head=head, missing="init").save(base)
    data = directory / (
        "data.conll" if head == "token_classification" else "data.txt" if head == "masked_lm" else "data.csv"
    )
    data.write_text(DATA[head], encoding="utf-8")
    options = ["--head", head, "--output", str(out), "--model", str(base), "--epochs", "1", "--train", what]
    result = CliRunner().invoke(main, ["fine-tune", str(data), *options])
    assert result.exit_code == 0, result.output
    ours, kind = minroberta.load(out, head=head, dtype="float64"), getattr(transformers, f"AutoModel{CLASSES[head]}")
    if what == "lora":
        fields: Any = {"num_labels": ours.config.num_labels, "ignore_mismatched_sizes": True}
        theirs = PeftModel.from_pretrained(kind.from_pretrained(base, **fields), out)
    else:
        theirs = kind.from_pretrained(out)
        assert theirs.config.id2label == ours.config.id2label
    assert len(transformers.AutoTokenizer.from_pretrained(out)) == len(ours.tokenizer)
    batch = ours.tokenizer(["A good film.", "A bad one, and a long one."])
    if head == "multiple_choice":
        batch = {name: x[None] for name, x in batch.items()}
    with torch.no_grad():
        expected = theirs.double().eval()(**{name: torch.tensor(x) for name, x in batch.items()})
    found, largest = ours(**batch), 0.0
    for name in ("start_logits", "end_logits") if head == "question_answering" else ("logits",):
        right = expected[name].numpy()
        largest = max(largest, abs(np.asarray(found[name]) - right).max() / abs(right).max())
    return largest


if __name__ == "__main__":
    for head in DATA:
        for what in ("all", "head", "lora"):
            if (head, what) != ("masked_lm", "head"):
                with tempfile.TemporaryDirectory() as directory:
                    difference = check(head, what, Path(directory))
                print(f"{head:<24}{what:<6}{difference:.1e}", flush=True)
                assert difference < 1e-6  # the matrices are merged in float32
