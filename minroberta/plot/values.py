"""Values of a trace for one text: its tokens, their attention, the size of the residual stream, and early guesses."""

from typing import Any

import numpy

from .. import heads
from ..backend.arrays import Array, to_host, widen
from ..errors import InputError, check_integer
from ..layers import norm
from ..text.running import probabilities
from ..text.tokenizer import Tokenizer
from ..trace import Trace

SPACE = "·"
"""The sign for the space before a word."""


def check_trace(trace: Any) -> None:
    """Raise InputError if this is not a Trace."""
    if not isinstance(trace, Trace):
        raise InputError(f"a Trace is needed, not {type(trace).__name__}: make one with minroberta.trace(model, ids)")


# --- tokens ---------------------------------------------------------------------------------------------------------


def tokens(trace: Trace, text: int = 0) -> list[str]:
    """Name of each token of a text: as text if the model has a tokenizer, otherwise its id.

    If the model was called with `inputs_embeds`, the names are the positions. Raises InputError for an unknown text.
    """
    batch, length, _ = trace["embeddings"].shape
    check_integer("text", text, 0, batch - 1)
    ids = trace.inputs.get("input_ids")
    if ids is None:
        return [str(position) for position in range(length)]
    row = to_host(ids).reshape(batch, length)[text]  # choices (B, C, L) -> (B·C, L)
    return [name_of(trace, int(token)) for token in row]


def name_of(trace: Trace, token: int) -> str:
    """Name of a token of the vocabulary: as text if the model has a tokenizer, otherwise its id."""
    tokenizer = trace.model.tokenizer
    return str(token) if tokenizer is None else token_name(tokenizer, token)


def token_name(tokenizer: Tokenizer, token: int) -> str:
    """A token as text, with SPACE for the space before it and escapes for characters that cannot be printed.

    If the token's bytes are not whole characters, its name is the entry in the vocabulary. An id that the vocabulary
    lacks is its own name.
    """
    entry, text = tokenizer.entry(token), tokenizer.text_of([token], clean=False)
    if "\ufffd" in text:
        return _printable(entry)
    spaced = text.startswith(" ") or entry.startswith("▁")  # a sentencepiece decoder drops the first space
    return _printable(SPACE * spaced + text.removeprefix(" ")) or str(token)


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def masks(trace: Trace, text: int = 0) -> list[int]:
    """Positions of a text's mask tokens, as far as a tokenizer says which these are."""
    ids, tokenizer = trace.inputs.get("input_ids"), trace.model.tokenizer
    if ids is None or tokenizer is None:
        return []
    return numpy.flatnonzero(to_host(ids)[text] == tokenizer.mask_token_id).tolist()


def position_of_guess(trace: Trace, text: int = 0) -> int:
    """Position whose guesses matter: the first mask, or a decoder's last token. Raises InputError if there is none."""
    length = trace["embeddings"].shape[1]
    if trace.model.head == "causal_lm":
        return length - 1
    if found := masks(trace, text):
        return found[0]
    raise InputError(f"no mask token is known in this text: give position=, an integer from 0 to {length - 1}")


# --- attention ------------------------------------------------------------------------------------------------------


def shares(trace: Trace, layer: int, text: int = 0, across: bool = False) -> numpy.ndarray:
    """The attention probabilities of a layer's heads for one text, (H, L, S).

    across: those of cross-attention. Raises InputError, and NameUnknownError if the model did not compute them.
    """
    check_integer("layer", layer, 0, trace.model.config.num_hidden_layers - 1)
    probs = trace[f"encoder.layer.{layer}.{'crossattention' if across else 'attention'}.self.probs"]  # (B, H, L, S)
    check_integer("text", text, 0, probs.shape[0] - 1)
    return to_host(widen(probs[text]))


def keys(trace: Trace, count: int, text: int = 0, across: bool = False) -> list[str]:
    """Name of each of `count` keys: the text's tokens after those of a cache, or the positions of a memory."""
    if across:
        return [str(position) for position in range(count)]
    names = tokens(trace, text)
    return [f"past {position}" for position in range(count - len(names))] + names


# --- the residual stream --------------------------------------------------------------------------------------------


def states(trace: Trace, text: int = 0) -> dict[str, Array]:
    """The residual stream of one text after the embeddings and after each layer: (L, D) each, layers + 1 of them."""
    batch = trace["embeddings"].shape[0]
    check_integer("text", text, 0, batch - 1)
    layers = range(trace.model.config.num_hidden_layers)
    values = {"embeddings": "embeddings", **{f"after layer {layer}": f"encoder.layer.{layer}" for layer in layers}}
    return {stage: trace[name][text] for stage, name in values.items()}


def sizes(trace: Trace, text: int = 0) -> numpy.ndarray:
    """Euclidean norm of each token's vector at each stage of `states`, (layers + 1, L)."""
    return numpy.stack([numpy.linalg.norm(to_host(widen(x)), axis=-1) for x in states(trace, text).values()])


def guesses(trace: Trace, state: Array) -> numpy.ndarray:
    """The probabilities that the language modelling head gives for a state of the stream, (L, D) -> (L, V).

    In a pre-LN model the state goes through the final norm first, as the last one does. After the last layer these are
    the model's probabilities. Raises InputError if the model has no such head.
    """
    p, config = trace.model.p, trace.model.config
    if "lm_head" not in p:
        raise InputError(
            f"head {trace.model.head!r} guesses no tokens: load a model with the head masked_lm or causal_lm"
        )
    x = state[None]  # (L, D) -> (1, L, D)
    for node in (p.encoder, p):
        if "LayerNorm" in node:
            x = norm(x, node.LayerNorm, config)
    return probabilities(heads.lm_head(x, p, config))[0]
