"""The records of a file: CSV, tab-separated values, JSON, JSON lines, CoNLL columns, SQuAD's JSON, or lines of text.

A record is a dict from column names to values. A table whose first line does not name its columns has the columns
"1", "2", ..., as in CoNLL's files.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, NotFoundError

Record = Mapping[str, Any]

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".conll", ".conllu", ".bio", ".iob", ".txt")


def read_records(path: str | Path, known: Iterable[str] = ()) -> list[Record]:
    """Read a file in the format that its name ends in.

    known: names of columns. The first line of a table names the columns if it has one of these names.
    .csv: fields between commas, or between semicolons or tabs if the first line has no comma, in quotes where needed.
    .tsv: between tabs, never in quotes. .jsonl, .ndjson: an object in each line. .json: a list of objects, or SQuAD's
    `data`.
    .conll, .bio, .iob, .conllu: a word in each line, and an empty line after each sentence; columns are divided by tabs
    or spaces. A record is then a sentence, whose columns are lists. .txt: a text in each line, without empty ones.

    Raises NotFoundError, and InputError for a file that cannot be read.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path} ends in {ending or 'no known ending'}: give a file that ends in {', '.join(ENDINGS)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}") from error
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} is {error.object[error.start]:#04x}"
        raise InputError(f"{path} is not in UTF-8 ({byte}): convert it, for example with iconv") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        records = list(_records(text, ending, {name.lower() for name in known}))
    except csv.Error as error:
        raise InputError(f"{path} is not a table: {error}; JSON lines can hold any text") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from error
    if not records:
        raise InputError(f"{path} holds no examples")
    return records


def _records(text: str, ending: str, known: set[str]) -> Iterator[Record]:
    match ending:
        case ".csv" | ".tsv":
            return _of_table(text, ending == ".tsv", known)
        case ".jsonl" | ".ndjson":
            return _of_lines(text)
        case ".json":
            return _of_json(json.loads(text))
        case ".txt":
            return ({"text": line.strip()} for line in text.split("\n") if line.strip())
        case _:
            return _of_sentences(text, ending == ".conllu")


# --- tables ---------------------------------------------------------------------------------------------------------


def _of_table(text: str, with_tabs: bool, known: set[str]) -> Iterator[Record]:
    first = text.partition("\n")[0]
    others = [character for character in ";\t" if character in first and "," not in first]
    delimiter = "\t" if with_tabs else next(iter(others), ",")
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if with_tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    names: Sequence[str] | None = None
    for row in rows:
        if not any(row):
            continue
        if names is None:
            is_header = not known.isdisjoint(name.strip().lower() for name in row)
            names = [name.strip() for name in row] if is_header else numbered(row)
            if twice := [name for name in names if name and names.count(name) > 1]:
                raise ValueError(f"two columns are named {twice[0]!r}: give each another name")
            if is_header:
                continue
        if len(row) != len(names):
            raise ValueError(
                f"line {rows.line_num} has {len(row)} columns, but the first has {len(names)}: put a text that holds "
                + ("a tab into a JSON lines file" if with_tabs else f'"{delimiter}" in quotes')
            )
        yield dict(zip(names, row, strict=True))


def numbered(row: Sequence[Any]) -> list[str]:
    """The names of columns that have none: "1", "2", ..."""
    return [str(number) for number in range(1, len(row) + 1)]


# --- JSON -----------------------------------------------------------------------------------------------------------


def _of_lines(text: str) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield _object(json.loads(line), f"line {number}")
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from error


def _of_json(value: Any) -> Iterator[Record]:
    if isinstance(value, Mapping) and isinstance(value.get("data"), list):
        return _of_squad(value["data"])
    if not isinstance(value, list):
        raise ValueError("it must be a list of objects, or SQuAD's object with a list named data")
    return (_object(one, f"item {number}") for number, one in enumerate(value, 1))


def _of_squad(articles: Sequence[Any]) -> Iterator[Record]:
    """A record for each question. A paragraph may also stand alone, without an article around it."""
    for number, article in enumerate(articles, 1):
        name = f"item {number} of data"
        for paragraph in _list(_object(article, name).get("paragraphs", [article]), f"the paragraphs of {name}"):
            for question in _list(
                _object(paragraph, "a paragraph").get("qas", [paragraph]), f"a list of qas in {name}"
            ):
                yield {"context": paragraph.get("context"), **_object(question, "a question")}


def _list(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, not {type(value).__name__}")
    return value


def _object(value: Any, name: str) -> Record:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be an object, not {type(value).__name__}")
    return value


# --- words in columns -----------------------------------------------------------------------------------------------


def _of_sentences(text: str, universal: bool) -> Iterator[Record]:
    """universal: CoNLL-U, which has comments, and lines with ids such as 1-2 and 1.1, which are not words."""
    words: list[list[str]] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        fields = line.rstrip("\r").split("\t") if "\t" in line.strip() else line.split()
        if fields and (fields[0] == "-DOCSTART-" or (universal and not fields[0].isdigit())):
            continue
        if fields:
            if words and len(fields) != len(words[0]):
                raise ValueError(f"line {number} has {len(fields)} columns, but the line before has {len(words[0])}")
            words.append(fields)
        elif words:
            yield dict(zip(numbered(words[0]), map(list, zip(*words, strict=True)), strict=True))
            words = []
