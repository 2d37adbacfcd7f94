"""`Mapper`: batches of each kind, each task, one model a process, messages; and the examples on two clusters."""

import collections
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clusters
import numpy as np
import pytest
import support

import minroberta
from minroberta import InputError, NameUnknownError, TokenizerError, batch
from minroberta.batch import TASKS, Mapper

ROOT = Path(__file__).parents[1]
TEXTS = ["She opened the red door.", "Too long and too boring.", ""]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


BUILTIN = {InputError: ValueError, NameUnknownError: KeyError, TokenizerError: ValueError}


def raises(error: Any, message: str) -> Any:
    return support.raises(error, BUILTIN[error], message)


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models of this process, none so far."""
    monkeypatch.setattr(batch, "_loaded", [])
    return batch._loaded


# --- batches of each kind -------------------------------------------------------------------------------------------


def lists(columns: dict[str, list[Any]]) -> Any:
    return columns


def mapping(columns: dict[str, list[Any]]) -> Any:
    """Such as the lazy batch of datasets, which is not a dict."""
    return collections.UserDict(columns)


def arrays(columns: dict[str, list[Any]]) -> Any:
    return {name: np.array(column) for name, column in columns.items()}


def objects(columns: dict[str, list[Any]]) -> Any:
    return {name: np.array(column, object) for name, column in columns.items()}


def arrow_columns(columns: dict[str, list[Any]]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    return {name: pyarrow.chunked_array([column[:1], column[1:]], type_of(column)) for name, column in columns.items()}


def table(columns: dict[str, list[Any]]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.table({name: pyarrow.array(column, type_of(column)) for name, column in columns.items()})


def record_batch(columns: dict[str, list[Any]]) -> Any:
    return table(columns).combine_chunks().to_batches()[0] if any(columns.values()) else pytest.skip("has no batches")


def frame(columns: dict[str, list[Any]]) -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install 'minroberta[dask]'")
    return pandas.DataFrame(columns, index=[10 + row for row in range(len(next(iter(columns.values()))))])


def type_of(column: list[Any]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.int64() if column and isinstance(column[0], int) else pyarrow.string()


KINDS = [lists, mapping, arrays, objects, arrow_columns, table, record_batch, frame]


def plain(result: Any) -> dict[str, list[Any]]:
    """Columns of any kind as lists of Python values."""
    if hasattr(result, "schema"):
        return result.to_pydict()
    columns = {name: result[name] for name in result}
    named = {name: x.to_pylist() if hasattr(x, "to_pylist") else list(x) for name, x in columns.items()}
    return {name: [x.tolist() if hasattr(x, "tolist") else x for x in column] for name, column in named.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_batches(kind: Callable[[dict[str, list[Any]]], Any]) -> None:
    given = kind({"id": [1, 2, 3], "text": TEXTS})
    result = Mapper()(given)
    assert type(result) is (dict if kind in (mapping,) else type(given))
    columns = plain(result)
    assert list(columns) == ["id", "text", "vector"]
    assert (columns["id"], columns["text"]) == ([1, 2, 3], TEXTS)
    assert np.array_equal(columns["vector"], minroberta.load(head="encoder").encode(TEXTS))
    assert list(plain(given)) == ["id", "text"], "the batch that was given has not changed"


def test_vectors_are_float32_of_a_fixed_size() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    vectors = Mapper()(lists({"text": TEXTS}))["vector"]
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 256))
    assert Mapper()(table({"text": TEXTS}))["vector"].type == pyarrow.list_(pyarrow.float32(), 256)
    wide = Mapper(load={"dtype": "float64"}, truncate_dim=8)(table({"text": TEXTS}))
    assert wide["vector"].type == pyarrow.list_(pyarrow.float64(), 8)


def test_the_index_of_a_frame_stays() -> None:
    result = Mapper()(frame({"id": [1, 2, 3], "text": TEXTS}))
    assert list(result.index) == [10, 11, 12]
    assert all(isinstance(vector, np.ndarray) and vector.dtype == np.float32 for vector in result["vector"])


# --- tasks ----------------------------------------------------------------------------------------------------------

NLI = {"load": {"config": {"id2label": {"0": "contradiction", "1": "entailment"}}}, "labels": ["doors", "films"]}
MASKED = ["She <mask> the door.", "It rained all <mask>."]
QUESTIONS = {"question": ["When?", "What ended?"], "context": ["The war ended in 1945.", "The war ended in 1945."]}
SPANS = {"score": "double", "start": "int64", "end": "int64"}

CASES: dict[str, tuple[str, dict[str, list[str]], dict[str, Any], dict[str, str], bool]] = {
    "classify": ("classify", {"text": TEXTS}, {}, {"label": "string", "score": "double"}, False),
    "all labels": ("classify", {"text": TEXTS}, {"top_k": None}, {"label": "string", "score": "double"}, True),
    "pairs": (
        "classify",
        QUESTIONS,
        {"column": ["question", "context"]},
        {"label": "string", "score": "double"},
        False,
    ),
    "zero_shot": ("zero_shot", {"text": TEXTS}, NLI, {"label": "string", "score": "double"}, True),
    "tag": ("tag", {"text": TEXTS}, {}, {"label": "string", "word": "string", **SPANS}, True),
    "groups": (
        "tag",
        {"text": TEXTS},
        {"aggregation_strategy": "simple"},
        {"label": "string", "word": "string", **SPANS},
        True,
    ),
    "answer": ("answer", QUESTIONS, {"column": ("question", "context")}, {"answer": "string", **SPANS}, False),
    "answers": (
        "answer",
        QUESTIONS,
        {"column": ("question", "context"), "top_k": 3},
        {"answer": "string", **SPANS},
        True,
    ),
    "fill_mask": (
        "fill_mask",
        {"text": MASKED},
        {},
        {"token_str": "string", "token": "int64", "score": "double"},
        True,
    ),
    "one token": (
        "fill_mask",
        {"text": MASKED},
        {"top_k": 1},
        {"token_str": "string", "token": "int64", "score": "double"},
        False,
    ),
}
"""Task, columns, arguments, the new columns with their types in Arrow, and whether they hold lists."""


def expected(task: str, columns: dict[str, list[str]], arguments: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The results of the method, a list for each row, with the names of the columns."""
    arguments = {name: value for name, value in arguments.items() if name != "column"}
    model = minroberta.load(**{"head": TASKS[task].head, **arguments.pop("load", {})})
    texts: Any = list(columns.values())
    if task == "classify" and len(texts) == 2:
        texts = [list(zip(*texts, strict=True))]
    results = getattr(model, task)(*texts, **arguments)
    if task == "zero_shot":
        pairs = [zip(one["labels"], one["scores"], strict=True) for one in results]
        return [[{"label": label, "score": score} for label, score in row] for row in pairs]
    renamed = {"entity": "label", "entity_group": "label"}
    return [[{renamed.get(name, name): value for name, value in one.items()} for one in row] for row in results]


