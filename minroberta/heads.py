"""The pooler, the six heads and their losses.

A head takes the last hidden state x, (B, L, D), the parameters, the configuration, and the inputs, which include the
labels. It returns a dict of outputs with Hugging Face's names, in Hugging Face's order. `config.HEADS` lists each
head's weights and labels. `ops` explains the letters in shapes, except C, the number of choices.
"""

from collections.abc import Callable
from typing import Any

from . import activations, ops
from .backend.arrays import Array, cast, namespace
from .config import Config
from .inputs import Inputs
from .layers import dense, norm
from .trace import Node, tap

Outputs = dict[str, Any]

# --- the parts ------------------------------------------------------------------------------------------------------


def pooler(x: Array, p: Node) -> Array:
    """tanh(x₀ Wᵀ + b), where x₀ is x at position 0, whatever the token (Devlin et al. 2019). (B, L, D) -> (B, D)."""
    return tap(p.path, activations.tanh(dense(x[:, 0], p.dense)))


def lm_head(x: Array, p: Node, config: Config) -> Array:
    """LayerNorm(gelu(x Wᵀ + b)) Eᵀ + b', where E is the embedding table or an untied decoder. (B, L, D) -> (B, L, V).

    The activation is the exact gelu, whatever `hidden_act` is. `lm_head.bias` and `lm_head.decoder.bias` are names for
    the same parameter, which is added only once.
    """
    head = p.lm_head
    hidden = tap(f"{head.path}.gelu", activations.gelu(dense(x, head.dense)))
    hidden = norm(hidden, head.layer_norm, config)
    decoder = head.decoder if "decoder" in head else p.embeddings.word_embeddings
    return tap(head.path, ops.linear(hidden, decoder.weight, head.bias))


def classification_head(x: Array, p: Node) -> Array:
    """tanh(x₀ Wᵀ + b) Uᵀ + c at position 0. The weights are not those of the pooler. (B, L, D) -> (B, N)."""
    hidden = tap(f"{p.path}.tanh", activations.tanh(dense(x[:, 0], p.dense)))  # (B, L, D) -> (B, D)
    return tap(p.path, dense(hidden, p.out_proj))


# --- the heads ------------------------------------------------------------------------------------------------------


def encoder(x: Array, p: Node, config: Config, inputs: Inputs) -> Outputs:
    """The bare model, without a task: the last hidden state, and the pooler's output if there is a pooler."""
    return {"last_hidden_state": x, "pooler_output": pooler(x, p.pooler) if "pooler" in p else None}


def masked_lm(x: Array, p: Node, config: Config, inputs: Inputs) -> Outputs:
    """Predict the token at each position. labels: (B, L); -100 is ignored, and the loss is NaN if all are -100."""
    logits = tap("logits", lm_head(x, p, config))
    return with_loss(logits, inputs.labels, ops.cross_entropy)


def causal_lm(x: Array, p: Node, config: Config, inputs: Inputs) -> Outputs:
    """Predict the next token. labels: (B, L), the same tokens as the input: position l predicts label l + 1."""
    logits = tap("logits", lm_head(x, p, config))
    return with_loss(logits, inputs.labels, lambda logits, labels: ops.cross_entropy(logits[:, :-1], labels[:, 1:]))


def sequence_classification(x: Array, p: Node, config: Config, inputs: Inputs) -> Outputs:
    """Predict a sequence's class, classes or numbers (regression). labels: (B,), or (B, N) for several per sequence."""
    logits = tap("logits", classification_head(x, p.classifier))

    def loss(logits: Array, labels: Array) -> Array:
        match config.problem(labels.dtype.kind in "iu"):
            case "regression":
                return ops.mean_squared_error(logits, labels.reshape(logits.shape))  # (B,) or (B, N) -> (B, N)
            case "single_label_classification":
                return ops.cross_entropy(logits, labels.reshape(-1))
            case _:
                return ops.binary_cross_entropy(logits, labels.reshape(logits.shape))

    return with_loss(logits, inputs.labels, loss)


def multiple_choice(x: Array, p: Node, config: Config, inputs: Inputs) -> Outputs:
    """Predict which of C choices is right. Each row of x, (B·C, L, D), is one choice. labels: (B,)."""
    logits = dense(pooler(x, p.pooler), p.classifier)  # (B·C, L, D) -> (B·C, D) -> (B·C, 1)
    logits = tap("logits", logits.reshape(-1, inputs.choices))  # (B·C, 1) -> (B, C)
    return with_loss(logits, inputs.labels, ops.cross_entropy)


def token_classification(x: Array, p: Node, config: Config, inputs: Inputs) -> Outputs:
    """Predict each token's class. labels: (B, L), ignored if -100 or, in XLM-RoBERTa-XL, if attention_mask is not 1."""
    logits = tap("logits", dense(x, p.classifier))  # (B, L, D) -> (B, L, N)
    labels = inputs.labels
    if labels is not None and inputs.attention_mask is not None and config.family.mask_in_token_loss:
        labels = namespace(logits).where(inputs.attention_mask == 1, labels, -100)
    return with_loss(logits, labels, ops.cross_entropy)


def question_answering(x: Array, p: Node, config: Config, inputs: Inputs) -> Outputs:
    """Predict the start and end of an answer. Target positions, (B,), are clamped to 0 ... L; position L is ignored.

    The loss is the mean of the start loss and the end loss. It is NaN if all starts or all ends are ignored.
    """
    logits = dense(x, p.qa_outputs)  # (B, L, D) -> (B, L, 2)
    starts, ends = tap("start_logits", logits[..., 0]), tap("end_logits", logits[..., 1])  # (B, L)
    loss = None
    if inputs.start_positions is not None and inputs.end_positions is not None:
        loss = (position_loss(starts, inputs.start_positions) + position_loss(ends, inputs.end_positions)) / 2
    return {"loss": named_loss(loss, starts), "start_logits": starts, "end_logits": ends}


def position_loss(logits: Array, positions: Array) -> Array:
    """Cross entropy of starts or ends. Position L, for an answer that was cut off, is ignored."""
    length = logits.shape[1]
    return ops.cross_entropy(logits, positions.reshape(-1).clip(0, length), ignored=length)


def with_loss(logits: Array, labels: Array | None, loss: Callable[[Array, Array], Array]) -> Outputs:
    """The outputs of a head with logits; the loss is None if there are no labels."""
    value = None if labels is None else loss(logits, labels)
    return {"loss": named_loss(value, logits), "logits": logits}


def named_loss(loss: Array | None, logits: Array) -> Array | None:
    """Name the loss and return it in the dtype of the logits."""
    return None if loss is None else tap("loss", cast(loss, logits.dtype))


HEADS: dict[str, Callable[[Array, Node, Config, Inputs], Outputs]] = {
    "encoder": encoder,
    "masked_lm": masked_lm,
    "causal_lm": causal_lm,
    "sequence_classification": sequence_classification,
    "multiple_choice": multiple_choice,
    "token_classification": token_classification,
    "question_answering": question_answering,
}
"""The formula of each head in `config.HEADS`."""
