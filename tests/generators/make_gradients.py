"""Write `gradients.safetensors`: PyTorch's gradients of the losses of transformers 4.48.3.

    python -m generators.make_gradients [FILE]

needs torch, safetensors and exactly that version of transformers. Models and inputs are those of `gradient_cases.py`.
The gradient of a parameter is stored under

    {case}|{float64 or float32}|{parameter}

named without the base model's prefix and rounded to float32. Parameters without an effect on the loss have none.
"""

import json
import sys
from collections.abc import Iterator

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from generators import GOLDEN
from generators.cases import Case
from generators.gradient_cases import GRADIENT_CASES, IN_FLOAT32
from generators.make import DTYPES, VERSION, build, to_torch, without_prefix


def gradients(case: Case, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """The gradients of the case's loss, by parameter."""
    model = build(case, dtype)
    model(**to_torch(case.steps[0], dtype)).loss.backward()
    found = {without_prefix(name, model): weight.grad for name, weight in model.named_parameters()}
    return {name: gradient.float().numpy() for name, gradient in found.items() if gradient is not None}


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
    path = sys.argv[1] if len(sys.argv) > 1 else GOLDEN / "gradients.safetensors"
    save_file(dict(golden_values()), path, {"versions": json.dumps(versions)})


if __name__ == "__main__":
    main()