@pytest.mark.parametrize("kind", [lists, table, frame])
@pytest.mark.parametrize("case", CASES)
def test_tasks(case: str, kind: Callable[[dict[str, list[Any]]], Any]) -> None:
    task, columns, arguments, types, several = CASES[case]
    result = Mapper(task=task, **arguments)(kind(columns))
    found = plain(result)
    assert set(found) == {*columns, *types}
    for row, values in enumerate(expected(task, columns, arguments)):
        for name in types:
            mapped = found[name][row]
            assert (mapped if several else [mapped]) == [one[name] for one in values]
    if kind is table:
        element = {name: result[name].type.value_type if several else result[name].type for name in types}
        assert {name: str(kind) for name, kind in element.items()} == types


@pytest.mark.parametrize("kind", [lists, table, frame])
@pytest.mark.parametrize("case", [*CASES, "encode"])
def test_empty_batches_have_the_same_columns(case: str, kind: Callable[[dict[str, list[Any]]], Any]) -> None:
    """Types too, in Arrow, where other batches may be written to the same file."""
    task, columns, arguments, *_ = CASES.get(case, ("encode", {"text": TEXTS}, {}))
    mapper = Mapper(task=task, **arguments)
    full, empty = mapper(kind(columns)), mapper(kind({name: [] for name in columns}))
    assert list(plain(full)) == list(plain(empty)) and not any(plain(empty).values())
    if kind is table:
        assert full.schema == empty.schema
        assert task != "tag" or mapper(table({"text": [""]})).schema == full.schema  # no word


