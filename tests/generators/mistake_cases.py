"""Tiny models with one mistake each, or two: the model, the mistake, and the name that `diagnose` must give it.

Shared by `make_mistakes.py`, which needs transformers, and by the tests, which need minroberta. It imports neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from generators.cases import Case, make_case, padded, parameter, random_past, random_types, stream

LENGTH = 7
SHAPE = {
    "hidden_size": 15,
    "num_attention_heads": 3,
    "intermediate_size": 19,
    "num_hidden_layers": 2,
    "vocab_size": 29,
    "max_position_embeddings": 20,
}
RIGHT = [(1, 5), (1, 6)]
LEFT = [(1, 0), (1, 1)]

# --- models and inputs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Setting:
    """A tiny model and one call of it."""

    case: Case
    small: bool = False
    """Whether the embeddings are ten times smaller, as trained ones are, so that eps matters in their norm."""
    pooled: bool = False
    """Whether the checkpoint has a pooler that the head does not read, as roberta-base has."""

    @property
    def inputs(self) -> dict[str, Any]:
        return self.case.steps[0]

    def weight(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The float64 weight that Hugging Face calls `name`, without the base model's prefix."""
        return parameter(name, shape) * (0.1 if self.small and "_embeddings." in name else 1)


def ids(length: int = LENGTH) -> np.ndarray:
    """Token ids from 6 up, so that none is a padding id by chance."""
    return stream("mistakes").randint(6, SHAPE["vocab_size"], (2, length))


def batch(places: list[tuple[int, ...]] = RIGHT, **more: Any) -> dict[str, np.ndarray]:
    """Two sequences, with padding at these indices, and the mask that hides it."""
    tokens = padded(ids(), places)
    return {"input_ids": tokens, "attention_mask": (tokens != 1).astype(np.int64), **more}


def hidden() -> dict[str, np.ndarray]:
    """A mask that hides a real token, so that positions counted by the mask are not those of the ids."""
    inputs = batch()
    inputs["attention_mask"][0, 2] = 0
    return inputs


def blind() -> dict[str, np.ndarray]:
    """A mask for each query, with two queries that see nothing: only for these does it matter how low a mask is."""
    mask = stream("blind").randint(0, 2, (2, LENGTH, LENGTH))
    mask[:, :, 0] = 1
    mask[0, 3] = mask[1, 4] = 0
    return {"input_ids": ids(), "attention_mask": mask}


def with_0() -> dict[str, Any]:
    """Tokens among which <s> is, so that a mask of the ids that are not 0 hides it."""
    inputs = batch()
    inputs["input_ids"][:, 0] = 0
    return inputs


def long() -> dict[str, Any]:
    """More tokens than bfloat16 can count."""
    return {"input_ids": ids(150).reshape(1, 300)}


def cached() -> dict[str, Any]:
    """Two tokens after a past that is given."""
    return {"input_ids": ids()[:, :2], "past_key_values": random_past("post"), "use_cache": True}


def setting(name: str, model_type: str, head: str, inputs: dict[str, Any], **changes: Any) -> Setting:
    """The setting of this name; `small` and `pooled` are not fields of the config."""
    small, pooled = changes.pop("small", False), changes.pop("pooled", False)
    return Setting(make_case(f"mistake/{name}", model_type, head, inputs, **{**SHAPE, **changes}), small, pooled)


TYPES = random_types(2, LENGTH)
PAST_SHAPE = {"hidden_size": 30, "num_attention_heads": 5}  # of `random_past`
DEEP = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 11, "num_hidden_layers": 12}

SETTINGS = {
    "post": setting("post", "roberta", "masked_lm", batch(token_type_ids=TYPES)),
    "untyped": setting("untyped", "roberta", "masked_lm", batch()),
    "encoder": setting("encoder", "roberta", "encoder", batch(token_type_ids=TYPES)),
    "classify": setting("classify", "xlm-roberta", "sequence_classification", batch()),
    "pooled": setting("pooled", "roberta", "sequence_classification", batch(), pooled=True),
    "choose": setting(
        "choose", "roberta", "multiple_choice", {name: x[:, None].repeat(2, 1) for name, x in batch().items()}
    ),
    "tag": setting("tag", "camembert", "token_classification", batch()),
    "answer": setting("answer", "data2vec-text", "question_answering", batch()),
    "pre": setting("pre", "roberta-prelayernorm", "masked_lm", batch(token_type_ids=TYPES)),
    "pre-classify": setting("pre-classify", "roberta-prelayernorm", "sequence_classification", batch()),
    "xl": setting("xl", "xlm-roberta-xl", "masked_lm", batch()),
    "decoder": setting("decoder", "roberta", "causal_lm", {**batch(), "use_cache": False}),
    "decoder-left": setting("decoder-left", "roberta", "causal_lm", {**batch(LEFT), "use_cache": False}),
    "cached": setting("cached", "roberta", "causal_lm", cached(), **PAST_SHAPE),
    "relative": setting("relative", "roberta", "encoder", batch(), position_embedding_type="relative_key"),
    "tanh": setting("tanh", "roberta", "masked_lm", batch(), hidden_act="gelu_new"),
    "small": setting("small", "roberta", "masked_lm", batch(), small=True),
    "small-12": setting("small-12", "roberta", "masked_lm", batch(), small=True, layer_norm_eps=1e-12),
    "left": setting("left", "roberta", "masked_lm", batch(LEFT)),
    "hidden": setting("hidden", "roberta", "masked_lm", hidden()),
    "blind": setting("blind", "roberta", "encoder", blind()),
    "three": setting("three", "roberta", "masked_lm", batch(), num_hidden_layers=3),
    "deep": setting("deep", "roberta", "encoder", batch(), **DEEP),
    "untied": setting("untied", "roberta", "masked_lm", batch(), tie_word_embeddings=False),
}

