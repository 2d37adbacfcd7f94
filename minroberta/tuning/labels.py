"""Names of labels and their numbers: from the examples to a model's configuration, and to the arrays of a loss."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..config import PROBLEM_TYPES, Config
from ..errors import InputError, NameUnknownError
from ..text.running import label_names
from .examples import Example

REGRESSION, SINGLE, MULTI = PROBLEM_TYPES

WHOLE = re.compile(r"[+-]?[0-9]+")


def problem_of(examples: Sequence[Example]) -> str:
    """The `problem_type` of examples of texts: lists are several labels, numbers that are not all whole are predicted.

    Raises InputError for lists of 0 and 1 alone, in which a place would be the label.
    """
    labels = [example.label for example in examples]
    lists = [label for label in labels if isinstance(label, list)]
    if lists and len(lists[0]) > 1 and all(len(label) == len(lists[0]) and {*label} <= {"0", "1"} for label in lists):
        raise InputError("the labels are lists of 0 and 1: give lists of names or numbers, such as [2, 7]")
    if lists:
        return MULTI
    are_numbers = all(_is_number(label) for label in labels)
    return REGRESSION if are_numbers and not all(WHOLE.fullmatch(str(label)) for label in labels) else SINGLE


def _is_number(label: Any) -> bool:
    try:
        return not isinstance(label, bool) and math.isfinite(float(label))
    except ValueError:
        return False


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
    if problem not in PROBLEM_TYPES:
        raise NameUnknownError(f"unknown problem_type {problem!r}: give one of {', '.join(PROBLEM_TYPES)}")
    return problem


def _fields_of(names: Iterable[str]) -> dict[str, Any]:
    found = set(names)
    integers = all(re.fullmatch(r"-?\d{1,9}", name) for name in found)
    labels = sorted(found, key=int if integers else str)
    if len(labels) < 2:
        raise InputError(
            f"all examples have the label {', '.join(labels) or 'none'}: give examples of two labels or more"
        )
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {name: index for index, name in enumerate(labels)},
    }


def names_in(label: Any, problem: str) -> list[str]:
    """The names in a text's label: one, or those of a list, which a table has with commas between them."""
    if problem == SINGLE:
        return [str(label)]
    names = [str(name) for name in label] if isinstance(label, list) else str(label).split(",")
    return [name.strip() for name in names if name.strip()]


def numbers_of(examples: Sequence[Example], head: str, config: Config) -> list[Any]:
    """The label of each example as the loss takes it; for questions, whose labels are positions, as it is given.

    A number, a list of 0.0 and 1.0 for several labels, a list of numbers for words. Raises InputError for a label that
    the configuration does not name.
    """
    if head in ("multiple_choice", "question_answering", "masked_lm", "causal_lm"):
        return [example.label for example in examples]
    names = [str(name) for name in label_names(config)]
    plain = [name.removeprefix("LABEL_") for name in names]  # numbers, for a model without names
    number_of = {name: index for several in (plain, names) for index, name in enumerate(several)}
    problem = config.problem(integer_labels=not any(isinstance(example.label, list) for example in examples))
    try:
        if head == "token_classification":
            return [[number_of[tag] for tag in example.label] for example in examples]
        if problem == REGRESSION:
            return [_as_float(example.label) for example in examples]
        numbers = [[number_of[name] for name in names_in(example.label, problem)] for example in examples]
    except KeyError as error:
        raise InputError(
            f"the model has no label {error}, but {', '.join(names):.200}: give load(..., missing='init', "
            "config=label_fields(examples, head))"
        ) from error
    if problem == SINGLE:
        return [own[0] for own in numbers]
    return [[float(index in own) for index in range(config.num_labels)] for own in numbers]


def _as_float(label: Any) -> float:
    if isinstance(label, list) or not _is_number(label):
        raise InputError(f"the label must be a number, not {label!r:.100}, since problem_type is regression")
    return float(label)
