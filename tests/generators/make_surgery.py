"""Write `surgery.safetensors`: outputs of resized and pruned models of Hugging Face transformers 4.48.3.

    python -m generators.make_surgery [FILE]

needs torch, safetensors and exactly that version of transformers. Models and inputs are those of cases in `cases.py`,
in float64; weights of pruned ones are rounded to float32 first, since `prune_heads` does that. A value is stored under

    {case}|{what was done, as JSON}|{output}

where what was done is a number of tokens, or a list of successive arguments of `prune_heads`. For a resized model there
are also `input_ids` within its vocabulary, and transformers' random rows for new tokens, under the weight's name with
`new:` before it.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from generators import GOLDEN
from generators.cases import CASES, VOCAB, Case
from generators.make import VERSION, build, to_torch, without_prefix

SIZES = (40, VOCAB, 60)
RESIZED = [
    "family/roberta/encoder",
    "family/roberta/sequence_classification",
    "family/roberta-prelayernorm/causal_lm",
    "family/camembert/masked_lm",
    "family/data2vec-text/masked_lm",
    "family/xlm-roberta-xl/masked_lm",
    "config/untied/post",
    "config/untied/xl",
    "config/untied_decoder/pre",
]

ONE = [{0: [1]}]
SEVERAL = [{0: [2, 0], 1: [1]}]
TWICE = [{1: [0]}, {0: [1], 1: [0, 2]}]
PRUNED = [
    *((case.name, TWICE) for case in CASES if case.name.startswith("family/")),
    *((f"config/untied/{order}", ONE) for order in ("post", "pre", "xl")),
    *((f"cross/mask/{order}", SEVERAL) for order in ("post", "pre", "xl")),
    *((f"position/relative_key_query/encoder/{order}", SEVERAL) for order in ("post", "pre")),
    ("config/pruned/post", [{0: [1, 3], 2: [4]}]),
]

ROWS = ("embeddings.word_embeddings.weight", "lm_head.decoder.weight", "lm_head.bias")


def run(model: transformers.PreTrainedModel, case: Case, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays among the outputs of the case's first step, without labels."""
    step = {name: value for name, value in case.steps[0].items() if isinstance(value, np.ndarray)}
    step = {name: value for name, value in step.items() if name != "labels" and not name.endswith("_positions")}
    with torch.no_grad():
        output = model(**to_torch({**step, **changes}, torch.float64))
    return {name: value.numpy().copy() for name, value in output.items() if isinstance(value, torch.Tensor)}


def resized(case: Case, n: int) -> dict[str, np.ndarray]:
    model = build(case, torch.float64)
    torch.manual_seed(n)
    model.resize_token_embeddings(n)
    ids = np.minimum(case.steps[0]["input_ids"], n - 1)
    ids[0, 1] = n - 1
    weights = {without_prefix(name, model): weight for name, weight in model.named_parameters()}
    rows = {f"new:{name}": weights[name].detach()[VOCAB:].numpy() for name in ROWS if name in weights and n > VOCAB}
    return {**run(model, case, input_ids=ids), "input_ids": ids, **rows}


def pruned(case: Case, steps: list[dict[int, list[int]]]) -> dict[str, np.ndarray]:
    model = build(case, torch.float32)
    with torch.no_grad():
        for heads in steps:
            model.prune_heads(heads)
    return run(model.to(torch.float64).eval(), case)


def golden_values() -> Iterator[tuple[str, np.ndarray]]:
    """The keys and values to store."""
    by_name = {case.name: case for case in CASES}
    jobs: list[tuple[str, Any, Any]] = [(name, n, resized) for name in RESIZED for n in SIZES]
    jobs += [(name, steps, pruned) for name, steps in PRUNED]
    for name, what, function in jobs:
        for output, value in function(by_name[name], what).items():
            yield f"{name}|{json.dumps(what)}|{output}", np.ascontiguousarray(value)


def main() -> None:
    """Rewrite the golden file; a second run gives the same bytes."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden files need transformers {VERSION}, this is {transformers.__version__}")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    versions = {library.__name__: library.__version__ for library in (transformers, torch, np)}
    path = sys.argv[1] if len(sys.argv) > 1 else GOLDEN / "surgery.safetensors"
    save_file(dict(golden_values()), path, {"versions": json.dumps(versions)})


if __name__ == "__main__":
    main()
