"""The cases of the golden suite: calls to tiny models that ports may get wrong.

Axes have different sizes, so that none is mistaken for another. Weights are integers divided by a power of 2, with so
few bits that they are exact in the dtype in which a port should compute. They come from NumPy's frozen generator,
`RandomState`, which gives the same numbers in every version of NumPy.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy

from ..config import Config
from ..loading import Model
from ..weights import shapes, tree

SUITE = 1
"""Version of the suite. It changes whenever a case, its weights or its inputs change."""

SIZES: dict[str, Any] = {
    "vocab_size": 41,
    "hidden_size": 20,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 27,
    "max_position_embeddings": 18,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
    "num_labels": 3,
}
IDS = [[0, 7, 31, 12, 40, 9, 2], [0, 25, 8, 12, 2, 16, 2]]
RIGHT = [[0, 7, 31, 12, 40, 9, 2], [0, 25, 8, 2, 1, 1, 1]]
LEFT = [[0, 7, 31, 12, 40, 9, 2], [1, 1, 1, 0, 25, 8, 2]]
MIDDLE = [[0, 7, 1, 12, 1, 9, 2], [0, 25, 8, 1, 1, 16, 2]]
TYPES = [[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 1, 0]]
IGNORED = -100

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A tiny model and a call to it.

    name: the name of the case and of its file. shows: what a port may get wrong. config: fields that replace or extend
    SIZES. before: an earlier call, whose cache is passed to this one. names: the values to store, by default all.
    precision: the dtype that a port should compute in.
    """

    name: str
    shows: str
    head: str
    inputs: Inputs
    config: Mapping[str, Any] = field(default_factory=dict)
    before: Inputs | None = None
    names: tuple[str, ...] | None = None
    precision: str = "float32"


def masked(ids: list[list[int]], pad: int = 1) -> dict[str, Any]:
    """Ids, and the mask that hides their padding."""
    return {"input_ids": ids, "attention_mask": [[int(token != pad) for token in row] for row in ids]}


def numbers(name: str, *shape: int, limit: int = 1024, unit: float = 2.0**-9) -> numpy.ndarray:
    """Random integers from -limit to limit, times `unit`, in float32, from NumPy's generator seeded with the name."""
    random = numpy.random.RandomState(zlib.crc32(name.encode()))
    return (random.randint(-limit, limit + 1, shape, dtype=numpy.int64) * unit).astype(numpy.float32)


def model_of(case: Case) -> Model:
    """The model of a case, in float16. Weights of norms are within 0.6 of 1, and all others within 0.6 of 0.

    Weights have at most 8 significant bits in the bfloat16 case, and at most 11 in the others.
    """
    config = Config.from_dict({"model_type": "roberta", **SIZES, **case.config})
    bits = 7 if case.precision == "bfloat16" else 10
    arrays = {}
    for name, shape in shapes(config, case.head).items():
        random = numbers(name, *shape, limit=int(0.6 * 2**bits), unit=2.0**-bits)
        arrays[name] = (random + is_norm(name)).astype(numpy.float16)
    return Model(config, tree(arrays), case.head)


def is_norm(name: str) -> bool:
    """True for the weight of a layer norm."""
    return name.endswith(("LayerNorm.weight", "layer_norm.weight"))


# --- the cases ------------------------------------------------------------------------------------------------------

D, H, LAYERS = SIZES["hidden_size"], SIZES["num_attention_heads"], SIZES["num_hidden_layers"]
LABELS = [[IGNORED, 31, IGNORED, IGNORED, 5, IGNORED, IGNORED], [IGNORED, 8, IGNORED, 3, IGNORED, IGNORED, IGNORED]]
TAGS = [[IGNORED, 0, 2, 1, 1, 0, IGNORED], [IGNORED, 2, 0, IGNORED, 1, IGNORED, IGNORED]]
CHOICES = {
    "input_ids": [[[0, 7, 31, 2], [0, 9, 2, 1], [0, 16, 5, 2]], [[0, 3, 2, 1], [0, 30, 33, 2], [0, 8, 8, 2]]],
    "attention_mask": [[[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]], [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]],
    "labels": [2, 0],
}
SOURCE = {
    "encoder_hidden_states": numbers("source", 2, 5, D),
    "encoder_attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]],
}
PRE, XL = {"model_type": "roberta-prelayernorm"}, {"model_type": "xlm-roberta-xl"}
DECODER = {"is_decoder": True}
CROSS = {"is_decoder": True, "add_cross_attention": True}


