"""Examples from records: which column is the text, which the label, and what a label means."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, NameUnknownError
from .records import Record, read_records


class Example(NamedTuple):
    """Input of a model, and the right answer.

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

CHOICE = re.compile(r"(?:choice|ending|option|answer)_?(?:[0-9]{1,2}|[a-e])", re.IGNORECASE)
"""Names of columns that hold a choice each; together they are the column of the role choices, with commas between."""


def known_names(head: str, columns: Mapping[str, str]) -> set[str]:
    """The names of columns by which a table's first line is recognised, those of `columns` included.

    A number in `columns` is that of a column in a table whose first line does not name them.
    """
    check_roles(head, columns)
    told = {name for both in columns.values() for name in (both, *both.split(",")) if not name.isdigit()}
    roles = ROLES[head]
    return {*told, *(name for names in (*roles.needed.values(), *roles.also.values()) for name in names)}


def check_roles(head: str, columns: Mapping[str, str]) -> None:
    """Raise NameUnknownError for a head without a loss, or an unknown role."""
    if head not in ROLES:
        raise NameUnknownError(f"head {head!r} has no loss to train with: give one of {', '.join(ROLES)}")
    roles = [*ROLES[head].needed, *ROLES[head].also]
    for role in columns.keys() - set(roles):
        raise NameUnknownError(f"unknown role {role!r} of a column for {head}: give one of {', '.join(roles)}")


def read_examples(
    path: str | Path, head: str, columns: Mapping[str, str] | None = None
) -> tuple[list[Example], dict[str, str]]:
    """The examples in a file for a head, and the column of each role, as for `examples_of`.

    Raises its errors and those of `read_records`, with the name of the file.
    """
    records = read_records(path, known_names(head, columns or {}))
    try:
        return examples_of(records, head, columns)
    except (InputError, NameUnknownError) as error:
        raise type(error)(f"{path}: {error}") from error


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
            if "choices" in found and "choices" not in own:
                own["choices"] = [record.get(name) for name in found["choices"].split(",")]
            if missing := [found[role] for role in ROLES[head].needed if role not in own]:
                raise ValueError(f"it has no {missing[0]!r}")
            examples.append(make(own, record))
        except ValueError as error:
            raise InputError(f"example {number}: {error}") from error
    return examples, found


# --- columns --------------------------------------------------------------------------------------------------------


def _columns(records: Sequence[Record], head: str, given: Mapping[str, str]) -> dict[str, str]:
    """The column of each role: as given, or the first that has a usual name."""
    names = list(dict.fromkeys(name for record in records[:100] for name in record))
    told = [(role, name) for role, both in given.items() for name in (both.split(",") if role == "choices" else [both])]
    for role, name in told:
        if name not in names:
            raise NameUnknownError(f"there is no column {name!r} for {role}: give one of {', '.join(names)}")
        if [other for _, other in told].count(name) > 1:
            raise InputError(f"the column {name!r} is given two roles: give each role another column")
    lower, found = {name.lower(): name for name in reversed(names)}, dict(given)
    for role, usual in {**ROLES[head].needed, **ROLES[head].also}.items():
        free = [lower[name] for name in usual if name in lower and lower[name] not in found.values()]
        if role not in found and free:
            found[role] = free[0]
    if _are_numbers(names):
        found = {**_by_values(records, head, names), **found}
        if "label" in found and not given:
            _check_first_line(records, found["label"])
    choices = sorted((name for name in names if CHOICE.fullmatch(name) and name not in found.values()), key=_in_order)
    if head == "multiple_choice" and choices:
        found.setdefault("choices", ",".join(choices))
    if missing := [role for role in ROLES[head].needed if role not in found]:
        raise InputError(_unknown(missing, records, names, [name for name in names if name not in found.values()]))
    return found


def _unknown(missing: Sequence[str], records: Sequence[Record], names: Sequence[str], free: Sequence[str]) -> str:
    """The message if the columns of some roles are not found. free: the columns that have no role yet."""
    role = missing[0]
    if not _are_numbers(names):
        roles, among = " and the ".join(missing), ", ".join(names)
        if len(free) < len(missing):
            return f"no column has a usual name for the {roles}, and there are too few columns, {among}: add one"
        options = " ".join(f"--column {one}={name}" for one, name in zip(missing, free, strict=False))
        return f"no column has a usual name for the {roles}, among {among}: name it, as in {options}"
    name = next(iter(records[0].values()))
    return (
        f"no column has a usual name for the {role} in the first line, {_first_line(records)}: give a name, as in "
        f"--column {role}={name!s:.30}, or if that line is an example, a number, as in --column {role}=1"
    )


def _are_numbers(names: Sequence[str]) -> bool:
    """True for the columns of a table whose first line does not name them."""
    return list(names) == [str(number) for number in range(1, len(names) + 1)]


def _by_values(records: Sequence[Record], head: str, names: Sequence[str]) -> dict[str, str]:
    """Roles in a table without names: of two columns, the label's has fewer values; words come first, tags last."""
    are_words = any(isinstance(value, list) for value in records[0].values())
    if head == "token_classification" and are_words and len(names) > 1:
        return {"words": "2", "tags": "4"} if len(names) == 10 else {"words": "1", "tags": names[-1]}  # 10 in CoNLL-U
    if head == "sequence_classification" and len(names) == 2 and not are_words:
        counts = {name: len({str(record.get(name)) for record in records}) for name in names}
        label, text = sorted(names, key=lambda name: counts[name])
        return {"text": text, "label": label} if counts[label] < counts[text] else {}
    return {"text": "1"} if head.endswith("lm") and len(names) == 1 else {}