def test_labels_that_are_numbers() -> None:
    load = {"config": {"id2label": {"0": 1, "1": 2}}}
    assert set(Mapper(task="classify", load=load)({"text": TEXTS})["label"]) <= {"1", "2"}


def test_prefix() -> None:
    both = Mapper(task="classify", prefix="predicted_")({"text": TEXTS, "label": [0, 1, 0]})
    assert list(both) == ["text", "label", "predicted_label", "predicted_score"]


def test_load_options_and_arguments(tmp_path: Path) -> None:
    minroberta.load(head="encoder").save(tmp_path)
    result = Mapper(tmp_path, column="body", load={"dtype": "float64"}, normalize=True)({"body": TEXTS})
    assert result["vector"].dtype == np.float64
    assert np.allclose(np.linalg.norm(result["vector"], axis=1), 1)


@pytest.mark.parametrize("by_name", [True, False])
def test_jax(by_name: bool) -> None:
    """A module cannot be pickled; its name can."""
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'minroberta[jax]'")
    mapper = pickle.loads(pickle.dumps(Mapper(load={"xp": "jax.numpy" if by_name else jax.numpy})))
    mapper({"text": []})
    assert any(model.xp is jax.numpy for _, model in batch._loaded)


# --- one model a process --------------------------------------------------------------------------------------------


def test_a_pickle_has_no_model(unloaded: list[Any]) -> None:
    mapper = Mapper("minroberta/tiny", "classify", top_k=2)
    mapper({"text": TEXTS})
    pickled = pickle.dumps(mapper)
    assert len(pickled) < 500
    assert pickle.loads(pickled)({"text": TEXTS}) == mapper({"text": TEXTS})
    assert len(unloaded) == 1


def test_mappers_share_a_model(unloaded: list[Any]) -> None:
    for mapper in (Mapper(), Mapper("minroberta/tiny", normalize=True), Mapper(load={"head": "encoder"})):
        mapper({"text": TEXTS})
    assert len(unloaded) == 1
    for mapper in (Mapper(task="classify"), Mapper(load={"dtype": "float64"})):
        mapper({"text": TEXTS})
    assert len(unloaded) == 3