def heads() -> Iterator[Case]:
    """Cases for every head, with the loss if the head has one."""
    right = masked(RIGHT)
    yield Case("encoder", "the body and the pooler, which reads the first token", "encoder", right)
    yield Case(
        "masked-lm",
        "the head's bias is added once; the decoder shares the weights of the word embeddings",
        "masked_lm",
        {**right, "labels": LABELS},
    )
    yield Case(
        "causal-lm",
        "each position attends to itself and earlier ones; the loss shifts labels by one",
        "causal_lm",
        {**right, "labels": RIGHT},
        DECODER,
    )
    yield Case(
        "sequence-classification",
        "dense, tanh and out_proj of the first token, without the pooler",
        "sequence_classification",
        {**right, "labels": [2, 0]},
    )
    yield Case("multiple-choice", "each choice is a row; after the pooler, one score each", "multiple_choice", CHOICES)
    yield Case("token-classification", "labels of -100 are ignored", "token_classification", {**right, "labels": TAGS})
    yield Case(
        "question-answering",
        "channel 0 is the start, channel 1 the end; a label after the last position is ignored",
        "question_answering",
        {**right, "start_positions": [1, 7], "end_positions": [4, 2]},
        {"num_labels": 2},
    )


def families() -> Iterator[Case]:
    """Cases for the positions of the norms, and for the other differences between families."""
    right = masked(RIGHT)
    yield Case("prelayernorm-encoder", "a norm before each part, and one after the last layer", "encoder", right, PRE)
    yield Case("prelayernorm-masked-lm", "the same with a head", "masked_lm", {**right, "labels": LABELS}, PRE)
    yield Case(
        "xl-masked-lm",
        "no norm after the embeddings; the final norm is part of the encoder",
        "masked_lm",
        {**right, "labels": LABELS},
        XL,
    )
    yield Case(
        "xl-token-classification",
        "the loss ignores masked positions",
        "token_classification",
        {**right, "labels": [[0] * 7, [1] * 7]},
        XL,
    )
    for family in ("xlm-roberta", "camembert", "data2vec-text"):
        shows = "Roberta under another name"
        yield Case(f"{family}-masked-lm", shows, "masked_lm", right, {"model_type": family})


def inputs() -> Iterator[Case]:
    """Cases for the optional inputs: masks, positions, token types, and embeddings in place of ids."""
    yield Case(
        "mask-none",
        "positions skip padding ids, but without a mask padding is attended to",
        "encoder",
        {"input_ids": RIGHT},
    )
    yield Case("mask-left", "the first token has position 2, wherever it is in the row", "encoder", masked(LEFT))
    yield Case("mask-middle", "padding between tokens is not counted in positions", "encoder", masked(MIDDLE))
    yield Case(
        "mask-of-tokens",
        "positions come from the ids, never from the mask",
        "encoder",
        {"input_ids": IDS, "attention_mask": [[1, 0, 1, 1, 0, 1, 1], [1, 1, 1, 0, 0, 1, 0]]},
    )
    three = [
        [[int(key % (row + 2) != query % 3 or key == query) for key in range(7)] for query in range(7)]
        for row in range(2)
    ]
    yield Case(
        "mask-three-axes",
        "a different mask for each query",
        "encoder",
        {"input_ids": IDS, "attention_mask": three},
    )
    yield Case(
        "mask-hides-a-row",
        "a row whose keys are all masked attends to all equally, and is not NaN",
        "encoder",
        {"input_ids": IDS, "attention_mask": [[1] * 7, [0] * 7]},
    )
    yield Case(
        "positions-given",
        "given positions are used as they are",
        "encoder",
        {"input_ids": IDS, "position_ids": [[2, 9, 4, 17, 0, 3, 3], [5, 4, 3, 2, 1, 0, 8]]},
    )
    yield Case(
        "positions-longest",
        "the last position uses the last row of the table",
        "encoder",
        {"input_ids": [[0, *range(20, 34), 2]]},
    )
    for kind in ("relative_key", "relative_key_query"):
        yield Case(
            f"positions-{kind.replace('_', '-')}",
            "distances are query minus key; their scores are added before the division by √E",
            "encoder",
            masked(RIGHT),
            {"position_embedding_type": kind},
        )
    yield Case(
        "token-types",
        "both rows of the token type embeddings",
        "encoder",
        {**masked(RIGHT), "token_type_ids": TYPES},
    )
    yield Case(
        "embeddings-given",
        "with embeddings instead of ids, no position counts as padding",
        "encoder",
        {"inputs_embeds": numbers("embeddings", 2, 7, D), "attention_mask": masked(RIGHT)["attention_mask"]},
    )
    yield Case(
        "head-mask",
        "attention probabilities are multiplied by the head mask, after the softmax",
        "encoder",
        {**masked(RIGHT), "head_mask": [[1, 0, 1, 0.5], [0, 1, 1, 1]]},
    )


