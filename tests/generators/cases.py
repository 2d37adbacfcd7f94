"""The golden cases: tiny models, their weights and their inputs, without the outputs.

`make.py` runs every case through Hugging Face transformers and stores the outputs in `tests/golden`; the tests run the
same cases through minroberta and compare. Weights and inputs come from NumPy's frozen `RandomState` streams, so
that the files hold outputs only.

Sizes are odd on purpose, so that no mix-up of two axes goes unseen: head sizes 6 and 7, 5 and 3 heads, 3 and 2 layers,
and an intermediate size that is not a multiple of any of them.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

VOCAB = 53
BATCH, CHOICES, LENGTH = 2, 3, 6
SOURCE = 5  # length of the encoder's sequence in cross-attention
PREFIX = 3  # length of a past that is given, not computed
DECODER_LAYERS = 2  # of the models with cross-attention or a cache, to keep the files small

POST_SHAPE = {"hidden_size": 30, "num_attention_heads": 5, "intermediate_size": 37, "num_hidden_layers": 3}
PRE_SHAPE = {"hidden_size": 21, "num_attention_heads": 3, "intermediate_size": 29, "num_hidden_layers": 2}

SHAPES = {
    "roberta": POST_SHAPE,
    "xlm-roberta": {**POST_SHAPE, "num_hidden_layers": 2},
    "camembert": {**POST_SHAPE, "num_hidden_layers": 2},
    "data2vec-text": POST_SHAPE,
    "roberta-prelayernorm": PRE_SHAPE,
    "xlm-roberta-xl": PRE_SHAPE,
}
HEADS = (
    "encoder",
    "masked_lm",
    "causal_lm",
    "sequence_classification",
    "multiple_choice",
    "token_classification",
    "question_answering",
)

# The last part of most names: where the layer norms stand.
POST, PRE, XL = "post", "pre", "xl"
MODEL_TYPES = {POST: "roberta", PRE: "roberta-prelayernorm", XL: "xlm-roberta-xl"}

ACTIVATIONS = (
    "gelu",
    "gelu_new",
    "gelu_pytorch_tanh",
    "gelu_fast",
    "quick_gelu",
    "relu",
    "silu",
    "swish",
    "tanh",
    "mish",
    "linear",
    "gelu_10",
    "gelu_python",
    "gelu_accurate",
    "laplace",
    "leaky_relu",
    "relu2",
    "relu6",
    "sigmoid",
)


@dataclass(frozen=True, eq=False)
class Case:
    """One tiny model and the calls made to it, one after the other."""

    name: str
    """Unique; its first part names the golden file."""
    model_type: str
    head: str
    config: dict[str, Any]
    """The fields of Hugging Face's `config.json`."""
    steps: tuple[dict[str, Any], ...]
    """The keyword inputs of each call; every call but the first also gets the `past_key_values` of the one before."""
    trace: bool = False
    """Also keep the output of every module."""


# Weights


def stream(name: str) -> np.random.RandomState:
    """The random stream of this name, the same in every process and for every NumPy."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float64 weight that Hugging Face calls `name`, without the base model's prefix.

    Weights are normal with deviation 0.3, biases and padding rows too; those of layer norms are centred on one.
    """
    noise = 0.3 * stream(name).standard_normal(shape)
    is_norm_weight = "layer_norm" in name.replace("LayerNorm", "layer_norm") and name.endswith(".weight")
    return 1 + noise if is_norm_weight else noise


# Inputs


def random_ids(*shape: int) -> np.ndarray:
    """Token ids from 6 up, so that none is a padding id by chance."""
    return stream("input_ids").randint(6, VOCAB, shape)


def random_types(*shape: int) -> np.ndarray:
    return stream("token_type_ids").randint(0, 3, shape)


def random_labels(classes: int, *shape: int) -> np.ndarray:
    return stream("labels").randint(0, classes, shape)


def random_states(name: str, *shape: int) -> np.ndarray:
    return stream(name).standard_normal(shape)


def random_mask(*shape: int) -> np.ndarray:
    """A random mask of zeros and ones, with a one at the first position of every row."""
    mask = stream("mask").randint(0, 2, shape)
    mask[..., 0] = 1
    return mask


