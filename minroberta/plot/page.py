"""One run as a page that a browser shows without a network: attention, early guesses, the stream, and the answer."""

import json
import math
import re
from html import escape
from importlib import resources
from typing import Any

import numpy

from ..errors import InputError
from ..loading import Model
from ..testing.page import STYLE
from ..text.texts import Text
from ..text.tokenizer import tokenizer_of
from ..trace import Trace, trace
from . import values
from .answers import BEST, WITHOUT, answers

MOST = 1_000_000
"""Maximum number of attention probabilities on a page, which take two to four bytes each."""


def facts(model: Model, text: Text) -> dict[str, Any]:
    """Everything that the page shows of a model's run on a text or a pair of texts, ready for JSON.

    tokens: their names. chosen: the position that is shown first. stages: `values.states`. shares: attention
    probabilities in thousandths, (layers, H, L, L). sizes: of the residual stream, (layers + 1, L). guesses: the best
    tokens at each position and stage, (L, layers + 1, 5, 2), each with its probability in thousandths; None for a head
    without a vocabulary. answers: of the head, or a sentence.

    Raises InputError for an encoder-decoder, a text that is too long for a page, and values that are not finite;
    TokenizerError.
    """
    if model.encoder is not None:
        raise InputError("a page shows a model that reads one text, not an encoder-decoder: load its head 'encoder'")
    run = trace(model, **_inputs(model, text))  # type: ignore[arg-type]  # no key is `edit`
    layers, sizes = range(model.config.num_hidden_layers), values.sizes(run)
    if not numpy.isfinite(sizes).all():
        raise InputError(
            "this run has values that are not finite: minroberta.load(name, check=True) says whether weights have any"
        )
    return {
        "text": text if isinstance(text, str) else " / ".join(text),
        "head": model.head,
        "tokens": values.tokens(run),
        "chosen": values.position_of_guess(run) if values.masks(run) or model.head == "causal_lm" else 0,
        "stages": list(values.states(run)),
        "shares": [_thousandths(values.shares(run, layer)) for layer in layers],
        "sizes": [[float(f"{size:.4g}") for size in row] for row in sizes],
        "guesses": _guesses(run) if "lm_head" in model.p else None,
        "answers": answers(run, text) or WITHOUT[model.head],
    }


def _inputs(model: Model, text: Text) -> dict[str, numpy.ndarray]:
    """The text in tokens. Raises InputError for more than a page holds."""
    one, other = (text, None) if isinstance(text, str) else text
    inputs = tokenizer_of(model).tokenize(one, other, truncation=False)
    if model.head == "causal_lm" and inputs["input_ids"][0, -1] == model.config.eos_token_id:
        inputs = {name: array[:, :-1] for name, array in inputs.items()}  # as for `generate`: the text goes on
    count, config = inputs["input_ids"].shape[1], model.config
    most = math.isqrt(MOST // (config.num_hidden_layers * config.num_attention_heads))
    if count > most:
        raise InputError(f"a page holds texts of at most {most} tokens of this model, and this one has {count}: cut it")
    if model.head == "multiple_choice":
        return {name: array[None] for name, array in inputs.items()}  # (C, L) -> (B, C, L)
    return inputs


def _guesses(run: Trace) -> list[list[list[tuple[str, int]]]]:
    """The best guesses at each position and stage."""
    stages = []
    for state in values.states(run).values():
        chances = values.guesses(run, state)  # (L, V)
        best = numpy.argsort(-chances, axis=-1, kind="stable")[:, :BEST]
        numbers = _thousandths(numpy.take_along_axis(chances, best, -1))
        names = [[values.name_of(run, int(token)) for token in row] for row in best]
        stages.append([list(zip(*both, strict=True)) for both in zip(names, numbers, strict=True)])
    return [list(of_token) for of_token in zip(*stages, strict=True)]


def _thousandths(shares: numpy.ndarray) -> list:
    return numpy.rint(shares * 1000).astype(int).tolist()


# --- the page -------------------------------------------------------------------------------------------------------


def page(facts: dict[str, Any], name: str) -> str:
    """A whole HTML page of what `facts` gives. name: the model's. It loads nothing, and its scripts are within it."""
    parts = {
        "style": STYLE,
        "title": escape(facts["text"]),
        "model": escape(f"{name}, head {facts['head']}"),
        "facts": _within_script(facts),
    }
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _within_script(value: Any) -> str:
    """JSON that cannot end the element which it stands in, whatever its texts say."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
