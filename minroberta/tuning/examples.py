"""Examples from records: which column is the text, which the label, and what a label means."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import InputError, NameUnknownError
from .records import Record


class Example(NamedTuple):
    """What a model reads, and what it should answer.

    texts: one text or a pair; a question and its context; a prompt and its choices; or the words of a sentence.
    label: a name, a number, or a list of names; the number of the right choice, from 0; the tags of the words; the
    spans of the answers as (start, end) in the context, none if there is no answer; None for a language model.
    """

    texts: tuple[str, ...]
    label: Any


class Roles(NamedTuple):
    """The columns that a head's examples have, each with the names under which it is found, best first.

    needed: by role. also: roles that may be missing.
    """

    needed: Mapping[str, tuple[str, ...]]
    also: Mapping[str, tuple[str, ...]] = {}


TEXT = ("text", "sentence", "sentence1", "premise", "question1", "review", "content", "comment", "tweet", "title")
LABEL = ("label", "labels", "gold_label", "class", "category", "target", "sentiment", "stars", "rating", "score")

ROLES = {
    "masked_lm": Roles({"text": TEXT}),
    "causal_lm": Roles({"text": TEXT}),
    "sequence_classification": Roles(
        {"text": TEXT, "label": LABEL}, {"pair": ("text_pair", "sentence2", "hypothesis", "question2")}
    ),
    "token_classification": Roles(
        {"words": ("words", "tokens", "word", "token"), "tags": ("tags", "ner_tags", "pos_tags", "upos", "labels")}
    ),
    "question_answering": Roles(
        {"question": ("question",), "context": ("context",), "answers": ("answers", "answer")},
        {"start": ("answer_start", "start")},
    ),
    "multiple_choice": Roles(
        {"prompt": ("prompt", "sent1", "startphrase", "premise", "question", "context"), "label": (*LABEL, "answer")},
        {"choices": ("choices", "endings", "options")},
    ),
}
"""The roles of columns for each head that has a loss."""

CHOICE = re.compile(r"(?:choice|ending|option|answer)_?(?:\d|[a-e])", re.IGNORECASE)
"""Names of columns that hold a choice each."""


def known_names(head: str, columns: Mapping[str, str]) -> set[str]:
    """The names of columns by which a table's first line is recognised, those of `columns` included."""
    check_roles(head, columns)
    roles = ROLES[head]
    return {*columns.values(), *(name for names in (*roles.needed.values(), *roles.also.values()) for name in names)}


def check_roles(head: str, columns: Mapping[str, str]) -> None:
    """Raise NameUnknownError for a head without a loss, or an unknown role."""
    if head not in ROLES:
        raise NameUnknownError(f"head {head!r} has no loss to train with: give one of {', '.join(ROLES)}")
    roles = [*ROLES[head].needed, *ROLES[head].also]
    for role in columns.keys() - set(roles):
        raise NameUnknownError(f"unknown role {role!r} of a column for {head}: give one of {', '.join(roles)}")


def examples_of(
    records: Sequence[Record], head: str, columns: Mapping[str, str] | None = None
) -> tuple[list[Example], dict[str, str]]:
    """The examples in the records of a file for a head, and the column of each role.

    columns: columns by role, such as {"text": "body", "label": "stars"}; roles that are not given are found by usual
    names, and in a table without names by their values. Raises InputError for records that do not fit the head, and
    NameUnknownError for an unknown role or column.
    """
    check_roles(head, columns or {})
    found = _columns(records, head, columns or {})
    make, examples = MAKERS[head], []
    for number, record in enumerate(records, 1):
        try:
            own = {role: record[name] for role, name in found.items() if name in record}
            if missing := [found[role] for role in ROLES[head].needed if role in found and role not in own]:
                raise ValueError(f"it has no {missing[0]!r}")
            examples.append(make(own, record))
        except ValueError as error:
            raise InputError(f"example {number}: {error}") from error
    return examples, found


# --- columns --------------------------------------------------------------------------------------------------------


def _columns(records: Sequence[Record], head: str, given: Mapping[str, str]) -> dict[str, str]:
    """The column of each role: as given, or the first that has a usual name."""
    names = list(dict.fromkeys(name for record in records[:100] for name in record))
    for role, name in given.items():
        if name not in names:
            raise NameUnknownError(f"there is no column {name!r} for {role}: give one of {', '.join(names)}")
    lower, found = {name.lower(): name for name in reversed(names)}, dict(given)
    for role, usual in {**ROLES[head].needed, **ROLES[head].also}.items():
        free = [lower[name] for name in usual if name in lower and lower[name] not in found.values()]
        if role not in found and free:
            found[role] = free[0]
    if names == [str(number) for number in range(1, len(names) + 1)]:
        found = {**_by_values(records, head, names), **found}
    if missing := [role for role in ROLES[head].needed if role not in found]:
        raise InputError(
            f"no column is known to be the {missing[0]}, among {', '.join(names)}: name it, such as "
            f"--column {missing[0]}={names[0]}"
        )
    return found


