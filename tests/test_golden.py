"""Every golden case, on NumPy: outputs and named intermediates equal transformers 4.48.3's."""

import numpy as np
import pytest
from support import CASES, Case, assert_golden, check, golden, model_of

from minroberta import Config, Trace, trace

DTYPES = ("float64", "float32")
ids = [case.name for case in CASES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_outputs(case: Case, dtype: str) -> None:
    check(case, dtype, model_of(case, dtype))


TRACED = [case for case in CASES if case.trace]
TWICE = {"classifier.dropout"}  # called twice, so not recorded


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", TRACED, ids=[case.name for case in TRACED])
def test_every_module(case: Case, dtype: str) -> None:
    """Each module of the reference that ran has its value here, under the same name."""
    values = trace(model_of(case, dtype), **case.steps[0])
    modules = [name for name in golden(case, "float64", 0) if name.startswith("module:")]
    assert len(modules) > 20
    for name in modules:
        ours = same_value(name.removeprefix("module:"), values, model_of(case, dtype).config)
        assert_golden(case, dtype, 0, name, values[ours])


def same_value(name: str, values: Trace, config: Config) -> str:
    """The canonical name of a module's value, which for a dropout or an activation may be another module's."""
    parent, _, last = name.rpartition(".")
    if name in ("roberta", "roberta_prelayernorm"):
        return "LayerNorm" if config.family.final_norm == "LayerNorm" else "encoder"
    if last == "dropout":
        return dropped(parent, values)
    passing = {"intermediate_act_fn": parent, "activation": parent, "decoder": parent}
    return passing.get(last, name)


def dropped(parent: str, values: Trace) -> str:
    """The value that a dropout passes on in inference: probabilities, a dense layer's output, or the module before."""
    if parent.endswith("attention.self"):
        return f"{parent}.probs"
    if parent.endswith("output"):
        return f"{parent}.dense"
    if parent == "embeddings":
        return parent
    return "pooler" if "pooler" in values else "encoder"


def test_the_cases_cover_every_family_head_and_activation() -> None:
    """A case that is lost from the files fails this test."""
    assert len({(case.model_type, case.head) for case in CASES}) == 42
    assert len({case.config.get("hidden_act", "gelu") for case in CASES}) == 19
    assert len(CASES) == 277


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_golden_values_are_not_trivial(case: Case) -> None:
    """A reference of zeros or constants would let many mistakes pass."""
    for step in range(len(case.steps)):
        for name, value in golden(case, "float64", step).items():
            if value.size > 10:
                assert np.std(value) > 1e-3, name