def decoders() -> Iterator[Case]:
    """Cases for caches and cross-attention."""
    first, then = [row[:4] for row in IDS], [row[4:] for row in IDS]
    yield Case(
        "cache",
        "keys and positions continue from the cache",
        "causal_lm",
        {"input_ids": then},
        DECODER,
        before={"input_ids": first},
    )
    left = masked(LEFT)
    cut = {name: [row[:5] for row in rows] for name, rows in left.items()}
    yield Case(
        "cache-left-padded",
        "the mask covers the cache too; positions are given, since transformers counts the cache's padding",
        "causal_lm",
        {
            "input_ids": [row[5:] for row in LEFT],
            "attention_mask": left["attention_mask"],
            "position_ids": [[7, 8], [4, 5]],
        },
        DECODER,
        before=cut,
    )
    yield Case(
        "prelayernorm-cache",
        "keys and values are computed after the norm",
        "causal_lm",
        {"input_ids": then},
        {**PRE, **DECODER},
        before={"input_ids": first},
    )
    yield Case(
        "cross-attention",
        "keys and values come from another sequence, of a different length",
        "causal_lm",
        {**masked(RIGHT), **SOURCE},
        CROSS,
    )
    yield Case(
        "xl-cross-attention", "the same with the norm first", "causal_lm", {**masked(RIGHT), **SOURCE}, {**XL, **CROSS}
    )
    yield Case(
        "cross-attention-cache",
        "the cache holds four arrays per layer",
        "causal_lm",
        {"input_ids": then, **SOURCE},
        CROSS,
        before={"input_ids": first, **SOURCE},
    )


def edges() -> Iterator[Case]:
    """Cases for unusual configurations, sizes and precisions."""
    one = {"input_ids": [[7]]}
    yield Case("one-token", "a single token, which attends to itself", "masked_lm", one)
    yield Case(
        "twelve-layers",
        "layers are in numerical order, not alphabetical",
        "masked_lm",
        {"input_ids": IDS[:1]},
        {"num_hidden_layers": 12},
        names=("embeddings", "encoder.layer.?", "encoder.layer.??"),
    )
    yield Case("eps", "a large eps, added inside the square root", "masked_lm", masked(RIGHT), {"layer_norm_eps": 0.1})
    yield Case(
        "gelu-new",
        "GELU is approximated by tanh in the encoder, but exact in the masked LM head",
        "masked_lm",
        masked(RIGHT),
        {"hidden_act": "gelu_new"},
    )
    yield Case("untied", "the decoder has its own weights", "masked_lm", masked(RIGHT), {"tie_word_embeddings": False})
    yield Case(
        "pad-0",
        "positions start after pad_token_id",
        "masked_lm",
        masked([[3, 7, 31, 2], [3, 8, 0, 0]], 0),
        {"pad_token_id": 0},
    )
    for precision in ("float16", "bfloat16"):
        yield Case(
            precision,
            f"weights are exact in {precision}, so that all error is rounding error",
            "masked_lm",
            masked(RIGHT),
            precision=precision,
        )


GROUPS = (heads, families, inputs, decoders, edges)
CASES: tuple[Case, ...] = tuple(case for group in GROUPS for case in group())
