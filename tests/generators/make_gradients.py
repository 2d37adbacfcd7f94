"""Write `gradients.safetensors` and `gradients.json`: PyTorch's gradients of the losses of transformers 4.48.3.

    python -m generators.make_gradients [DIRECTORY]

needs torch, safetensors and exactly that version of transformers. Models and inputs are those of `gradient_cases.py`.
The gradient of a parameter is stored under

    {case}|{float64 or float32}|{parameter}

named without the base model's prefix and rounded to float32. Parameters without an effect on the loss have none. The
JSON file holds `sums` of the float64 gradients of every case that has a head with a loss.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from generators import GOLDEN
from generators.cases import Case
from generators.gradient_cases import GRADIENT_CASES, IN_FLOAT32, WITH_LOSS, sums, with_labels
from generators.make import DTYPES, VERSION, build, to_torch, without_prefix


def gradients(case: Case, dtype: torch.dtype, rounded: bool = True) -> dict[str, np.ndarray]:
    """The gradients of the case's loss, by parameter, perhaps rounded to float32."""
    model = build(case, dtype)
    model(**to_torch(case.steps[0], dtype)).loss.backward()
    found = {without_prefix(name, model): weight.grad for name, weight in model.named_parameters()}
    given = {name: gradient for name, gradient in found.items() if gradient is not None}
    return {name: (gradient.float() if rounded else gradient).numpy() for name, gradient in given.items()}


def of_all() -> dict[str, dict[str, list[float]]]:
    """The sums of each gradient, by case."""
    found = {}
    for case in WITH_LOSS:
        own = gradients(replace(case, steps=(with_labels(case),)), torch.float64, rounded=False)
        found[case.name] = {name: sums(gradient) for name, gradient in own.items()}
    return found


def golden_values() -> Iterator[tuple[str, np.ndarray]]:
    """The keys and values to store."""
    for case in GRADIENT_CASES:
        for dtype in DTYPES if case.name in IN_FLOAT32 else ["float64"]:
            for name, gradient in gradients(case, DTYPES[dtype]).items():
                yield f"{case.name}|{dtype}|{name}", gradient


def main() -> None:
    """Rewrite the golden file; a second run gives the same bytes."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden files need transformers {VERSION}, this is {transformers.__version__}")
    torch.set_num_threads(1)
    versions = {library.__name__: library.__version__ for library in (transformers, torch, np)}
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    save_file(dict(golden_values()), folder / "gradients.safetensors", {"versions": json.dumps(versions)})
    text = json.dumps({"versions": versions, "sums": of_all()}, separators=(",", ":"))
    (folder / "gradients.json").write_text(text.replace('},"', '},\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