PORTED = {
    "with-0": setting("with-0", "roberta", "masked_lm", with_0(), num_hidden_layers=3),
    "single": setting("single", "roberta", "encoder", {"input_ids": ids(1)[:1]}),
    "long": setting("long", "roberta", "encoder", long(), max_position_embeddings=304),
}
"""Models and inputs that only `tests/testing/port.py` runs, since their values are not stored."""

# --- mistakes -------------------------------------------------------------------------------------------------------


WHOLE = ".*"
OUTPUTS = r"embeddings|encoder\.layer\.\d+|logits|last_hidden_state|pooler_output|start_logits|end_logits"
FIRST = r"(?!encoder\.layer\.([1-9]|1\d)\.).*"  # only the output of later layers, so that the file is small

WITHOUT_PROBS = rf"(?!.*\.dropout){FIRST}"


@dataclass(frozen=True)
class Planted:
    """A model with mistakes in it."""

    setting: str
    mistakes: tuple[str, ...]
    """What `make_mistakes.py` plants."""
    names: tuple[tuple[str, ...], ...]
    """What must be found: for each mistake a name, or several where they are the same on this input."""
    first_bad: str | None = None
    """Of a mistake without a name, the first value whose own step is wrong."""
    kept: str = FIRST
    """A pattern of the values that the candidate has, without the base model's prefix."""

    @property
    def name(self) -> str:
        return "/".join([self.setting, *self.mistakes])


def planted(
    settings: str, mistake: str, *same: str, kept: str = FIRST, first_bad: str | None = None
) -> Iterator[Planted]:
    """The mistake in each of the settings; `same` are other right names for it."""
    for name in settings.split():
        yield Planted(name, (mistake,), ((mistake, *same),), first_bad, kept)


def catalogue() -> Iterator[Planted]:
    """The mistakes of the catalogue."""
    yield from planted("post xl", "positions-from-0", kept=WHOLE)
    yield from planted("post pre", "positions-from-1")
    yield from planted("left", "positions-by-place")
    yield from planted("hidden", "positions-from-mask")
    yield from planted("post pre", "token-types-missing")
    yield from planted("untyped xl", "token-types-row-1")
    yield from planted("post pre", "embedding-norm-missing")
    yield from planted("post", "embedding-norm-doubled")
    yield from planted("small", "eps-1e-12")
    yield from planted("small small-12", "eps-1e-6")
    yield from planted("small-12", "eps-1e-5")
    yield from planted("post pre", "variance-unbiased")
    yield from planted("small", "eps-outside-root")
    yield from planted("encoder post pre", "gelu-tanh", kept=WHOLE)
    yield from planted("tanh", "gelu-erf")
    yield from planted("encoder post", "gelu-quick")
    yield from planted("encoder xl", "gelu-relu")
    yield from planted("encoder", "gelu-float16")
    yield from planted("post xl", "scores-unscaled")
    yield from planted("post", "scores-scaled-twice")
    yield from planted("post pre", "scores-scaled-by-hidden")
    yield from planted("post decoder-left", "mask-ignored")
    yield from planted("post", "mask-inverted")
    yield from planted("post pre", "mask-multiplied")
    yield from planted("post pre", "mask-after-softmax")
    yield from planted("blind", "mask-1e4")
    yield from planted("blind", "mask-inf")
    yield from planted("post", "softmax-over-queries", kept=WHOLE)
    yield from planted("post", "softmax-over-heads")
    yield from planted("post", "query-key-swapped", "qkv-order-kqv")
    yield from planted("encoder", "heads-interleaved", kept=WHOLE)
    for order in ("qvk", "kvq", "vqk", "vkq"):
        yield from planted("encoder", f"qkv-order-{order}")
    for part in ("query", "key", "value", "attention-output"):
        yield from planted("encoder", f"weight-transposed-{part}")
        yield from planted("pre", f"bias-missing-{part}")
        yield from planted("encoder", f"bias-missing-{part}")
    for part in ("intermediate", "output", "attention-norm", "output-norm", "embedding-norm"):
        yield from planted("encoder", f"bias-missing-{part}")
    yield from planted("pre", "bias-missing-final-norm")
    yield from planted("encoder", "bias-missing-pooler")
    yield from planted("classify", "bias-missing-classifier-dense")
    yield from planted("classify", "bias-missing-classifier-out")
    yield from planted("post", "bias-missing-lm-dense")
    yield from planted("post", "bias-missing-lm-norm")
    yield from planted("tag", "bias-missing-classifier")
    yield from planted("answer", "bias-missing-qa-outputs")
    yield from planted("post pre", "norm-order", kept=WHOLE)
    yield from planted("pre xl", "final-norm-missing")
    yield from planted("pre xl", "final-norm-doubled")
    yield from planted("pre xl", "residual-from-norm", kept=WHOLE)
    yield from planted("deep", "layers-in-text-order", kept=OUTPUTS + r"|encoder\.layer\.[12]\..*")
    yield from planted("three", "layer-missing-0", kept=OUTPUTS)
    yield from planted("three", "layer-missing-1", kept=OUTPUTS)
    yield from planted("three", "layer-missing-2", kept=WHOLE)
    yield from planted("post pre", "lm-bias-missing")
    yield from planted("post xl", "lm-bias-doubled")
    yield from planted("untied", "lm-decoder-untied")
    yield from planted("pooled classify", "pooler-for-classifier")
    yield from planted("encoder choose", "classifier-for-pooler")
    yield from planted("encoder", "tanh-missing-pooler")
    yield from planted("classify pre-classify", "tanh-missing-classifier")
    yield from planted("classify encoder", "last-token")
    yield from planted("decoder", "causal-missing", kept=WHOLE)
    yield from planted("decoder", "causal-off-by-one")
    yield from planted("relative", "distance-sign", kept=WHOLE)
    yield from planted("cached", "cache-position-off-by-one")
    yield Planted("three", ("layer-1-repeated",), (("layers-reordered",),), None, WITHOUT_PROBS)
    for precision in ("float16", "bfloat16", "tf32", "int8-weights"):
        yield from planted("post", precision, kept=WHOLE)
        yield from planted("pre", precision)


