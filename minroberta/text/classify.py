"""`classify`: the label of a text, or of a pair of texts."""

import functools
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, overload

import numpy

from .. import activations, ops
from ..backend.arrays import Array, to_host, widen
from ..config import Config
from ..errors import NameUnknownError, check_integer
from ..model import Network
from .embedding import activation
from .running import Label, Output, Row, label_names, ranked, ready, run, warn_of_cut
from .texts import ONE, Text, TextOrPair, as_given, as_texts_or_pairs

Function = Literal["sigmoid", "softmax", "none"]


@overload
def classify(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network, texts: Text | Mapping[str, str], top_k: int | None = 1, function_to_apply: Function | None = None
) -> list[Label]: ...
@overload
def classify(
    model: Network, texts: Iterable[TextOrPair], top_k: int | None = 1, function_to_apply: Function | None = None
) -> list[list[Label]]: ...
def classify(
    model: Network,
    texts: TextOrPair | Iterable[TextOrPair],
    top_k: int | None = 1,
    function_to_apply: Function | None = None,
) -> list[Label] | list[list[Label]]:
    """The labels of a text, or of a pair of texts: a list of {label, score}, best first.

    texts: a text, or several. A pair is a tuple, a dict with `text` and `text_pair`, or, among several, a list of two.
    top_k: number of labels, or None for all. function_to_apply: the function from logits to scores, "sigmoid" of each
    logit, "softmax" of all, or "none". By default, it is the activation that a cross-encoder of sentence-transformers
    declares, if the model has a single label. Otherwise it is "none" if the configuration's problem_type is
    "regression", "sigmoid" if it is "multi_label_classification" or if the model has a single label, and else
    "softmax".

    Raises InputError, TokenizerError, NameUnknownError, and ConfigError for an unknown activation.
    """
    tokenizer = ready(model, "classify", "sequence_classification")
    if top_k is not None:
        check_integer("top_k", top_k, 1)
    function = _function(function_to_apply, model.config)
    rows = tokenizer.rows(as_texts_or_pairs(texts), tokenizer.longest)
    warn_of_cut(rows, tokenizer.longest)
    scores = run(model, rows, functools.partial(_read_scores, function=function), [[0]] * len(rows))
    names = label_names(model.config)
    results = [ranked(names, row)[:top_k] for row in scores]
    return as_given(texts, results, one=ONE)


def _read_scores(output: Output, _: Row, function: Callable[[Array], Array]) -> numpy.ndarray:
    return to_host(function(widen(output["logits"])))[0]  # (1, N) -> (N,)


FUNCTIONS: dict[Any, Callable[[Array], Array]] = {
    "sigmoid": activations.sigmoid,
    "softmax": ops.softmax,
    "none": activations.identity,
}
"""The functions from logits to scores, (1, N) -> (1, N)."""


def _function(name: Any, config: Config) -> Callable[[Array], Array]:
    """The function from logits to scores with this name; for None, the configuration's. Raises NameUnknownError."""
    if name is not None:
        if not isinstance(name, str) or name not in FUNCTIONS:
            given = reprlib.repr(name)
            raise NameUnknownError(f"unknown function_to_apply {given}: give one of {', '.join(FUNCTIONS)}")
        return FUNCTIONS[name]
    declared = declared_activation(config)
    if config.num_labels == 1 and declared is not None:
        return activation(declared, "activation of a cross-encoder")
    if config.problem_type == "regression":
        return activations.identity
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return activations.sigmoid
    return ops.softmax


def declared_activation(config: Config) -> Any:
    """The name of the class that sentence-transformers applies to a cross-encoder's logits, or None."""
    of_library = config.other.get("sentence_transformers")
    declared = of_library.get("activation_fn") if isinstance(of_library, Mapping) else None
    return config.other.get("sbert_ce_default_activation_function") if declared is None else declared
