"""`choose`: rank texts by how well they follow a prompt."""

from collections.abc import Iterable

import numpy

from .. import ops
from ..backend.arrays import to_host, widen
from ..errors import InputError
from ..model import Network
from .running import Label, Output, Row, ranked, ready, run, warn_of_cut
from .texts import Text, as_texts


def choose(model: Network, prompt: str, choices: Iterable[str]) -> list[Label]:
    """The choices, ranked by how well they follow a prompt: a list of {label, score}, best first.

    `label` is the choice. The scores are a softmax over all choices. Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "choose", "multiple_choice")
    if not isinstance(prompt, str) or isinstance(choices, str):
        raise InputError("choose takes one prompt (a str) and several choices (a list of str)")
    (prompt,), texts = as_texts(prompt, "prompt"), as_texts(choices, "choice")
    if not texts:
        raise InputError("no choices: give at least one")
    pairs: list[Text] = [(prompt, text) for text in texts]
    rows = tokenizer.rows(pairs, tokenizer.longest)
    warn_of_cut(rows, tokenizer.longest)
    logits = run(model, rows, _read_logit, [[0]] * len(rows))
    return ranked(texts, ops.softmax(numpy.array(logits)))


def _read_logit(output: Output, _: Row) -> numpy.ndarray:
    return to_host(widen(output["logits"]))[0, 0]  # (1, 1) -> ()