def pairs() -> Iterator[Planted]:
    """Two mistakes of the catalogue at once."""
    for name, one, other in (
        ("post", "gelu-tanh", "lm-bias-missing"),
        ("small", "eps-1e-12", "positions-from-0"),
        ("encoder", "token-types-missing", "bias-missing-pooler"),
        ("post", "mask-ignored", "gelu-tanh"),
        ("pre", "scores-unscaled", "lm-bias-missing"),
        ("xl", "final-norm-missing", "gelu-relu"),
        ("untyped", "positions-from-1", "token-types-row-1"),
        ("classify", "last-token", "tanh-missing-classifier"),
        ("decoder", "causal-missing", "lm-bias-missing"),
        ("encoder", "heads-interleaved", "gelu-quick"),
        ("post", "weight-transposed-attention-output", "bias-missing-lm-dense"),
        ("post", "embedding-norm-missing", "lm-bias-doubled"),
        ("three", "layer-missing-2", "lm-bias-missing"),
        ("post", "variance-unbiased", "gelu-tanh"),
        ("encoder", "scores-unscaled", "mask-ignored"),
        ("small", "embedding-norm-doubled", "eps-1e-12"),
        ("pre", "bias-missing-query", "weight-transposed-query"),
        ("post", "positions-from-0", "float16"),
    ):
        yield Planted(name, (one, other), ((one,), (other,)))


def strangers() -> Iterator[Planted]:
    """Mistakes that are not in the catalogue, and the value that they begin at."""
    layer = "encoder.layer.0"
    for name, mistake, first_bad in (
        ("post", "silu", f"{layer}.intermediate"),
        ("post", "norm-over-tokens", "embeddings"),
        ("encoder", "head-1-zeroed", f"{layer}.attention.self"),
        ("pre", "key-bias-doubled", f"{layer}.attention.self.key"),
        ("untyped", "word-embeddings-scaled", "embeddings.word_embeddings"),
        ("three", "layers-clamped", layer),
        ("post", "last-key-dropped", f"{layer}.attention.self"),
        ("classify", "weights-of-one-decimal", f"{layer}.attention.self.query"),
        ("post", "attention-times-0.9", f"{layer}.attention.output.LayerNorm"),
        ("pre", "residual-halved", f"{layer}.attention.output"),
        ("post", "lm-gelu-missing", "lm_head.layer_norm"),
        ("xl", "positions-doubled", "embeddings.position_embeddings"),
        ("decoder", "keys-rolled", f"{layer}.attention.self"),
    ):
        yield Planted(name, (mistake,), (), first_bad, WITHOUT_PROBS)


def rounded() -> Iterator[Planted]:
    """Right models on other code."""
    for name in ("post", "classify", "tag", "decoder", "left", "hidden", "xl", "three"):
        yield Planted(name, ("sdpa",), ())


MISTAKES = list(catalogue())
PAIRS = list(pairs())
STRANGERS = list(strangers())
RIGHT = list(rounded())