def _check_first_line(records: Sequence[Record], label: str) -> None:
    """Raise InputError if the first line of a table looks like names: its label is the only one that occurs once."""
    counts = Counter(str(record.get(label)) for record in records)
    first = str(records[0].get(label))
    if len(records) > 3 and counts.pop(first) == 1 and min(counts.values(), default=1) > 1:
        raise InputError(
            f"the first line seems to name the columns, {_first_line(records)}: say so with a name, such as "
            f"--column label={first:.50}; or, if it is an example, with numbers, such as --column label={label}"
        )


def _first_line(records: Sequence[Record]) -> str:
    """The first line of a table, shortened."""
    return ", ".join(f"{value!s:.30}" for value in records[0].values())


# --- an example of each head ----------------------------------------------------------------------------------------


def _text(value: Any, role: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the {role} must be a text, not {value!r:.100}")
    if not value.strip():
        raise ValueError(f"the {role} is empty")
    return value


def _plain(own: Mapping[str, Any], _: Record) -> Example:
    return Example((_text(own["text"], "text"),), None)


def _labelled(own: Mapping[str, Any], _: Record) -> Example:
    label = own["label"].strip() if isinstance(own["label"], str) else own["label"]
    several = isinstance(label, list) and all(isinstance(one, str | int) for one in label)
    if label == "":
        raise ValueError("the label is empty")
    if not (several or isinstance(label, str | int | float)):
        raise ValueError(f"the label must be a name, a number or a list of names, not {label!r:.100}")
    pair = (_text(own["pair"], "pair"),) if "pair" in own else ()
    return Example((_text(own["text"], "text"), *pair), [str(one).strip() for one in label] if several else label)


def _tagged(own: Mapping[str, Any], _: Record) -> Example:
    words, tags = own["words"], own["tags"]
    if not (isinstance(words, list) and isinstance(tags, list) and len(words) == len(tags) > 0):
        raise ValueError("words and tags must be two lists of the same length")
    if not all(isinstance(tag, str | int) for tag in tags):
        raise ValueError(f"tags must be names or numbers, not {tags!r:.100}")
    return Example(tuple(_text(word, "word") for word in words), [str(tag) for tag in tags])


def _question(own: Mapping[str, Any], record: Record) -> Example:
    question, context = _text(own["question"], "question"), _text(own["context"], "context")
    answers = [] if record.get("is_impossible") is True else _answers(own["answers"])
    if len(answers) == 1 and answers[0][1] is None:
        answers = [(answers[0][0], own.get("start"))]
    return Example((question, context), [_span(context, answer, start) for answer, start in answers])


def _answers(value: Any) -> list[tuple[str, Any]]:
    """Texts and starts, from SQuAD's list, the columns of datasets, or a text alone. No answer is an empty list."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        texts = value["text"]
        starts = value.get("answer_start", [None] * len(texts))
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise ValueError("the answers must have a list of text and one of answer_start, of the same length")
        return [(_text(text, "answer"), start) for text, start in zip(texts, starts, strict=True)]
    if isinstance(value, str):
        return [(value, None)] if value.strip() else []
    if not isinstance(value, list | Mapping):
        raise ValueError(f"the answers must be a text or a list, not {value!r:.100}")
    several = value if isinstance(value, list) else [value]
    found = [(one.get("text"), one.get("answer_start")) if isinstance(one, Mapping) else (one, None) for one in several]
    return [(_text(text, "answer"), start) for text, start in found]


def _span(context: str, answer: str, start: Any) -> tuple[int, int]:
    """Position of the answer in the context; its first one, if none is given."""
    first = context.find(answer) if start in (None, "", []) else _whole(start)
    if first < 0 or context[first : first + len(answer)] != answer:
        place = "" if start is None else f" at character {start}"
        raise ValueError(f"the context does not have the answer {answer!r:.100}{place}")
    return first, first + len(answer)


def _whole(start: Any) -> int:
    """A character's number, which a list may hold alone, and a table has as text."""
    start = start[0] if isinstance(start, list) and len(start) == 1 else start
    if isinstance(start, bool) or not re.fullmatch(r"[0-9]{1,15}", str(start)):
        raise ValueError(f"the start of an answer must be the number of a character, not {start!r:.100}")
    return int(start)


def _choice(own: Mapping[str, Any], _: Record) -> Example:
    choices = own.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        raise ValueError("at least two choices are needed, in columns such as choice1 and choice2, or in a list")
    right = _number_of(own["label"], len(choices))
    return Example((_text(own["prompt"], "prompt"), *(_text(choice, "choice") for choice in choices)), right)


def _in_order(name: str) -> tuple[int, str]:
    """By number, or by letter: choice2 before choice10."""
    return len(name), name.lower()


def _number_of(label: Any, count: int) -> int:
    """The number of a choice, from 0: a number from 0, or a letter from A."""
    name = str(label).strip().upper()
    number = int(name) if re.fullmatch("[0-9]{1,9}", name) else ord(name) - ord("A") if len(name) == 1 else -1
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
