"""The mistakes that ports of RoBERTa make, as data: each is a change that can be applied to the reference.

`catalogue(model)` yields all mistakes that a port of that model can make.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy

from .. import ops
from ..backend.arrays import Array
from ..loading import Model
from ..text.embedding import POOLINGS, Normalize
from . import changes
from .changes import Change
from .pooling import Pooled, settings

GITHUB = "https://github.com"


@dataclass(frozen=True)
class Mistake:
    """A mistake that a port can make.

    explanation: what the port does. fix: what it should do. ways: changes, each of which makes this mistake. seen_in:
    the URL of a report in a real project, or "".
    """

    name: str
    explanation: str
    fix: str
    ways: tuple[Change, ...]
    seen_in: str = ""


NORMS_IN = {
    "in-layers": (
        "The norms of the layers",
        r"encoder\.layer\..*LayerNorm",
        f"{GITHUB}/keras-team/keras-hub/issues/642",
    ),
    "outside-layers": (
        "The norms of the embeddings and of the language-model head",
        r"embeddings\.LayerNorm|lm_head\.layer_norm",
        f"{GITHUB}/dmlc/gluon-nlp/pull/1214",
    ),
    "but-lm-head": (
        "All norms but that of the language-model head",
        r".*LayerNorm",
        f"{GITHUB}/microsoft/onnxruntime/issues/3768",
    ),
}
"""Groups of norms that a port may give an eps of their own: in words, a pattern of their names, and where seen."""


# --- the catalogue --------------------------------------------------------------------------------------------------

MISTAKES = (
    # inputs
    Mistake(
        "cache-position-off-by-one",
        "Positions after a cache are one too high or too low.",
        "Continue from the number n of tokens in the cache: the next position is n + pad_token_id + 1.",
        (changes.shifted(1), changes.shifted(-1)),
    ),
    Mistake(
        "positions-from-0",
        "Positions start at 0, as in BERT.",
        "Start at pad_token_id + 1: the rows of RoBERTa's position table before that are reserved for padding.",
        (changes.indices_from(0), changes.counted_from(0)),
        f"{GITHUB}/sbryngelson/ANEForge/pull/257",
    ),
    Mistake(
        "positions-from-1",
        "Positions start at 1.",
        "Start at pad_token_id + 1.",
        (changes.indices_from(1), changes.counted_from(1)),
    ),
    Mistake(
        "positions-by-place",
        "Positions count all tokens, including padding.",
        "Count only tokens that are not padding: cumsum(ids != pad) · (ids != pad) + pad.",
        (changes.positions(changes.positions_by_place),),
        f"{GITHUB}/huggingface/transformers/issues/1761",
    ),
    Mistake(
        "positions-from-mask",
        "Positions are computed from the attention mask.",
        "Count the ids that are not padding: a masked token has a position too.",
        (changes.positions(changes.positions_from_mask),),
    ),
    Mistake(
        "positions-in-bfloat16",
        "Positions are computed in bfloat16, which does not hold every integer above 256.",
        "Compute positions as integers.",
        (changes.rounded_positions(counting=False), changes.rounded_positions(counting=True)),
        f"{GITHUB}/huggingface/candle",
    ),
    Mistake(
        "token-types-row-1",
        "Every token has token type 1, although token_type_ids is not given or says otherwise.",
        "Use token_type_ids, and row 0 of the token type embeddings if it is not given.",
        (Change(inputs=changes.types_of_1),),
    ),
    # norms
    Mistake(
        "embedding-norm-missing",
        "The norm of the embeddings is left out.",
        "Apply embeddings.LayerNorm to the sum of the embeddings.",
        (Change(values={r"embeddings\.LayerNorm": changes.its_input}),),
    ),
    Mistake(
        "embedding-norm-doubled",
        "The norm of the embeddings is applied twice.",
        "Apply embeddings.LayerNorm once.",
        (Change(values={r"embeddings\.LayerNorm": changes.normed}),),
    ),
    *(
        Mistake(
            f"eps-{eps}",
            f"The norms use eps {eps}, {whose}.",
            "Use layer_norm_eps from the configuration, which is 1e-5 in the published RoBERTa models.",
            (Change(config={"layer_norm_eps": float(eps)}),),
        )
        for eps, whose in (("1e-12", "BERT's value"), ("1e-6", "Flax's default"), ("1e-3", "Keras' default"))
    ),
    Mistake(
        "eps-1e-5",
        "The norms use eps 1e-5, PyTorch's default.",
        "Use layer_norm_eps from the configuration.",
        (Change(config={"layer_norm_eps": 1e-5}),),
        f"{GITHUB}/keras-team/keras-hub/issues/642",
    ),
    Mistake(
        "variance-unbiased",
        "The norms compute the variance with a divisor of D - 1.",
        "Divide by D: layer norm uses the biased variance.",
        (
            changes.divided_by(lambda variance, eps, D: numpy.sqrt(variance * D / (D - 1) + eps)),
            changes.divided_by(lambda variance, eps, D: numpy.sqrt(variance * D / (D - 1)) + eps),
        ),
    ),
    Mistake(
        "eps-outside-root",
        "The norms add eps to the standard deviation, outside the square root.",
        "Add eps to the variance, and take the square root of the sum.",
        (changes.divided_by(lambda variance, eps, D: numpy.sqrt(variance) + eps),),
    ),
    Mistake(
        "final-norm-missing",
        "The final norm is left out.",
        "Apply it after the last layer: the layers of a pre-LN model do not normalise the residual stream.",
        (Change(values={changes.FINAL_NORM: changes.its_input}),),
    ),
    Mistake(
        "final-norm-doubled",
        "The final norm is applied twice.",
        "Apply it once: last_hidden_state already includes it.",
        (Change(values={changes.FINAL_NORM: changes.normed}),),
    ),
    # activations
    Mistake(
        "gelu-tanh",
        "GELU is computed with the tanh approximation instead of exactly.",
        "Compute x/2 · (1 + erf(x/√2)).",
        changes.activation("gelu_new"),
        f"{GITHUB}/Blaizzy/mlx-embeddings/issues/81",
    ),
    Mistake(
        "gelu-erf",
        "GELU is computed exactly, with erf, instead of with the tanh approximation.",
        "Compute x/2 · (1 + tanh(√(2/π)·(x + 0.044715 x³))), as hidden_act says.",
        changes.activation("gelu"),
        f"{GITHUB}/kyutai-labs/pocket-tts/pull/278",
    ),
    Mistake(
        "gelu-quick",
        "GELU is computed as x·σ(1.702 x).",
        "Use the activation that hidden_act names.",
        changes.activation("quick_gelu"),
    ),
    Mistake(
        "gelu-relu", "The activation is ReLU.", "Use the activation that hidden_act names.", changes.activation("relu")
    ),
    Mistake(
        "gelu-float16",
        "GELU is computed in float16, but everything else in float32.",
        "Compute the activation in float32.",
        (
            *changes.edited_gelu(changes.in_float16, "float16"),
            *changes.edited_gelu(changes.stepwise_in_float16, "float16"),
        ),
    ),
    Mistake(
        "gelu-tanh-float16",
        "GELU is computed with the tanh approximation, from a table of float16, as ggml does.",
        "Compute x/2 · (1 + erf(x/√2)) in float32: in ggml, ggml_gelu_erf.",
        changes.edited_gelu(changes.from_table, "float16"),
        f"{GITHUB}/ggml-org/llama.cpp",
    ),
    Mistake(
        "gelu-without-factor",
        "GELU is computed without its factor x, as ½ (1 + erf(x/√2)).",
        "Compute x/2 · (1 + erf(x/√2)).",
        changes.edited_gelu(changes.without_factor),
        f"{GITHUB}/LLNL/lbann/pull/1999",
    ),
    # attention
    Mistake(
        "scores-unscaled",
        "Scores are not divided by √E.",
        "Divide q kᵀ by √E, where E is the head size.",
        (changes.times(lambda config: math.sqrt(config.head_size)),),
        f"{GITHUB}/mlc-ai/mlc-llm/pull/3426",
    ),
    Mistake(
        "scores-scaled-twice",
        "Scores are divided by √E twice, for example once in the query and again in the product.",
        "Divide by √E once.",
        (changes.times(lambda config: 1 / math.sqrt(config.head_size)),),
        f"{GITHUB}/huggingface/transformers/pull/38290",
    ),
    Mistake(
        "scores-scaled-by-hidden",
        "Scores are divided by √D, where D is the hidden size.",
        "Divide by √E, where E is the head size.",
        (changes.times(lambda config: math.sqrt(config.head_size / config.hidden_size)),),
        f"{GITHUB}/FareedKhan-dev/train-llm-from-scratch/pull/3",
    ),
    Mistake(
        "mask-ignored",
        "The attention mask is ignored.",
        "Add a large negative number to the scores of masked keys, before the softmax.",
        (changes.mask(lambda mask: None), changes.mask(lambda mask: None, "encoder_attention_mask")),
        f"{GITHUB}/AI4Bharat/IndicBERT/issues/20",
    ),
    Mistake(
        "mask-inverted",
        "The attention mask is inverted: tokens are masked, and padding is attended to.",
        "Use 1 for keys that are attended to, and 0 for masked ones.",
        (changes.mask(lambda mask: 1 - mask), changes.mask(lambda mask: 1 - mask, "encoder_attention_mask")),
        f"{GITHUB}/nyu-mll/jiant/pull/465",
    ),
    Mistake(
        "mask-added-raw",
        "The mask of 0 and 1 is itself added to the scores.",
        "Add 0 to the scores of keys that are attended to, and a large negative number to those of masked keys.",
        (Change(values={changes.SCORES: changes.of_all_keys(changes.mask_added)}),),
        f"{GITHUB}/jerryji1993/DNABERT/issues/102",
    ),
    Mistake(
        "mask-from-id-0",
        "The mask is made from the ids that are not 0, as for BERT.",
        "Padding has the id pad_token_id, which is 1; id 0 is <s>.",
        (Change(inputs=changes.mask_from_id_0),),
        f"{GITHUB}/allenai/allennlp/issues/3359",
    ),
    Mistake(
        "mask-as-token-types",
        "The attention mask is passed as token types.",
        "Pass attention_mask and token_type_ids by name.",
        (changes.mask_as_types(True), changes.mask_as_types(False)),
        f"{GITHUB}/huggingface/setfit/issues/338",
    ),
    Mistake(
        "mask-after-softmax",
        "The mask is applied after the softmax, so that probabilities do not add up to 1.",
        "Add the mask to the scores, before the softmax.",
        (
            changes.masked_later(lambda probs: 0.0),
            changes.masked_later(lambda probs: probs - 1e4),
            changes.masked_later(lambda probs: probs + float(numpy.finfo("float32").min)),
        ),
    ),
    Mistake(
        "mask-multiplied",
        "Scores are multiplied by the mask before the softmax, so that masked keys have a score of 0.",
        "Add a large negative number to the scores of masked keys.",
        (changes.masked_as(lambda scores: 0.0),),
    ),
    Mistake(
        "mask-1e4",
        "-10000 is added to masked scores: a query whose keys are all masked attends as if none were masked.",
        "Add the lowest finite value of the dtype, with which such a query attends to all keys equally.",
        (changes.masked_as(lambda scores: scores - 1e4), changes.masked_as(lambda scores: -1e4)),
    ),
    Mistake(
        "mask-inf",
        "Masked keys have a score of -inf: the result for a query whose keys are all masked is NaN.",
        "Add the lowest finite value of the dtype, with which such a query attends to all keys equally.",
        (changes.masked_as(lambda scores: -math.inf), changes.masked_as(lambda scores: scores - math.inf)),
        f"{GITHUB}/tracel-ai/burn/pull/4697",
    ),
    Mistake(
        "softmax-over-queries",
        "The softmax is taken over the queries.",
        "Take it over the keys, the last axis of (B, H, L, S).",
        (changes.softmax_over(2),),
    ),
    Mistake(
        "softmax-over-heads",
        "The softmax is taken over the heads.",
        "Take it over the keys, the last axis of (B, H, L, S).",
        (changes.softmax_over(1),),
    ),
    Mistake(
        "query-key-swapped",
        "Query and key are swapped: scores are k qᵀ.",
        "Compute q kᵀ: a row for each query, a column for each key.",
        (
            changes.ordered(("key", "query", "value")),
            Change(values={changes.SCORES: changes.of_all_keys(changes.transposed_scores)}),
        ),
    ),
    Mistake(
        "heads-interleaved",
        "Heads are split in the wrong order: head h takes channels h, h + H, h + 2H, ...",
        "Reshape D to (H, E), not to (E, H): head h takes channels h·E to (h + 1)·E - 1.",
        (
            changes.heads(changes.split_interleaved, changes.merge_interleaved),
            changes.heads(changes.split_interleaved, ops.merge_heads),
            changes.heads(ops.split_heads, changes.merge_interleaved),
        ),
    ),
    Mistake(
        "heads-unswapped",
        "Heads are split or merged by a reshape alone, without swapping the head and position axes.",
        "Reshape (B, L, D) to (B, L, H, E), then swap axes to get (B, H, L, E); do the reverse to merge.",
        (
            changes.heads(changes.split_unswapped, changes.merge_unswapped),
            changes.heads(changes.split_unswapped, ops.merge_heads),
            changes.heads(ops.split_heads, changes.merge_unswapped),
        ),
    ),
    Mistake(
        "causal-missing",
        "A decoder attends to later tokens.",
        "Mask the keys after each query if is_decoder is true.",
        (changes.causal(lambda distance: distance == distance),),
    ),
    Mistake(
        "causal-off-by-one",
        "The causal mask is off by one: a query attends to the token after it, or not to itself.",
        "Let each query attend to the keys up to and including its own position.",
        (changes.causal(lambda distance: distance <= 1), changes.causal(lambda distance: distance < 0)),
    ),
    Mistake(
        "distance-sign",
        "Relative distances have the wrong sign.",
        "Use row (query position - key position + max_position_embeddings - 1) of the distance embeddings.",
        (changes.changed(r".*distance_embedding\.weight", numpy.flipud),),
    ),
    # tables
    Mistake(
        "rows-shifted-words",
        "The rows of the word embeddings are shifted by one.",
        "Look up row i for id i.",
        (
            changes.rows_of_words(lambda V: [V - 1, *range(V - 1)]),
            changes.rows_of_words(lambda V: [*range(1, V), 0]),
            changes.rows_of_words(lambda V: [*range(1, V), V - 1]),
        ),
    ),
    Mistake(
        "mask-row-moved",
        "The row of <mask> is expected after the four other special tokens, so that all later rows are shifted by one.",
        "<mask> has the last id of RoBERTa's vocabulary.",
        (changes.rows_of_words(lambda V: [*range(4), V - 1, *range(4, V - 1)]),),
        f"{GITHUB}/dmlc/gluon-nlp",
    ),
    # heads
    Mistake(
        "lm-bias-doubled",
        "The bias of the language-model head is added twice.",
        "Add it once: lm_head.bias and lm_head.decoder.bias are the same parameter.",
        (changes.changed(r"lm_head\.bias", lambda bias: 2 * bias),),
        f"{GITHUB}/huggingface/transformers/issues/2957",
    ),
    Mistake(
        "lm-bias-missing",
        "The bias of the language-model head is left out.",
        "Add lm_head.bias to the logits; tied embeddings do not include it.",
        (changes.changed(r"lm_head\.bias", numpy.zeros_like),),
    ),
    Mistake(
        "lm-decoder-untied",
        "The word embeddings are used as the decoder, although the decoder is untied.",
        "Use lm_head.decoder.weight, since tie_word_embeddings is false.",
        (changes.moved({r"lm_head\.decoder\.weight": "embeddings.word_embeddings.weight"}),),
    ),
    Mistake(
        "pooler-for-classifier",
        "The classifier uses the pooler, or the first token directly, instead of its own first layer.",
        "Compute tanh(x₀ Wᵀ + b) with classifier.dense: RoBERTa's classification head does not use the pooler.",
        (
            changes.moved({r"classifier\.dense\.(.*)": r"pooler.dense.\1"}),
            Change(values={changes.TANH: changes.first_state}),
        ),
    ),
    Mistake(
        "classifier-for-pooler",
        "The pooler is left out, or uses the weights of a classification head.",
        "Compute tanh(x₀ Wᵀ + b) with pooler.dense, and use the result.",
        (
            changes.moved({r"pooler\.dense\.(.*)": r"classifier.dense.\1"}),
            Change(values={r"pooler": changes.first_state}),
        ),
    ),
    Mistake(
        "tanh-missing-pooler",
        "The pooler's tanh is left out.",
        "Compute tanh(x₀ Wᵀ + b).",
        (Change(values={r"pooler": changes.its_input}),),
    ),
    Mistake(
        "tanh-missing-classifier",
        "The tanh in the classification head is left out.",
        "Compute tanh(x₀ Wᵀ + b) before classifier.out_proj.",
        (Change(values={changes.TANH: changes.its_input}),),
    ),
    *(
        Mistake(
            f"{head}-{act.replace('_new', '-tanh')}",
            f"The {head}'s activation is {words} instead of tanh.",
            f"Compute tanh(x₀ Wᵀ + b): {head_of} has a tanh whatever hidden_act says.",
            (changes.head_activation(pattern, act),),
            f"{GITHUB}/huggingface/candle/pull/2968" if (head, act) == ("classifier", "gelu_new") else "",
        )
        for head, head_of, pattern in (
            ("classifier", "the classification head", changes.TANH),
            ("pooler", "the pooler", "pooler"),
        )
        for act, words in (("gelu_new", "GELU by tanh"), ("gelu", "GELU"), ("relu", "ReLU"))
    ),
    Mistake(
        "last-token",
        "The head reads the last token instead of the first.",
        "Read the first token, usually <s>.",
        (changes.of_token(lambda here: -1), changes.of_token(changes.last_token)),
    ),
)
"""Mistakes that do not depend on the model."""

PRECISIONS = (
    Mistake(
        "float16",
        "The model computes in float16, or its weights are float16.",
        "Compute in float32, or compare with precision='float16'.",
        (changes.changed(r".*", changes.to_bits(10, to_even=1)), changes.computed_in("float16", 10)),
    ),
    Mistake(
        "bfloat16",
        "The model computes in bfloat16, or its weights are bfloat16.",
        "Compute in float32, or compare with precision='bfloat16'.",
        (changes.changed(r".*", changes.to_bits(7, to_even=1)), changes.computed_in("bfloat16", 7)),
    ),
    Mistake(
        "tf32",
        "Matrix products are computed in TF32, with operands rounded to ten mantissa bits.",
        "Turn TF32 off: torch.backends.cuda.matmul.allow_tf32 = False, or the equivalent in other libraries.",
        (
            changes.products_of(changes.to_bits(10)),
            changes.products_of(changes.to_bits(10, half=0)),
            changes.products_of(changes.to_bits(10, to_even=1)),
        ),
        f"{GITHUB}/pytorch/pytorch/issues/61890",
    ),
    Mistake(
        "int8-dynamic",
        "Linear layers are quantised to int8 dynamically: their inputs at each call, their weights beforehand.",
        "Use the unquantised model, or expect this difference.",
        tuple(
            changes.dynamic_int8(levels, half, axis)
            for levels in (127, 255)
            for half in (127.5, 127)
            for axis in (None, 1)
        ),
    ),
    Mistake(
        "int8-weights",
        "The weights are quantised to int8, with a scale for each row or for the whole weight.",
        "Use the unquantised weights, or expect this difference.",
        tuple(
            changes.changed(changes.PRODUCTS, changes.int8(axis, inverse))
            for axis in (1, None)
            for inverse in (False, True)
        ),
    ),
)
"""Choices of precision, which may be intended. They are recognised by the size and pattern of the errors."""


def catalogue(model: Model) -> Iterator[Mistake]:
    """All mistakes that a port of the model can make, with those of precision last. Some may not affect this model."""
    yield from MISTAKES
    yield from _of_some_norms(model)
    yield from _of_the_weights()
    yield from _of_the_order(model)
    yield from _of_the_layers(model.config.num_hidden_layers)
    if isinstance(model, Pooled):
        yield from _of_the_pooling(model)
    yield from PRECISIONS


def _of_some_norms(model: Model) -> Iterator[Mistake]:
    for eps, (group, (norms, pattern, url)) in itertools.product(("1e-12", "1e-6", "1e-3", "1e-5"), NORMS_IN.items()):
        if float(eps) != model.config.layer_norm_eps and (group != "but-lm-head" or model.head.endswith("_lm")):
            yield Mistake(
                f"eps-{eps}-{group}",
                f"{norms} use eps {eps}; the others use the right one.",
                "Use layer_norm_eps from the configuration in every norm.",
                (Change(values={pattern: changes.normed_with(float(eps))}),),
                url,
            )


def _of_the_weights() -> Iterator[Mistake]:
    for part, pattern in changes.WEIGHTS.items():
        yield Mistake(
            f"bias-missing-{part}",
            f"The bias of {_described(part)} is left out.",
            "Add the bias.",
            (changes.changed(rf"({pattern})\.bias", numpy.zeros_like),),
        )
    for part in changes.SQUARE:
        yield Mistake(
            f"weight-transposed-{part}",
            f"The weight of {_described(part)} is transposed, which its square shape does not reveal.",
            "Compute x Wᵀ with the weight as stored, (O, I), or transpose it once on loading.",
            (changes.changed(rf"({changes.WEIGHTS[part]})\.weight", changes.transposed),),
        )
    yield Mistake(
        "weights-transposed",
        "Every square weight is transposed, as by a loader that expects (I, O); the square shapes do not reveal it.",
        "Compute x Wᵀ with the weights as stored, (O, I), or transpose them once on loading.",
        (
            changes.changed(
                rf"({'|'.join(changes.WEIGHTS[part] for part in changes.SQUARE)})\.weight", changes.transposed
            ),
        ),
    )
    for order in itertools.permutations(("query", "key", "value")):
        if order != ("query", "key", "value"):
            yield Mistake(
                "qkv-order-" + "".join(part[0] for part in order),
                f"The fused weights are split in the wrong order: query, key and value use weights of {_list(order)}.",
                "Split the fused weight in the order in which its parts were concatenated.",
                (changes.ordered(order),),
                f"{GITHUB}/tenstorrent/tt-mlir/issues/8958" if order[0] == "query" else "",
            )
    for part, source in itertools.permutations(changes.PARTS, 2):
        yield Mistake(
            f"{part}-from-{source}",
            f"The {part} is computed with the weights of the {source}.",
            f"Compute it with attention.self.{part}.",
            (changes.ordered(tuple(source if one == part else one for one in changes.PARTS)),),
            f"{GITHUB}/pytorch/torchtune/pull/21" if (part, source) == ("value", "key") else "",
        )
    yield Mistake(
        "qkv-order-by-head",
        "The fused weights are split as if the query, key and value of each head were stored together.",
        "Split the fused weight as it was concatenated: all queries first, then all keys, then all values.",
        (Change(params=changes.by_head),),
        f"{GITHUB}/awslabs/slapo/pull/46",
    )


def _described(part: str) -> str:
    return f"the {part.replace('-', ' ')} module".replace("lm", "language-model head's").replace(
        "qa", "question-answering"
    )


def _list(parts: Sequence[str]) -> str:
    return f"{parts[0]}, {parts[1]} and {parts[2]}"


def _of_the_order(model: Model) -> Iterator[Mistake]:
    before = model.config.norm_first
    yield Mistake(
        "token-types-missing",
        "The token type embeddings are left out.",
        "Add row 0 of the token type embeddings even without token_type_ids: that row is not zero.",
        (
            Change(
                values={r"embeddings\.sum" if model.config.embedding_norm else r"embeddings": changes.without_types}
            ),
            changes.changed(r"embeddings\.token_type_embeddings\.weight", numpy.zeros_like),
        ),
        f"{GITHUB}/foundation-model-stack/foundation-model-stack/pull/399",
    )
    yield Mistake(
        "norm-order",
        f"The norms are applied {'after' if before else 'before'} attention and feed-forward.",
        f"Apply them {'before both' if before else 'after the sums'}: this model is {'pre' if before else 'post'}-LN.",
        (Change(config={"norm_first": not before}),),
    )
    of_sum = "" if before else r"\.sum"
    yield Mistake(
        "residual-missing",
        "A residual connection is left out: f(x) is used instead of x + f(x).",
        "Add the input of each attention and feed-forward block to its output.",
        tuple(
            Change(values={rf"encoder\.layer\.\d+\.{part}output{of_sum}": _without_residual})
            for part in (r"((cross)?attention\.)?", r"(cross)?attention\.", "")
        ),
    )
    if before:
        yield Mistake(
            "residual-from-norm",
            "The residual is taken after the norm: x becomes norm(x) + f(norm(x)).",
            "Take the residual from before the norm: x + f(norm(x)).",
            (Change(values={r"encoder\.layer\.\d+\.((cross)?attention\.)?output": changes.sum_from_norm}),),
        )


def _without_residual(value: Array, here: changes.Here) -> Array:
    return here.seen[f"{here.name.removesuffix('.sum')}.dense"]


def _of_the_pooling(model: Pooled) -> Iterator[Mistake]:
    right = settings(model)
    for pooling in POOLINGS:
        if right.poolings != (pooling,):
            yield Mistake(
                f"pooling-{pooling.replace('_', '-')}",
                f"The sentence embedding is made by the pooling {pooling!r}.",
                f"Use {' and '.join(map(repr, right.poolings))}, as the repository says.",
                (changes.pooled_by(pooling),),
            )
    yield Mistake(
        "pooling-of-padding",
        "The pooling includes padding.",
        "Leave out the positions that the mask hides.",
        (changes.pooled_by(padding=True),),
    )
    scaled = any(isinstance(step, Normalize) for step in right.steps)
    yield Mistake(
        "embedding-not-normalised" if scaled else "embedding-normalised",
        "The sentence embedding is not scaled to length 1."
        if scaled
        else "The sentence embedding is scaled to length 1.",
        "Divide by its length." if scaled else "Leave it as it is: the repository has no module that normalises.",
        (changes.pooled_by(unit=not scaled),),
    )


def _of_the_layers(count: int) -> Iterator[Mistake]:
    if count > 10:
        yield Mistake(
            "layers-in-text-order",
            "The layers are sorted as text: 0, 1, 10, 11, 2, ...",
            "Sort them numerically.",
            (changes.layers(sorted(range(count), key=str)),),
        )
    for layer in range(count) if count > 1 else ():
        yield Mistake(
            f"layer-missing-{layer}",
            f"Layer {layer} is missing.",
            f"Run all {count} layers.",
            (
                changes.layers([i for i in range(count) if i != layer]),
                Change(values={rf"encoder\.layer\.{layer}": changes.layer_input}),
            ),
        )