def soft_mask(*shape: int) -> np.ndarray:
    """A mask of multiples of 1/4, with no 1 in the last sequence.

    `(1 - mask) * finfo.min` dwarfs every score however close to 1 the mask is. So a fraction next to a 1 acts as a 0,
    and in a row without a 1 all keys with the greatest fraction share the attention evenly.
    """
    mask = stream("soft mask").randint(0, 5, shape) / 4
    mask[-1] = np.minimum(mask[-1], 0.75)
    return mask


def padded(ids: np.ndarray, places: list[tuple[int, ...]], pad: int = 1) -> np.ndarray:
    """A copy of `ids` with the padding id at these indices (row, position)."""
    ids = ids.copy()
    for place in places:
        ids[place] = pad
    return ids


RIGHT = [(1, 4), (1, 5)]
LEFT = [(1, 0), (1, 1)]
INTERIOR = [(0, 2), (1, 1), (1, 4)]


def padded_batch(places: list[tuple[int, ...]], pad: int = 1) -> dict[str, np.ndarray]:
    """Two sequences of six tokens, some of them padding, and the mask that hides these."""
    ids = padded(random_ids(BATCH, LENGTH), places, pad)
    return {"input_ids": ids, "attention_mask": (ids != pad).astype(np.int64)}


def choices_batch() -> dict[str, np.ndarray]:
    """The right-padded batch of multiple choice, of shape (B, C, L)."""
    ids = padded(random_ids(BATCH, CHOICES, LENGTH), [(0, 2, 5), (1, 0, 4), (1, 0, 5)])
    return {
        "input_ids": ids,
        "attention_mask": (ids != 1).astype(np.int64),
        "token_type_ids": random_types(BATCH, CHOICES, LENGTH),
    }


def with_ignored(labels: np.ndarray) -> np.ndarray:
    """Token labels with some set to -100, which losses ignore."""
    return padded(labels, [(0, 0), (0, 3), (1, 2), *RIGHT], pad=-100)


def head_labels(head: str) -> dict[str, np.ndarray]:
    """The inputs that make this head compute its loss."""
    if head == "encoder":
        return {}
    if head in ("masked_lm", "causal_lm"):
        return {"labels": with_ignored(random_labels(VOCAB, BATCH, LENGTH))}
    if head == "token_classification":
        return {"labels": with_ignored(random_labels(3, BATCH, LENGTH))}
    if head == "question_answering":
        return {"start_positions": np.array([1, 3]), "end_positions": np.array([4, 3])}
    return {"labels": np.array([2, 0])}


# Cases


def make_case(
    name: str, model_type: str, head: str, *steps: dict[str, Any], trace: bool = False, **changes: Any
) -> Case:
    """A case of the tiny model of a family, with these `changes` to its config."""
    config = {
        "model_type": model_type,
        **SHAPES[model_type],
        "vocab_size": VOCAB,
        "max_position_embeddings": 24,
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": None,
        "initializer_range": 0.02,
        "position_embedding_type": "absolute",
        "is_decoder": head == "causal_lm",
        "add_cross_attention": False,
        "use_cache": True,
        "tie_word_embeddings": True,
        "chunk_size_feed_forward": 0,
        "num_labels": 2 if head == "question_answering" else 3,
        **changes,
    }
    return Case(name, model_type, head, config, steps, trace)


def size(order: str, field: str) -> int:
    """A field of the shape of the tiny model with this norm order."""
    return SHAPES[MODEL_TYPES[order]][field]


def family_cases() -> Iterator[Case]:
    """Every head of every family, with mask, token types, labels and all intermediates that the model returns."""
    for model_type in SHAPES:
        for head in HEADS:
            if head == "multiple_choice":
                inputs = choices_batch()
            else:
                inputs = {**padded_batch(RIGHT), "token_type_ids": random_types(BATCH, LENGTH)}
            step = {**inputs, **head_labels(head), "output_hidden_states": True, "output_attentions": True}
            yield make_case(f"family/{model_type}/{head}", model_type, head, step)


