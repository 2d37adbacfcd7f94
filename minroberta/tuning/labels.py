"""Names of labels and their numbers: from the examples to a model's configuration, and to the arrays of a loss."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..config import Config
from ..errors import InputError, NameUnknownError
from ..text.running import label_names
from .examples import Example

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"

FRACTION = re.compile(r"[+-]?\d*\.\d*(e[+-]?\d+)?", re.IGNORECASE)


def problem_of(examples: Sequence[Example]) -> str:
    """The `problem_type` of examples of a text's label: lists mean several labels, fractions numbers to predict."""
    labels = [example.label for example in examples]
    if any(isinstance(label, list) for label in labels):
        return MULTI
    return REGRESSION if all(FRACTION.fullmatch(str(label)) for label in labels) else SINGLE


def label_fields(examples: Sequence[Example], head: str, problem_type: str | None = None) -> dict[str, Any]:
    """The fields of a configuration that name the labels of the examples, for `load(..., config=...)`.

    Names are sorted, as numbers if all are integers. problem_type: that of text labels, by default `problem_of`.
    """
    if head == "token_classification":
        return _fields_of(tag for example in examples for tag in example.label)
    if head == "question_answering":
        return {"num_labels": 2}
    if head != "sequence_classification":
        return {}
    problem = _checked(problem_type or problem_of(examples))
    if problem == REGRESSION:
        return {"problem_type": problem, "num_labels": 1, "id2label": {0: "score"}, "label2id": {"score": 0}}
    named = (name for example in examples for name in names_in(example.label, problem))
    return {"problem_type": problem, **_fields_of(named)}


def _checked(problem: str) -> str:
    if problem not in (SINGLE, MULTI, REGRESSION):
        raise NameUnknownError(f"unknown problem_type {problem!r}: give one of {SINGLE}, {MULTI}, {REGRESSION}")
    return problem


def _fields_of(names: Iterable[str]) -> dict[str, Any]:
    found = set(names)
    integers = all(re.fullmatch(r"-?\d{1,9}", name) for name in found)
    labels = sorted(found, key=int if integers else str)
    if len(labels) < 2:
        raise InputError(f"all examples have the label {labels[0]!r}: give examples of at least two labels")
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {name: index for index, name in enumerate(labels)},
    }


def names_in(label: Any, problem: str) -> list[str]:
    """The names in a text's label: one, or those of a list, which a table has with commas between them."""
    if problem == SINGLE:
        return [str(label)]
    names = label if isinstance(label, list) else str(label).split(",")
    return [name.strip() for name in names if name.strip()]


def numbers_of(examples: Sequence[Example], head: str, config: Config) -> list[Any]:
    """The label of each example as the loss takes it, but for questions and language models, whose labels are places.

    A number, a list of 0.0 and 1.0 for several labels, a list of numbers for words. Raises InputError for a label that
    the configuration does not name.
    """
    if head in ("multiple_choice", "question_answering", "masked_lm", "causal_lm"):
        return [example.label for example in examples]
    named = {str(name): index for index, name in enumerate(label_names(config))}
    number_of = {
        name.removeprefix("LABEL_"): index for name, index in named.items()
    } | named  # of a model without names
    try:
        return [_number(example, head, config, number_of) for example in examples]
    except KeyError as error:
        names = ", ".join(named)
        raise InputError(
            f"the model has no label {error}, but {names:.200}: give load(..., missing='init', "
            "config=label_fields(examples, head))"
        ) from error


def _number(example: Example, head: str, config: Config, number_of: dict[str, int]) -> Any:
    if head == "token_classification":
        return [number_of[tag] for tag in example.label]
    problem = config.problem(integer_labels=not isinstance(example.label, list))
    if problem == REGRESSION:
        return _as_float(example.label)
    own = [number_of[name] for name in names_in(example.label, problem)]
    return own[0] if problem == SINGLE else [float(index in own) for index in range(len(number_of))]


def _as_float(label: Any) -> float:
    try:
        return float(label)
    except (TypeError, ValueError):
        raise InputError(f"the label must be a number, not {label!r:.100}, since problem_type is regression") from None
