"""Results that `test_pyodide.py` compares: `results` runs once in this Python and once in Pyodide."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import minroberta
from minroberta.testing import compare, diagnose
from minroberta.train import train

TEXT = "She was the first woman to win the <mask> Prize."
TEXTS = [
    "Où est l'ÉTÉ dernier ?",
    "  Two  spaces and\ta tab\n",
    "日本語の漢字 서울이다",
    "a\x85b\u2003<mask> </s>",
    "It's 1,000!",
]


def results(folder: str) -> None:
    """Write answers, ids and findings into `facts.json`, and every named value in float64 into `values.npz`."""
    model, exact = minroberta.load(), minroberta.load(dtype="float64")
    inputs = exact.tokenize(TEXT)
    trace = minroberta.trace(exact, **inputs)
    np.savez(f"{folder}/values.npz", **dict(trace), **of_a_new_model())
    changed = {**exact.config.to_dict(), "hidden_act": "gelu_new"}
    port = dict(
        minroberta.trace(minroberta.Model(minroberta.Config.from_dict(changed), exact.params, exact.head), **inputs)
    )
    seconds = {"compare": time.perf_counter()}
    report = compare(trace, port)
    seconds = {"compare": time.perf_counter() - seconds["compare"], "diagnose": time.perf_counter()}
    findings = diagnose(exact, inputs, port)
    seconds["diagnose"] = time.perf_counter() - seconds["diagnose"]
    exact.save(f"{folder}/saved")
    facts: dict[str, Any] = {
        "answers": model.fill_mask(TEXT),
        "ids": [model.tokenize(text)["input_ids"][0].tolist() for text in TEXTS],
        "offsets": [model.tokenize(text, return_offsets=True)["offset_mapping"].tolist() for text in TEXTS],
        "first_bad": report.first_bad,
        "findings": [finding.name for finding in findings],
        "of a saved model": minroberta.load(f"{folder}/saved").fill_mask(TEXT)[0]["token_str"],
        "tokenizer": type(model.tokenizer.library).__module__,
        "seconds": seconds,
    }
    Path(folder, "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def of_a_new_model() -> dict[str, np.ndarray]:
    """The gradients of a model with random weights, and its logits after a step of training, in float64."""
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config = {"model_type": "roberta", "num_attention_heads": 2, **sizes}
    model = minroberta.init(config, "masked_lm", seed=1, dtype="float64")
    batch = {"input_ids": np.array([[0, 7, 9, 11, 2]]), "labels": np.array([[-100, 7, -100, 12, -100]])}
    gradients = minroberta.gradients(model, **batch)
    ((_, trained),) = train(model, [batch], steps=1, learning_rate=0.01)
    logits = trained(batch["input_ids"]).logits
    return {f"gradient of {name}": array for name, array in gradients.items()} | {"trained": logits}