def mask_cases() -> Iterator[Case]:
    """Every kind of attention mask in an encoder, and padding without a mask."""
    right = padded_batch(RIGHT)["input_ids"]
    ids = random_ids(BATCH, LENGTH)
    hidden_row = np.ones((BATCH, LENGTH), np.int64)
    hidden_row[1] = 0
    hidden_query = random_mask(BATCH, LENGTH, LENGTH)
    hidden_query[0, 2] = 0
    inputs = {
        "none": {"input_ids": right},
        "left": padded_batch(LEFT),
        "interior": padded_batch(INTERIOR),
        "unpadded_ids": {"input_ids": ids, "attention_mask": random_mask(BATCH, LENGTH)},
        "soft": {"input_ids": ids, "attention_mask": soft_mask(BATCH, LENGTH)},
        "three_axes": {"input_ids": ids, "attention_mask": random_mask(BATCH, LENGTH, LENGTH)},
        "three_axes_soft": {"input_ids": ids, "attention_mask": soft_mask(BATCH, LENGTH, LENGTH)},
        "hidden_row": {"input_ids": ids, "attention_mask": hidden_row},
        "hidden_query": {"input_ids": ids, "attention_mask": hidden_query},
    }
    for name, step in inputs.items():
        for order in (POST, PRE):
            step = {**step, "output_attentions": True}
            yield make_case(f"mask/{name}/{order}", MODEL_TYPES[order], "encoder", step)


def input_cases() -> Iterator[Case]:
    """Given positions, embeddings in place of ids, head masks."""
    ids = padded_batch(RIGHT)
    mask = ids["attention_mask"]
    positions = np.array([[3, 1, 4, 1, 5, 9], [2, 7, 1, 8, 23, 0]])
    for order in (POST, PRE):
        width, heads, layers = (
            size(order, field) for field in ("hidden_size", "num_attention_heads", "num_hidden_layers")
        )
        embeds = random_states("inputs_embeds", BATCH, LENGTH, width)
        choices = random_states("inputs_embeds", BATCH, CHOICES, LENGTH, width)
        head_mask = np.linspace(0, 1.5, heads)
        inputs = {
            "position_ids": {**ids, "position_ids": positions},
            "one_row_of_position_ids": {**ids, "position_ids": positions[:1]},
            "token_type_ids": {**ids, "token_type_ids": random_types(BATCH, LENGTH)},
            "inputs_embeds": {"inputs_embeds": embeds, "attention_mask": mask},
            "inputs_embeds_position_ids": {"inputs_embeds": embeds, "position_ids": positions},
            "head_mask": {**ids, "head_mask": head_mask, "output_attentions": True},
            "head_mask_by_layer": {
                **ids,
                "head_mask": np.linspace(0, 1.5, layers * heads).reshape(layers, heads),
                "output_attentions": True,
            },
        }
        for name, step in inputs.items():
            yield make_case(f"input/{name}/{order}", MODEL_TYPES[order], "encoder", step)
        choice_inputs = {
            "choices_embeds": {"inputs_embeds": choices, "attention_mask": choices_batch()["attention_mask"]},
            "choices_ids_only": {"input_ids": choices_batch()["input_ids"]},
            "choices_position_ids": {
                **choices_batch(),
                "position_ids": np.broadcast_to(positions[:, None], (BATCH, CHOICES, LENGTH)).copy(),
                "head_mask": head_mask,
            },
        }
        for name, step in choice_inputs.items():
            yield make_case(f"input/{name}/{order}", MODEL_TYPES[order], "multiple_choice", step)


def config_cases() -> Iterator[Case]:
    """Fields of the config that change the result, or must not: eps, padding ids, chunks, untied and pruned weights."""
    for order in (POST, PRE, XL):
        model_type = MODEL_TYPES[order]
        ids = padded_batch(RIGHT)
        yield make_case(f"config/no_positions/{order}", model_type, "masked_lm", ids, position_embedding_type=None)
        yield make_case(f"config/eps/{order}", model_type, "masked_lm", ids, layer_norm_eps=1e-3)
        yield make_case(f"config/chunks/{order}", model_type, "encoder", ids, chunk_size_feed_forward=2)
        yield make_case(f"config/untied/{order}", model_type, "masked_lm", ids, tie_word_embeddings=False)
        pruned_heads = {"0": [1], "1": [0, 2]}
        step = {**ids, "output_attentions": True}
        yield make_case(f"config/pruned/{order}", model_type, "masked_lm", step, pruned_heads=pruned_heads)
    for order in (POST, PRE):
        model_type = MODEL_TYPES[order]
        for pad in (0, 5):
            step = padded_batch([*RIGHT, (0, 2)], pad)
            yield make_case(f"config/pad_{pad}/{order}", model_type, "masked_lm", step, pad_token_id=pad)
            embeds = random_states("inputs_embeds", BATCH, LENGTH, size(order, "hidden_size"))
            step = {"inputs_embeds": embeds}
            yield make_case(f"config/pad_{pad}_embeds/{order}", model_type, "encoder", step, pad_token_id=pad)
        ids = padded_batch(RIGHT)
        yield make_case(f"config/untied_decoder/{order}", model_type, "causal_lm", ids, tie_word_embeddings=False)
        yield make_case(f"config/one_token_type/{order}", model_type, "encoder", ids, type_vocab_size=1)