def test_threads_share_a_model(unloaded: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    together = threading.Barrier(8)
    load = minroberta.load

    def slow(*arguments: Any, **options: Any) -> Any:
        loads.append(threading.get_ident())
        return load(*arguments, **options)

    def work() -> None:
        mapper = pickle.loads(pickled)
        together.wait()
        results.append(mapper({"text": TEXTS})["vector"])

    monkeypatch.setattr(batch.loading, "load", slow)
    pickled, results = pickle.dumps(Mapper()), []
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(results) == 8 and all(np.array_equal(result, results[0]) for result in results)


def test_another_process() -> None:
    """It loads the model at the first batch, once, and imports neither pandas nor pyarrow for a dict."""
    program = (
        "import pickle, sys\nfrom minroberta import batch\nmapper = pickle.load(sys.stdin.buffer)\n"
        "assert not batch._loaded\n[mapper({'text': ['A cat.']}) for _ in range(3)]\n"
        "print(len(batch._loaded), {'pandas', 'pyarrow', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(Mapper()), capture_output=True, env=ENVIRONMENT, check=True
    )
    assert done.stdout.split() == [b"1", b"set()"]


def test_nothing_is_loaded_before_the_first_batch(unloaded: list[Any]) -> None:
    assert repr(Mapper("no/such-model", "tag")) == "Mapper('no/such-model', 'tag', ['text'])"
    assert not unloaded


def test_a_model_that_cannot_be_loaded(unloaded: list[Any], tmp_path: Path) -> None:
    """The next batch, on another attempt, says so again."""
    mapper = Mapper(tmp_path / "missing")
    for _ in range(2):
        with pytest.raises(minroberta.NotFoundError):
            mapper({"text": TEXTS})
    assert not unloaded


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task": "embed"}, NameUnknownError, "unknown task 'embed': give one of encode, classify, zero_shot, tag, "),
        ({"task": None}, NameUnknownError, "unknown task None: give one of encode, "),
        ({"task": "answer"}, InputError, "answer reads 2 of the columns, not 1: give column= the name or a list of "),
        ({"task": "classify", "column": []}, InputError, "classify reads 1 or 2 of the columns, not 0"),
        ({"column": ["a", "b"]}, InputError, "encode reads 1 of the columns, not 2: give column= the name"),
        ({"column": [1]}, InputError, "column must be a name or a list of names, not [1]"),
        ({"column": 1}, InputError, "column must be a name or a list of names, not 1"),
        ({"prefix": None}, InputError, "prefix must be a str, not None"),
        ({"load": ["head"]}, InputError, "load must be a dict of arguments, not ['head']"),
        ({"normalise": True}, InputError, "encode cannot be called with these arguments: got an unexpected keyword"),
        ({"task": "zero_shot"}, InputError, "zero_shot cannot be called with these arguments: missing a required"),
        ({"load": {"heads": "x"}}, InputError, "load cannot be called with these arguments: got an unexpected keyword"),
        ({"load": {"name": "x"}}, InputError, "load cannot be called with these arguments: multiple values for"),
        ({"prompt": lambda: 1}, InputError, "prompt is a function, which cannot be sent to other processes: give a "),
    ],
)
def test_errors_before_a_batch(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with raises(error, message):
        Mapper(**arguments)


def test_a_tokenizer_is_given_by_name() -> None:
    """The copies of an object in other processes are not equal to it, so each would load a model of its own."""
    with raises(InputError, "tokenizer is a Tokenizer, which cannot be sent to other processes"):
        Mapper(load={"tokenizer": minroberta.load().tokenizer})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"body": TEXTS}, InputError, "the batch has no column 'text': it has 'body'. Give column= the name of one"),
        ({"text": ["a", None, "b"]}, InputError, "row 2 of 3 in column 'text' is a NoneType: give a str, or leave out"),
        ({"text": np.arange(3)}, InputError, "row 1 of 3 in column 'text' is a int: give a str"),
        ({"text": TEXTS, "vector": [1, 2, 3]}, InputError, "the batch already has a column 'vector': rename it, or "),
        ({"text": "abc"}, InputError, "column 'text' is a str: give a list or an array, with a str for each row"),
        ({"text": 1}, InputError, "column 'text' is a int: give a list or an array"),
        (
            TEXTS,
            InputError,
            "a batch must be a dict of columns, a pandas DataFrame, or a pyarrow Table or RecordBatch, ",
        ),
        ({"text": ["\ud800"]}, TokenizerError, "the text contains half a surrogate pair"),
    ],
)
def test_errors_of_a_batch(given: Any, error: type[Exception], message: str) -> None:
    with raises(error, message):
        Mapper()(given)


@pytest.mark.parametrize("kind", [table, frame])
def test_rows_without_text(kind: Callable[[dict[str, list[Any]]], Any]) -> None:
    with raises(InputError, "row 3 of 3 in column 'text' is a "):
        Mapper()(kind({"text": ["a", "b", None]}))


def test_columns_of_different_lengths() -> None:
    with raises(InputError, "columns must have equally many rows, but 'a' has 2 and 'b' has 1"):
        Mapper(task="classify", column=["a", "b"])({"a": ["x", "y"], "b": ["x"]})


def test_two_masks() -> None:
    with raises(InputError, "row 2 of 2 has 2 masks: give texts with one"):
        Mapper(task="fill_mask")({"text": ["One <mask>.", "<mask> <mask>."]})


# --- two clusters ---------------------------------------------------------------------------------------------------

ROWS = 2000
EACH = {"ray": 250, "dask": 50}
"""Rows of a batch: those of Ray's example, and so few for Dask that the batches under way are little memory."""


