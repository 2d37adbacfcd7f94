"""The pooler, the six heads and their losses.

A head takes the parameters, the configuration, what the body made and the labels, and returns a dict of outputs under
Hugging Face's names, in Hugging Face's order. Letters as in `ops`, and C choices.
"""

from collections.abc import Callable
from typing import Any

from . import ops
from .backend.arrays import Array, cast, namespace
from .config import Config
from .layers import Body, dense, norm
from .trace import Node, tap

Outputs = dict[str, Any]


# --- the parts ------------------------------------------------------------------------------------------------------


def pooler(x: Array, p: Node) -> Array:
    """tanh(x₀ Wᵀ + b) of place 0, whatever stands there (Devlin et al. 2019). (B, L, D) -> (B, D)."""
    return tap(p.path, ops.tanh(dense(x[:, 0], p.dense)))


def lm_head(x: Array, p: Node, config: Config) -> Array:
    """LayerNorm(gelu(x Wᵀ + b)) Eᵀ + b', where E is the word embedding unless it is untied. (B, L, D) -> (B, L, V).

    The activation is the exact gelu whatever `hidden_act` is. `lm_head.bias` and `lm_head.decoder.bias` are one
    parameter, which is added once.
    """
    head = p.lm_head
    hidden = tap(f"{head.path}.gelu", ops.gelu(dense(x, head.dense)))
    hidden = norm(hidden, head.layer_norm, config)
    decoder = head.decoder if "decoder" in head else p.embeddings.word_embeddings
    return tap(head.path, ops.linear(hidden, decoder.weight, head.bias))


def classification_head(x: Array, p: Node) -> Array:
    """tanh(x₀ Wᵀ + b) Uᵀ + c of place 0. Not the pooler: it has weights of its own. (B, L, D) -> (B, N)."""
    hidden = tap(f"{p.path}.tanh", ops.tanh(dense(x[:, 0], p.dense)))  # (B, L, D) -> (B, D)
    return tap(p.path, dense(hidden, p.out_proj))


# --- the heads ------------------------------------------------------------------------------------------------------


def encoder(p: Node, config: Config, body: Body) -> Outputs:
    """The bare model, as a head that adds nothing but a pooler, where there is one (`layers.encoder` is the stack)."""
    x = body.last_hidden_state
    return {"last_hidden_state": x, "pooler_output": pooler(x, p.pooler) if "pooler" in p else None}


def masked_lm(p: Node, config: Config, body: Body, labels: Array | None = None) -> Outputs:
    """Each place's token. labels: (B, L); -100 is ignored, and NaN the loss where all are."""
    logits = tap("logits", lm_head(body.last_hidden_state, p, config))
    return _with_loss(logits, labels, ops.cross_entropy)


def causal_lm(p: Node, config: Config, body: Body, labels: Array | None = None) -> Outputs:
    """Each place's next token. labels: (B, L), the tokens themselves: place l is held against label l + 1."""
    logits = tap("logits", lm_head(body.last_hidden_state, p, config))
    return _with_loss(logits, labels, lambda logits, labels: ops.cross_entropy(logits[:, :-1], labels[:, 1:]))


def sequence_classification(p: Node, config: Config, body: Body, labels: Array | None = None) -> Outputs:
    """The class, the classes or the number of a sequence. labels: (B,), or (B, N) for several classes or numbers.

    Where the configuration has no `problem_type`, one label means regression, integer labels a single class, float
    labels several. The reference writes what it inferred first into its configuration; here every call infers anew.
    """
    logits = tap("logits", classification_head(body.last_hidden_state, p.classifier))
    return _with_loss(logits, labels, lambda logits, labels: _classification_loss(logits, labels, config))


def _classification_loss(logits: Array, labels: Array, config: Config) -> Array:
    match problem_type(config, labels.dtype.kind in "iu"):
        case "regression":
            return ops.mean_squared_error(logits, labels.reshape(logits.shape))  # (B,) or (B, N) -> (B, N)
        case "single_label_classification":
            return ops.cross_entropy(logits, labels.reshape(-1))
        case _:
            return ops.binary_cross_entropy(logits, labels.reshape(logits.shape))


def problem_type(config: Config, integer_labels: bool) -> str:
    """The configuration's problem_type, or what the labels mean where it has none."""
    if config.problem_type is not None:
        return config.problem_type
    if config.num_labels == 1:
        return "regression"
    return "single_label_classification" if integer_labels else "multi_label_classification"


def multiple_choice(p: Node, config: Config, body: Body, choices: int, labels: Array | None = None) -> Outputs:
    """The right one of C choices, which `forward` sent through the body as rows of their own. labels: (B,)."""
    pooled = pooler(body.last_hidden_state, p.pooler)  # (B·C, L, D) -> (B·C, D)
    logits = tap("logits", dense(pooled, p.classifier).reshape(-1, choices))  # (B·C, 1) -> (B, C)
    return _with_loss(logits, labels, ops.cross_entropy)


def token_classification(
    p: Node, config: Config, body: Body, labels: Array | None = None, attention_mask: Array | None = None
) -> Outputs:
    """Each token's class. labels: (B, L); -100 is ignored, and in XLM-Roberta-XL what the mask does not attend to."""
    logits = tap("logits", dense(body.last_hidden_state, p.classifier))  # (B, L, D) -> (B, L, N)
    if labels is not None and attention_mask is not None and config.family.mask_in_token_loss:
        labels = namespace(logits).where(attention_mask == 1, labels, -100)
    return _with_loss(logits, labels, ops.cross_entropy)


def question_answering(
    p: Node, config: Config, body: Body, start_positions: Array | None = None, end_positions: Array | None = None
) -> Outputs:
    """Where the answer starts and ends. positions: (B,); they are clamped to 0 ... L, and L is ignored.

    The loss is the mean of the start's and the end's, and NaN where all of one are ignored.
    """
    logits = dense(body.last_hidden_state, p.qa_outputs)  # (B, L, D) -> (B, L, 2)
    starts, ends = tap("start_logits", logits[..., 0]), tap("end_logits", logits[..., 1])  # (B, L)
    loss = None
    if start_positions is not None and end_positions is not None:
        loss = (_place_loss(starts, start_positions) + _place_loss(ends, end_positions)) / 2
    return {"loss": _named_loss(loss, starts), "start_logits": starts, "end_logits": ends}


def _place_loss(logits: Array, places: Array) -> Array:
    """The loss of a start or an end. Place L, behind the last, means that there is none."""
    length = logits.shape[1]
    return ops.cross_entropy(logits, places.reshape(-1).clip(0, length), ignored=length)


def _with_loss(logits: Array, labels: Array | None, loss: Callable[[Array, Array], Array]) -> Outputs:
    value = None if labels is None else loss(logits, labels)
    return {"loss": _named_loss(value, logits), "logits": logits}


def _named_loss(loss: Array | None, logits: Array) -> Array | None:
    return None if loss is None else tap("loss", cast(loss, logits.dtype))


HEADS: dict[str, Callable[..., Outputs]] = {
    "encoder": encoder,
    "masked_lm": masked_lm,
    "causal_lm": causal_lm,
    "sequence_classification": sequence_classification,
    "multiple_choice": multiple_choice,
    "token_classification": token_classification,
    "question_answering": question_answering,
}