def activation_cases() -> Iterator[Case]:
    """Every activation; the language-model head keeps the exact gelu."""
    for activation in ACTIVATIONS:
        for order in (POST, PRE):
            yield make_case(
                f"activation/{activation}/{order}",
                MODEL_TYPES[order],
                "masked_lm" if order == POST else "encoder",
                padded_batch(RIGHT),
                hidden_act=activation,
                num_hidden_layers=1,
            )


def position_cases() -> Iterator[Case]:
    """Relative positions in encoder, decoder and beside cross-attention.

    With a cache transformers is right only for one token at a time after the prompt.
    """
    for kind in ("relative_key", "relative_key_query"):
        for order in (POST, PRE, XL):
            prefix, model_type, changes = f"position/{kind}", MODEL_TYPES[order], {"position_embedding_type": kind}
            step = {**padded_batch(RIGHT), "use_cache": False, "output_attentions": True}
            yield make_case(f"{prefix}/encoder/{order}", model_type, "encoder", step, **changes)
            yield make_case(f"{prefix}/cached/{order}", model_type, "causal_lm", *generation(4, 1, 1), **changes)
            if order == XL:
                continue
            yield make_case(f"{prefix}/decoder/{order}", model_type, "causal_lm", step, **changes)
            step = {**step, **source(order)}
            yield make_case(
                f"{prefix}/cross/{order}", model_type, "causal_lm", step, add_cross_attention=True, **changes
            )


def source(order: str) -> dict[str, np.ndarray]:
    """The inputs of a decoder's cross-attention, as from an encoder."""
    return {"encoder_hidden_states": random_states("source", BATCH, SOURCE, size(order, "hidden_size"))}


def generation(*lengths: int) -> list[dict[str, Any]]:
    """A sequence given in pieces of these lengths, each with the mask of all that came before it.

    The mask hides two tokens that are not padding, one of the prompt and one of a later piece.
    """
    total = sum(lengths)
    ids = random_ids(BATCH, total)
    mask = np.ones((BATCH, total), np.int64)
    mask[0, 2] = mask[1, 4] = 0
    steps, start = [], 0
    for length in lengths:
        stop = start + length
        steps.append({"input_ids": ids[:, start:stop], "attention_mask": mask[:, :stop]})
        start = stop
    return steps


def decoder_cases() -> Iterator[Case]:
    """Causal masks: alone, times a padding mask, and replaced by a mask of three axes."""
    ids = random_ids(BATCH, LENGTH)
    hidden_row = np.ones((BATCH, LENGTH), np.int64)
    hidden_row[1] = 0
    inputs = {
        "no_mask": {"input_ids": ids},
        "right": padded_batch(RIGHT),
        "left": padded_batch(LEFT),
        "soft": {"input_ids": ids, "attention_mask": soft_mask(BATCH, LENGTH)},
        "hidden_row": {"input_ids": ids, "attention_mask": hidden_row},
        "three_axes": {"input_ids": ids, "attention_mask": random_mask(BATCH, LENGTH, LENGTH)},
    }
    for name, step in inputs.items():
        for order in (POST, PRE):
            step = {**step, "use_cache": False, "output_attentions": True}
            yield make_case(f"decoder/{name}/{order}", MODEL_TYPES[order], "causal_lm", step)
    for order in (POST, PRE, XL):
        step = padded_batch(RIGHT)
        yield make_case(f"decoder/bare/{order}", MODEL_TYPES[order], "encoder", step, is_decoder=True)
    for order in (POST, PRE):
        model_type, asked = MODEL_TYPES[order], {**padded_batch(RIGHT), "use_cache": True}
        yield make_case(f"decoder/cache_asked/{order}", model_type, "encoder", asked, is_decoder=True, use_cache=False)