def run(script: str, *arguments: Any, home: Path) -> None:
    """Run a script of this repository, in an empty home: Ray writes there."""
    environment = {**ENVIRONMENT, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'minroberta[parquet]'")
    folder = tmp_path_factory.mktemp("sentences")
    run("examples/corpus_sentences.py", ROWS, folder / "sentences.parquet", home=folder)
    return folder / "sentences.parquet"


def skip_without(*engines: str) -> None:
    for engine in engines:
        if importlib.util.find_spec(engine) is None:
            pytest.skip(f"{engine} is not installed: pip install {engine}")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_the_examples(engine: str, sentences: Path, tmp_path: Path) -> None:
    """One of two processes is killed in the middle: all rows are there, once, in order. Memory is bounded."""
    skip_without(engine, "pandas")
    if not Path("/proc/self/status").exists():
        pytest.skip("the memory of processes is read from /proc")
    parquet = pytest.importorskip("pyarrow.parquet")
    source, target, log = (tmp_path / name for name in ("sentences.parquet", "vectors.parquet", "log"))
    given, each = parquet.read_table(sentences), EACH[engine]
    parquet.write_table(given, source, row_group_size=each)
    run("tests/clusters.py", ROOT / f"examples/corpus_{engine}.py", source, target, log, home=tmp_path)

    found = parquet.read_table(target)
    assert found["id"].to_pylist() == list(range(ROWS))
    assert found["text"].equals(given["text"])
    vectors = found["vector"].combine_chunks().flatten().to_numpy().reshape(ROWS, -1)
    assert vectors.shape[1] == clusters.WIDTH * clusters.REPEATED
    some = given["text"].to_pylist()[::7]  # some of each batch
    one_call, exact = (minroberta.load(head="encoder", dtype=dtype).encode(some) for dtype in ("float32", "float64"))
    # In one call, other texts stand beside each one, in products of other sizes, which some processors sum in another
    # order: the vectors are as far from the exact ones as those of one call are, up to chance.
    rounding = np.abs(one_call - exact).max()
    assert np.abs(vectors[::7, : clusters.WIDTH] - exact).max() <= 4 * rounding < 0.01

    entries = [json.loads(line) for line in log.read_text().splitlines()]
    batches = [entry for entry in entries if "first" in entry]
    firsts = [entry["first"] for entry in batches]
    assert set(firsts) == set(range(0, ROWS, each))
    assert log.with_suffix(".killed").exists()
    assert firsts.count(clusters.LAST) == 2, "the batch was computed, lost and computed again"
    assert len({entry["process"] for entry in batches}) >= 3
    assert {entry["models"] for entry in batches} == {1}
    assert_bounded(entries[entries.index(batches[0]) :], vectors.nbytes)


def assert_bounded(entries: list[dict[str, Any]], size: int) -> None:
    """The processes do not keep the results, which have this size: neither the workers, nor the one that started them.

    Ray's tables are in memory that processes share, so that they are counted too: one is at hand, and one comes next.
    """
    workers: dict[int, list[int]] = {}
    for entry in entries:
        if "first" in entry:
            workers.setdefault(entry["process"], []).append(entry["memory"])
    # if results stayed, all but each process's last would be here: 3/4 of them with Ray, which has few batches, and
    # more than all with Dask; what it imports and keeps of 40 tasks is less than 1/2, also on a machine that is busy
    assert sum(own[-1] - own[0] for own in workers.values()) < 2 / 3 * size
    starter = [entry for entry in entries if "first" not in entry]
    written = starter[-1]["written"]
    memory = [entry["memory"] for entry in starter if entry["written"] or not written]  # Ray imports much before that
    # two of Ray's eight tables are here, and what it keeps of its own; if results stayed, it would be seven
    assert max(memory) - memory[0] < size / 2
    assert max(entry["kept"] for entry in starter) <= 2


SOME = 250
SNIPPETS = re.findall(
    r"```python\n((?:import|from) (\w+).+?)```", (ROOT / "docs/corpus.md").read_text("utf-8"), re.DOTALL
)


@pytest.mark.slow
@pytest.mark.parametrize(("snippet", "engine"), SNIPPETS, ids=[engine for _, engine in SNIPPETS])
def test_the_engines_of_the_page(snippet: str, engine: str, sentences: Path, tmp_path: Path) -> None:
    """Each snippet of docs/corpus.md writes every row once; in order, but for Ray, which may lose it if it is busy."""
    skip_without(engine)
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "snippet.py").write_text(f"if __name__ == '__main__':\n{textwrap.indent(snippet, '    ')}")
    parquet.write_table(parquet.read_table(sentences)[:SOME], tmp_path / "sentences.parquet", row_group_size=100)
    run(str(tmp_path / "snippet.py"), home=tmp_path)
    (target,) = re.findall(r"parquet\(\"((?!sentences).+?)\"", snippet)
    found = parquet.read_table(tmp_path / target)
    ids = found["id"].to_pylist()
    assert sorted(ids) == list(range(SOME))
    assert ids == sorted(ids) or engine == "ray"
    assert {"vector", "label"} & set(found.column_names)


def test_the_page_has_all_engines() -> None:
    assert [engine for _, engine in SNIPPETS] == ["ray", "dask", "pyspark", "datasets"]
