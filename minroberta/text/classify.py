"""`classify`: the label of a text, or of a pair of texts."""

import functools
from collections.abc import Iterable
from typing import overload

import numpy

from .. import ops
from ..backend.arrays import Array, to_host, widen
from ..config import Config
from ..errors import check_integer
from ..model import Network
from .running import Label, Output, Row, label_names, ranked, ready, run, warn_of_cut
from .texts import Text, as_given, as_texts_or_pairs


@overload
def classify(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network, texts: Text, top_k: int | None = 1
) -> list[Label]: ...
@overload
def classify(model: Network, texts: Iterable[Text], top_k: int | None = 1) -> list[list[Label]]: ...
def classify(model: Network, texts: Text | Iterable[Text], top_k: int | None = 1) -> list[Label] | list[list[Label]]:
    """The labels of a text, or of a pair of texts given as a tuple: a list of {label, score}, best first.

    top_k: number of labels, or None for all. Scores are the logits if the configuration's problem_type is "regression",
    the sigmoid of each logit if it is "multi_label_classification" or if the model has a single label, and otherwise
    the softmax of the logits. Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "classify", "sequence_classification")
    if top_k is not None:
        check_integer("top_k", top_k, 1)
    rows, cut_off = tokenizer.cut(as_texts_or_pairs(texts), tokenizer.longest)
    warn_of_cut(tokenizer, cut_off)
    scores = run(model, rows, functools.partial(_read_scores, config=model.config), [[0]] * len(rows))
    names = label_names(model.config)
    results = [ranked(names, row)[:top_k] for row in scores]
    return as_given(texts, results, one=(str, tuple))


def _read_scores(output: Output, _: Row, config: Config) -> numpy.ndarray:
    return to_host(_label_scores(widen(output["logits"]), config))[0]  # (1, N) -> (N,)


def _label_scores(logits: Array, config: Config) -> Array:
    """(1, N) -> (1, N)."""
    if config.problem_type == "regression":
        return logits
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return ops.sigmoid(logits)
    return ops.softmax(logits)