def cross_cases() -> Iterator[Case]:
    """Cross-attention to a sequence of another length, under every kind of mask on it."""
    ids = {**padded_batch(RIGHT), "use_cache": False}
    decoder = {"add_cross_attention": True, "num_hidden_layers": DECODER_LAYERS}
    for order in (POST, PRE, XL):
        heads = size(order, "num_attention_heads")
        head_mask = np.linspace(0, 1.5, DECODER_LAYERS * heads).reshape(DECODER_LAYERS, heads)
        inputs = {
            "mask": {"encoder_attention_mask": random_mask(BATCH, SOURCE), "output_hidden_states": True},
            "no_mask": {},
            "soft": {"encoder_attention_mask": soft_mask(BATCH, SOURCE)},
            "three_axes": {"encoder_attention_mask": random_mask(BATCH, LENGTH, SOURCE)},
            "head_mask": {"head_mask": np.linspace(0, 1.5, heads)},
            "head_mask_by_layer": {"head_mask": head_mask},
        }
        if order == XL:
            inputs = {"mask": inputs["mask"]}
        for name, step in inputs.items():
            step = {**ids, **source(order), **step, "output_attentions": True}
            yield make_case(f"cross/{name}/{order}", MODEL_TYPES[order], "causal_lm", step, **decoder)
    for order in (POST, PRE):
        yield make_case(f"cross/no_source/{order}", MODEL_TYPES[order], "causal_lm", ids, **decoder)