def _by_values(records: Sequence[Record], head: str, names: Sequence[str]) -> dict[str, str]:
    """Roles in a table without names: of two columns, the label's has fewer values; words come first, tags last."""
    if head == "token_classification" and isinstance(records[0]["1"], list):
        return {"words": "2", "tags": "4"} if len(names) == 10 else {"words": "1", "tags": names[-1]}  # 10 in CoNLL-U
    if head == "sequence_classification" and len(names) == 2:
        counts = {name: len({record[name] for record in records}) for name in names}
        label, text = sorted(names, key=lambda name: counts[name])
        return {"text": text, "label": label} if counts[label] < counts[text] else {}
    return {"text": "1"} if head.endswith("lm") and len(names) == 1 else {}


# --- an example of each head ----------------------------------------------------------------------------------------


def _text(value: Any, role: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"the {role} must be a text, not {value!r:.100}")
    return value


def _plain(own: Mapping[str, Any], _: Record) -> Example:
    return Example((_text(own["text"], "text"),), None)


def _labelled(own: Mapping[str, Any], _: Record) -> Example:
    label = own["label"]
    several = isinstance(label, list) and all(isinstance(one, str | int) for one in label)
    if not (several or isinstance(label, str | int | float)) or label == "":
        raise ValueError(f"the label must be a name, a number or a list of names, not {label!r:.100}")
    pair = (_text(own["pair"], "pair"),) if "pair" in own else ()
    return Example((_text(own["text"], "text"), *pair), [str(one) for one in label] if several else label)


def _tagged(own: Mapping[str, Any], _: Record) -> Example:
    words, tags = own["words"], own["tags"]
    if not (isinstance(words, list) and isinstance(tags, list) and len(words) == len(tags) > 0):
        raise ValueError("words and tags must be two lists of the same length")
    return Example(tuple(_text(word, "word") for word in words), [str(tag) for tag in tags])


def _question(own: Mapping[str, Any], record: Record) -> Example:
    question, context = _text(own["question"], "question"), _text(own["context"], "context")
    answers, starts = _answers(own["answers"]), [own["start"]] if "start" in own else []
    if record.get("is_impossible") is True:
        answers = []
    spans = []
    for index, (answer, start) in enumerate(answers):
        start = starts[index] if start is None and index < len(starts) else start
        spans.append(_span(context, answer, start))
    return Example((question, context), spans)


def _answers(value: Any) -> list[tuple[str, Any]]:
    """Texts and starts, from SQuAD's list, the columns of datasets, or a text alone. No answer is an empty list."""
    if isinstance(value, Mapping):
        texts = value.get("text", [])
        starts = value.get("answer_start", [None] * len(texts))
        return [(_text(text, "answer"), start) for text, start in zip(texts, starts, strict=True)]
    if isinstance(value, str):
        return [(value, None)] if value.strip() else []
    if not isinstance(value, list):
        raise ValueError(f"the answers must be a text or a list, not {value!r:.100}")
    found = [(one.get("text"), one.get("answer_start")) if isinstance(one, Mapping) else (one, None) for one in value]
    return [(_text(text, "answer"), start) for text, start in found]


def _span(context: str, answer: str, start: Any) -> tuple[int, int]:
    """The answer's place; the first one, if none is given."""
    first = context.find(answer) if start is None else int(start)
    if first < 0 or context[first : first + len(answer)] != answer:
        place = "" if start is None else f" at character {start}"
        raise ValueError(f"the context does not have the answer {answer!r:.100}{place}")
    return first, first + len(answer)


def _choice(own: Mapping[str, Any], record: Record) -> Example:
    choices = own.get("choices")
    if choices is None:
        choices = [record[name] for name in record if CHOICE.fullmatch(name) and name not in own]
    if not isinstance(choices, list) or len(choices) < 2:
        raise ValueError("at least two choices are needed, in columns such as choice1 and choice2, or in a list")
    right = _number_of(own["label"], len(choices))
    return Example((_text(own["prompt"], "prompt"), *(_text(choice, "choice") for choice in choices)), right)


def _number_of(label: Any, count: int) -> int:
    """The number of a choice, from 0: a number from 0, or a letter from A."""
    name = str(label).strip().upper()
    number = int(name) if name.isdigit() else ord(name) - ord("A") if len(name) == 1 else -1
    if not 0 <= number < count:
        raise ValueError(f"the label must be a number from 0 to {count - 1}, or a letter from A, not {label!r:.100}")
    return number


MAKERS: Mapping[str, Callable[[Mapping[str, Any], Record], Example]] = {
    "masked_lm": _plain,
    "causal_lm": _plain,
    "sequence_classification": _labelled,
    "token_classification": _tagged,
    "question_answering": _question,
    "multiple_choice": _choice,
}