def random_past(order: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Random keys and values for every layer, not computed by a model."""
    heads = size(order, "num_attention_heads")
    shape = (BATCH, heads, PREFIX, size(order, "hidden_size") // heads)
    return tuple(
        (random_states(f"key {layer}", *shape), random_states(f"value {layer}", *shape))
        for layer in range(DECODER_LAYERS)
    )


def cache_cases() -> Iterator[Case]:
    """A sequence given in pieces, and a past that is given from outside.

    There is no padding among the ids, because transformers numbers the tokens after a padded prompt wrongly.
    """
    pieces = generation(4, 1, 2)
    for order in (POST, PRE, XL):
        states = {**source(order), "encoder_attention_mask": random_mask(BATCH, SOURCE)}

        def cache(name: str, head: str, *steps: dict[str, Any], order: str = order, **changes: Any) -> Case:
            """A decoder, unless these changes to its config make it an encoder."""
            changes = {"is_decoder": True, "num_hidden_layers": DECODER_LAYERS, **changes}
            return make_case(f"cache/{name}/{order}", MODEL_TYPES[order], head, *steps, **changes)

        yield cache("generation", "causal_lm", *({**piece, "use_cache": True} for piece in pieces))
        crossing = [{**piece, **states, "output_attentions": True} for piece in pieces]
        yield cache("cross", "causal_lm", *crossing, add_cross_attention=True)
        prefix = {"input_ids": random_ids(BATCH, LENGTH), "past_key_values": random_past(order)}
        yield cache("prefix", "encoder", prefix, is_decoder=False)
        if order == XL:
            continue
        yield cache("bare", "encoder", *pieces)
        yield cache("no_mask", "causal_lm", *({"input_ids": piece["input_ids"]} for piece in pieces))
        masks = [random_mask(BATCH, 4, 4), random_mask(BATCH, 2, 6)]
        three_axes = [{**piece, "attention_mask": mask} for piece, mask in zip(generation(4, 2), masks, strict=True)]
        yield cache("three_axes", "causal_lm", *three_axes)
        places = [np.array([[7, 9, 8, 10]]), np.array([[12, 11]])]
        placed = [{**piece, "position_ids": ids} for piece, ids in zip(generation(4, 2), places, strict=True)]
        yield cache("position_ids", "causal_lm", *placed)
        prefix = {**prefix, "attention_mask": random_mask(BATCH, PREFIX + LENGTH)}
        yield cache("prefix_mask", "encoder", prefix, is_decoder=False)
        yield cache("prefix_decoder", "encoder", prefix)
        yield cache("pruned", "causal_lm", *generation(4, 2), pruned_heads={"0": [1], "1": [0, 2]})


def loss_cases() -> Iterator[Case]:
    """Every loss, with labels to be ignored, and with no label left to average (NaN)."""
    ids = padded_batch(RIGHT)
    ignored = np.full((BATCH, LENGTH), -100)
    targets = stream("targets").standard_normal((BATCH, 3))
    flags = np.array([[1.0, 0.0, 1.0], [0.0, 0.25, 1.0]])
    classes = np.array([2, 1])

    def loss(name: str, head: str, order: str = POST, **options: Any) -> Case:
        """A one-layer model with these labels; other options change the config."""
        labels = {key: options.pop(key) for key in ("labels", "start_positions", "end_positions") if key in options}
        inputs = choices_batch() if head == "multiple_choice" else ids
        step = {**inputs, **labels}
        return make_case(f"loss/{name}/{order}", MODEL_TYPES[order], head, step, num_hidden_layers=1, **options)

    for order in (POST, PRE):
        yield loss("masked_lm", "masked_lm", order, **head_labels("masked_lm"))
        yield loss("masked_lm_all_ignored", "masked_lm", order, labels=ignored)
        yield loss("causal_lm", "causal_lm", order, **head_labels("causal_lm"))
        yield loss("causal_lm_all_ignored", "causal_lm", order, labels=ignored)
        yield loss("token", "token_classification", order, labels=with_ignored(random_labels(3, BATCH, LENGTH)))
        yield loss("multiple_choice", "multiple_choice", order, labels=np.array([1, 2]))

        def sequence(name: str, order: str = order, **options: Any) -> Case:
            return loss(f"sequence_{name}", "sequence_classification", order, **options)

        yield sequence("single_label", labels=classes)
        yield sequence("single_label_column", labels=classes[:, None])
        yield sequence("single_label_one_ignored", labels=np.array([-100, 1]))
        yield sequence("single_label_explicit", labels=classes, problem_type="single_label_classification")
        yield sequence("regression_one", labels=targets[:, 0], num_labels=1)
        yield sequence("regression_one_column", labels=targets[:, :1], num_labels=1)
        yield sequence("regression_one_explicit", labels=targets[:, 0], num_labels=1, problem_type="regression")
        yield sequence("regression_several", labels=targets, problem_type="regression")
        yield sequence("multi_label", labels=flags)
        yield sequence("multi_label_explicit", labels=flags, problem_type="multi_label_classification")
        yield sequence("multi_label_one", labels=flags[:, 1:2], num_labels=1, problem_type="multi_label_classification")

        def span(name: str, start: list, end: list, order: str = order) -> Case:
            positions = {"start_positions": np.array(start), "end_positions": np.array(end)}
            return loss(f"span_{name}", "question_answering", order, **positions)

        yield span("inside", [1, 3], [4, 3])
        yield span("below", [-100, 2], [3, -1])
        yield span("beyond", [LENGTH, 2], [3, LENGTH + 5])
        yield span("all_beyond", [LENGTH, LENGTH + 5], [LENGTH, LENGTH])
        yield span("start_beyond", [LENGTH, LENGTH + 5], [2, 3])
        yield span("column", [[1], [3]], [[4], [LENGTH]])

    # The XL token loss ignores labels where the mask is 0; other families count them.
    counted = random_labels(3, BATCH, LENGTH)
    for order in (POST, XL):
        yield loss("token_labels_on_padding", "token_classification", order, labels=counted)
    yield loss("token_ignored", "token_classification", XL, labels=with_ignored(counted))


def trace_cases() -> Iterator[Case]:
    """The output of every module: whole models in each norm order, a decoder with cross-attention, and all heads."""
    ids = {**padded_batch(RIGHT), "token_type_ids": random_types(BATCH, LENGTH)}
    for model_type in MODEL_TYPES.values():
        yield make_case(f"trace/{model_type}/masked_lm", model_type, "masked_lm", ids, trace=True)
    step = {**ids, **source(POST), "encoder_attention_mask": random_mask(BATCH, SOURCE), "use_cache": False}
    decoder = {"add_cross_attention": True, "num_hidden_layers": DECODER_LAYERS}
    yield make_case("trace/roberta/causal_lm", "roberta", "causal_lm", step, trace=True, **decoder)
    for head in ("encoder", "sequence_classification", "multiple_choice", "question_answering"):
        batch = choices_batch() if head == "multiple_choice" else ids
        step = {name: value[1:] for name, value in batch.items()}
        yield make_case(f"trace/roberta/{head}", "roberta", head, step, trace=True, num_hidden_layers=1)


GROUPS = (
    family_cases,
    mask_cases,
    input_cases,
    config_cases,
    activation_cases,
    position_cases,
    decoder_cases,
    cross_cases,
    cache_cases,
    loss_cases,
    trace_cases,
)

CASES: tuple[Case, ...] = tuple(case for group in GROUPS for case in group())
