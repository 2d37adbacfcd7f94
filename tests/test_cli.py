"""The command: its output, its input, its messages about bad input, and its status."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from generators import embedding_cases
from pyarrow import parquet
from support import CASES, CHECKPOINTS, GOLDEN, config_of, weights_of

import minroberta
from minroberta import weights
from minroberta.checkpoints.formats import safetensors
from minroberta.cli import console, main, texts, vectors

ROOT = Path(__file__).parents[1]
SENTENCES = ["The cup is on the table.", "It rained all day, and the street is wet.", "Is the cup wet?"]
FIELDS = {
    "model_type": "roberta",
    "vocab_size": 300,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
    "type_vocab_size": 1,
    "initializer_range": 0.2,
    "id2label": {"0": "cold", "1": "warm"},
}
ALL = ("masked_lm", "sequence_classification", "token_classification", "question_answering")

# --- models ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tokenizer_json() -> str:
    """A byte-level BPE of 300 tokens with RoBERTa's special ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    library = Tokenizer(models.BPE(unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=299,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    library.train_from_iterator(SENTENCES, trainer)
    library.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    assert library.get_vocab_size() == FIELDS["vocab_size"]
    return library.to_str()


def write(directory: Path, *heads: str, dtype: str = "float32", tokenizer: str | None = None, **fields: Any) -> str:
    """A checkpoint with the weights of several heads in one file."""
    values = {**FIELDS, **fields}
    values["architectures"] = ["Roberta" + minroberta.config.HEADS[heads[0]].ending]
    arrays = {}
    for head in heads:
        for name, array in weights.flat(minroberta.init(values, head=head, dtype=dtype).params).items():
            arrays["roberta." * name.startswith(("embeddings", "encoder", "pooler")) + name] = array
    directory.mkdir()
    safetensors.write(directory / "model.safetensors", arrays, {"format": "pt"})
    (directory / "config.json").write_text(json.dumps(values), encoding="utf-8")
    if tokenizer:
        (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return str(directory)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: str) -> dict[str, str]:
    """Directories: one with most heads, one for choices, one for inference, a decoder."""
    root = tmp_path_factory.mktemp("models")
    return {
        "all": write(root / "all", *ALL, tokenizer=tokenizer_json),
        "choice": write(root / "choice", "multiple_choice", tokenizer=tokenizer_json),
        "inference": write(
            root / "inference",
            "sequence_classification",
            tokenizer=tokenizer_json,
            id2label={"0": "no", "1": "entailed"},
        ),
        "decoder": write(root / "decoder", "causal_lm", tokenizer=tokenizer_json, is_decoder=True),
    }


@pytest.fixture
def model(models: dict[str, str]) -> str:
    return models["all"]


# --- running --------------------------------------------------------------------------------------------------------


def run(*arguments: str, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=input)


def printed(*arguments: str, input: str | bytes | None = None) -> str:
    """The output of a command that succeeds."""
    result = run(*arguments, input=input)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def lines(*arguments: str, input: str | bytes | None = None) -> list[Any]:
    """The output of --json."""
    return [json.loads(line) for line in printed(*arguments, "--json", input=input).splitlines()]


def refused(*arguments: str, input: str | bytes | None = None) -> str:
    """The one line of a command that fails."""
    result = run(*arguments, input=input)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


AS_A_MODULE = (  # a process that a shell starts in the background would ignore Ctrl-C
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('minroberta', run_name='__main__', alter_sys=True)"
)


def start(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """The command in a new process, where warnings are not errors."""
    return subprocess.Popen(
        [sys.executable, "-c", AS_A_MODULE, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# --- the same as the methods ----------------------------------------------------------------------------------------


def test_fill_mask(model: str) -> None:
    texts = ["The cup is <mask>.", "The <mask> is <mask>."]
    loaded = minroberta.load(model, head="masked_lm")
    expected = loaded.fill_mask(texts, top_k=2)  # together, since a batch's shape changes the rounding
    assert lines("fill-mask", *texts, "--top-k", "2", "--model", model) == expected


def test_classify(model: str) -> None:
    loaded = minroberta.load(model, head="sequence_classification")
    assert lines("classify", *SENTENCES, "--model", model) == loaded.classify(SENTENCES)
    (every,) = lines("classify", SENTENCES[0], "--all", "--model", model)
    assert every == loaded.classify(SENTENCES[0], top_k=None)
    assert len(every) == 2


def test_classify_pairs(model: str) -> None:
    loaded = minroberta.load(model, head="sequence_classification")
    expected = loaded.classify([("a cup", "a table"), ("the day", "the street")])
    arguments = ("a cup", "a table", "the day", "the street")
    assert lines("classify", "--pairs", *arguments, "--model", model) == expected
    content = "a cup\ta table\nthe day\tthe street\n"
    assert lines("classify", "--pairs", "--model", model, input=content) == expected


@pytest.mark.parametrize("options", [{}, {"multi_label": True, "hypothesis_template": "It is {}!"}])
def test_zero_shot(models: dict[str, str], options: dict[str, Any]) -> None:
    expected = minroberta.load(models["inference"]).zero_shot(SENTENCES, ["wet", "dry"], **options)
    given = ["--label", "wet", "--label", "dry", "--model", models["inference"]]
    if options:
        given += ["--multi-label", "--hypothesis-template", "It is {}!"]
    assert lines("zero-shot", *SENTENCES, *given) == expected
    head, *rows = printed("zero-shot", SENTENCES[0], *given).splitlines()
    assert head.split() == ["score", "label", "text"]
    assert [row.split()[1] for row in rows] == expected[0]["labels"]
    assert "Missing option '--label'" in refused("zero-shot", "a", "--model", models["inference"])


def test_targets(model: str) -> None:
    """An unknown target is reported once, however many texts there are."""
    texts, targets = ["A <mask>.", "The <mask> is wet."], ["c", "e", "never mind"]
    loaded = minroberta.load(model, head="masked_lm")
    with pytest.warns(UserWarning):
        expected = loaded.fill_mask(texts, targets=targets)
    options = [word for target in targets for word in ("--target", target)]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = run("fill-mask", *texts, *options, "--json", "--model", model)
    assert [json.loads(line) for line in result.stdout.splitlines()] == expected
    assert result.stderr.count("is not in the vocabulary") == result.stderr.count("\n") == 1


def test_options_of_answer(model: str) -> None:
    names = {"handle_impossible_answer": True, "max_seq_len": 30, "doc_stride": 5, "max_question_len": 12}
    names["merge_equal"] = True
    expected = minroberta.load(model, head="question_answering").answer("Is it wet?", "It is. " * 9, top_k=9, **names)
    options = ("--handle-impossible-answer", "--max-seq-len", "30", "--doc-stride", "5", "--max-question-len", "12")
    options += ("--merge-equal",)
    context = ("--context", "It is. " * 9, "--top-k", "9")
    assert lines("answer", "Is it wet?", *context, *options, "--model", model) == [expected]


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_tag(model: str, strategy: Any) -> None:
    expected = minroberta.load(model, head="token_classification").tag(SENTENCES, strategy, split_punctuation=True)
    options = ("--aggregation-strategy", strategy, "--split-punctuation", "--model", model)
    assert lines("tag", *SENTENCES, *options) == expected


def test_answer(model: str, tmp_path: Path) -> None:
    loaded = minroberta.load(model, head="question_answering")
    expected = [loaded.answer("Is it wet?", SENTENCES[1], top_k=3, max_answer_len=4)]
    options = ("--top-k", "3", "--max-answer-len", "4", "--model", model)
    assert lines("answer", "Is it wet?", "--context", SENTENCES[1], *options) == expected
    assert lines("answer", "Is it wet?", *options, input=SENTENCES[1]) == expected
    (tmp_path / "context.txt").write_text(SENTENCES[1], encoding="utf-8-sig")
    assert lines("answer", "Is it wet?", "--context-file", str(tmp_path / "context.txt"), *options) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_piped_context_ends_before_its_newline(end: str, model: str, tmp_path: Path) -> None:
    """`echo` adds one; any other white space belongs to the context."""
    loaded, context = minroberta.load(model, head="question_answering"), "\nIt is wet. \n"
    expected = [loaded.answer("Is it wet?", context, top_k=3)]
    options = ("--top-k", "3", "--model", model)
    assert lines("answer", "Is it wet?", *options, input=(context + end).encode()) == (
        expected if end else [loaded.answer("Is it wet?", context.removesuffix("\n"), top_k=3)]
    )
    (tmp_path / "context.txt").write_bytes(b"It is wet." + end.encode())
    (found,) = lines("answer", "Is it wet?", "--context-file", str(tmp_path / "context.txt"), *options)
    assert found == loaded.answer("Is it wet?", "It is wet.", top_k=3)


def test_choose(models: dict[str, str]) -> None:
    expected = minroberta.load(models["choice"]).choose("It rained.", ["It is wet.", "The cup."])
    assert lines("choose", "It rained.", "It is wet.", "The cup.", "--model", models["choice"]) == [expected]


def test_encode(model: str, tmp_path: Path) -> None:
    """JSON and the .npy file both keep every float32 exactly."""
    expected = minroberta.load(model, head="encoder").encode(SENTENCES, pooling="max", normalize=False)
    options = ("--pooling", "max", "--no-normalize", "--batch-size", "3", "--model", model)
    vectors = np.array(lines("encode", *SENTENCES, *options), np.float32)
    np.testing.assert_array_equal(vectors, expected)
    file = tmp_path / "vectors.npy"
    assert printed("encode", *SENTENCES, "--output", str(file), *options) == ""
    np.testing.assert_array_equal(np.load(file), expected)
    written = run("encode", *SENTENCES, "--output", "-", *options).stdout_bytes
    np.testing.assert_array_equal(np.load(io.BytesIO(written)), expected)


def test_encode_with_the_options_of_a_repository(tmp_path: Path) -> None:
    (case,) = (case for case in embedding_cases.CASES if case.name == "default prompt")
    embedding_cases.write(case, tmp_path)
    model = minroberta.load(tmp_path)
    for options, arguments in (
        ((), {}),
        (("--prompt-name", "passage"), {"prompt_name": "passage"}),
        (
            ("--prompt", "x ", "--normalize", "--truncate-dim", "4", "--max-seq-length", "60"),
            {"prompt": "x ", "normalize": True, "truncate_dim": 4, "max_seq_length": 60},
        ),
        (("--no-normalize", "--pooling", "pooler"), {"normalize": False, "pooling": "pooler"}),
    ):
        found = np.array(lines("encode", *SENTENCES, *options, "--model", str(tmp_path)), np.float32)
        np.testing.assert_array_equal(found, model.encode(SENTENCES, **arguments))


def test_an_old_repository_of_sentence_transformers(tmp_path: Path) -> None:
    """Its files are in a folder of the repository. What is converted gives the same vectors."""
    source, target = tmp_path / "source", tmp_path / "target"
    (case,) = (case for case in embedding_cases.CASES if case.name == "old layout")
    embedding_cases.write(case, source)
    assert json.loads(printed("info", str(source), "--json"))["tokenizer"] != "none"
    printed("convert", str(source), str(target))
    texts = [text[:9] for text in SENTENCES]
    np.testing.assert_allclose(minroberta.load(target).encode(texts), minroberta.load(source).encode(texts), atol=1e-6)


def test_the_function_from_logits_to_scores(tmp_path: Path) -> None:
    (case,) = (case for case in embedding_cases.CASES if case.name == "reranker")
    embedding_cases.write(case, tmp_path)
    model = minroberta.load(tmp_path)
    ((found,),) = lines("classify", "a", "--function-to-apply", "none", "--model", str(tmp_path))
    (expected,) = model.classify("a", function_to_apply="none")
    assert found["score"] == expected["score"] != model.classify("a")[0]["score"]


def test_encode_in_float64(model: str) -> None:
    expected = minroberta.load(model, head="encoder", dtype="float64").encode(SENTENCES[0])
    (vector,) = lines("encode", SENTENCES[0], "--dtype", "float64", "--model", model)
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-12)


def test_vectors_that_fail_leave_the_file(tmp_path: Path, model: str) -> None:
    file = tmp_path / "vectors.npy"
    file.write_bytes(b"kept")
    refused("encode", "a\udcff", "--output", str(file), "--model", model)
    assert file.read_bytes() == b"kept" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectors_as_a_table_of_parquet(dtype: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are written in groups, so that memory is bounded; two groups here."""
    monkeypatch.setattr(vectors, "ROWS", 64)
    given = [f"{text} {number}" for text in SENTENCES for number in range(30)]
    loaded = minroberta.load(model, head="encoder", dtype=dtype)
    file = tmp_path / "vectors.parquet"
    options = ("--model", model, "--normalize", "--dtype", dtype, "--output", str(file))
    assert printed("encode", *options, input="\n".join(given)) == ""
    written = parquet.ParquetFile(file)
    assert [written.metadata.row_group(group).num_rows for group in range(written.num_row_groups)] == [64, 26]
    table = written.read()
    assert (
        str(table.schema.field("vector").type)
        == f"fixed_size_list<element: {'float' if dtype == 'float32' else 'double'}>[32]"
    )
    assert table["text"].to_pylist() == given
    parts = [loaded.encode(part, normalize=True) for part in (given[:64], given[64:])]
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), dtype), np.concatenate(parts))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    written.close()
    assert printed("encode", *options, input="") == ""
    assert parquet.read_table(file).schema == table.schema and parquet.read_table(file).num_rows == 0


def test_a_batch_size_of_parquet(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(
        minroberta.Model, "encode", lambda self, texts, **_: sizes.append(len(texts)) or np.zeros((len(texts), 2))
    )
    for batch_size in ("100", "8"):
        printed(
            "encode",
            *["a"] * 120,
            "--batch-size",
            batch_size,
            "--output",
            str(tmp_path / "a.parquet"),
            "--model",
            model,
        )
    assert sizes == [0, 100, 20, 0, 64, 56]


def test_a_line_that_fails_leaves_the_table(model: str, tmp_path: Path) -> None:
    file = tmp_path / "vectors.parquet"
    file.write_bytes(b"kept")
    said = refused("encode", "--output", str(file), "--model", model, input=b"one\ntw\xfco\n")
    assert "line 2: the text is not in UTF-8" in said
    assert file.read_bytes() == b"kept" and list(tmp_path.iterdir()) == [file]


def test_a_table_needs_pyarrow(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = refused("encode", "a", "--output", str(tmp_path / "a.parquet"), "--model", str(tmp_path / "not looked at"))
    assert said == 'error: writing .parquet needs pyarrow: pip install "minroberta[parquet]"\n'


def test_a_line_keeps_its_spaces(model: str) -> None:
    (words,) = lines("predict-all", "--model", model, input="a  \r\n")
    assert words == minroberta.load(model, head="masked_lm").predict_all("a  ")


def test_generate(models: dict[str, str]) -> None:
    loaded = minroberta.load(models["decoder"])
    options = {"max_new_tokens": 7, "temperature": 0.9, "top_k": 9, "seed": 3, "top_p": 0.8, "min_new_tokens": 2,
               "num_beams": 2, "length_penalty": 0.5, "no_repeat_ngram_size": 2, "repetition_penalty": 1.2}  # fmt: skip
    given = [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), str(value))]
    expected = [loaded.generate(text, **options) for text in SENTENCES]
    assert lines("generate", *SENTENCES, *given, "--model", models["decoder"]) == expected
    beams = ("--num-beams", "3", "--early-stopping")
    for name, value in (("true", True), ("false", False), ("never", "never")):
        (result,) = lines("generate", SENTENCES[0], *beams, name, "--model", models["decoder"])
        assert result == loaded.generate(SENTENCES[0], num_beams=3, early_stopping=value)
    text = printed("generate", SENTENCES[0], *given, "--model", models["decoder"])
    assert text.startswith(SENTENCES[0])
    assert all(line.isprintable() for line in text.splitlines())


def test_predict_all(model: str) -> None:
    loaded = minroberta.load(model, head="masked_lm")
    expected = loaded.predict_all(SENTENCES)
    assert lines("predict-all", *SENTENCES, "--model", model) == expected


# --- tables ---------------------------------------------------------------------------------------------------------


def test_a_row_for_each_text(model: str) -> None:
    """In a pipe, long texts are not cut, and control characters cannot move the cursor."""
    texts = [*SENTENCES, "It rained " * 12, "a\x1b[2Jb\tc", "a\u2028b\u202ec"]
    header, *rows = printed("classify", *texts, "--model", model).splitlines()
    assert header == " score  label  text"
    assert [re.fullmatch(r"0\.\d{4}  (cold|warm)   (.+)", row)[2] for row in rows] == [  # type: ignore[index]
        *SENTENCES,
        texts[3],
        r"a\x1b[2Jb\tc",
        r"a\u2028b\u202ec",
    ]


def test_blank_lines_between_texts_and_masks(model: str) -> None:
    table = printed("fill-mask", "<mask>", "a <mask> b <mask>", "--top-k", "2", "--model", model)
    first, *blocks = [block.splitlines() for block in table.split("\n\n")]
    assert first[0].split() == ["score", "token_str", "sequence"]
    assert [len(block) for block in (first[1:], *blocks)] == [2, 2, 2]


def test_an_empty_text_has_no_tags(model: str) -> None:
    assert printed("tag", "", "--model", model) == ""
    assert printed("tag", "", "--model", model, "--json") == "[]\n"


def test_vectors_as_a_table(model: str) -> None:
    header, row = printed("encode", "a cup", "--model", model).splitlines()
    assert header.split() == ["text", "vector"]
    assert len(row.removeprefix("a cup").split()) == FIELDS["hidden_size"]


def test_a_terminal_shortens(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "terminal_width", lambda: 40)
    rows = printed("classify", "長い" * 5 + " It rained." * 3, "short", "--model", model).splitlines()
    assert rows[1].endswith("…")
    assert max(map(console.width, rows)) in (39, 40)  # a wide character may leave one column free
    assert rows[2].endswith("short")
    row = printed("encode", SENTENCES[1], "--model", model).splitlines()[1]
    assert re.fullmatch(r"It rained al…  [ \d.-]{24}…", row)  # a third for the text


@pytest.mark.parametrize(
    ("text", "columns"), [("cup", 3), ("日本", 4), ("e\u0301", 1), ("", 0), ("ｆ", 2), ("a\u200db", 2)]
)
def test_width(text: str, columns: int) -> None:
    assert console.width(text) == columns


@pytest.mark.parametrize(
    ("text", "limit", "short"),
    [("a cup", 5, "a cup"), ("a cups", 5, "a cu…"), ("日本語", 6, "日本語"), ("日本語", 5, "日本…"), ("", 1, "")],
)
def test_shortened(text: str, limit: int, short: str) -> None:
    assert console.shortened(text, limit) == short
    assert console.width(short) <= limit


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.2500"), (-1.5, "-1.5000"), (0.0, "0.0000"), (0.00012, "1.2e-04"), (-3e38, "-3.0e+38"), (7, "7")],
)
def test_numbers(value: float, text: str) -> None:
    assert console.cell(value) == text


# --- where texts come from ------------------------------------------------------------------------------------------


def test_a_file(model: str, tmp_path: Path) -> None:
    """Lines end as on any system, a byte order mark is left out, an empty line is a text."""
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeffIs it wet?\r\n\n日本\t\u2028 a\nlast".encode())
    expected = lines("classify", "Is it wet?", "", "日本\t\u2028 a", "last", "--model", model)
    assert lines("classify", "--file", str(file), "--model", model) == expected
    assert lines("classify", "--file", "-", "--model", model, input=file.read_bytes()) == expected
    assert lines("classify", "--model", model, input=file.read_bytes()) == expected
    assert printed("classify", "--file", str(file), "--model", model).count("\n") == 5


def test_without_texts_there_is_no_output(model: str) -> None:
    assert printed("classify", "--model", model, input="") == ""
    assert printed("encode", "--json", "--model", model, input="") == ""


def test_json_is_not_escaped(model: str) -> None:
    assert '"word": "日本"' in printed("tag", "--json", "日本", "--model", model)


# --- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fill-mask", "classify", "tag", "generate", "predict-all"])
def test_every_command_advances(
    command: str, models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar advances by one for each text; the lines of a file are counted first."""
    seen: list[tuple[int | None, list[int]]] = []

    @contextlib.contextmanager
    def progress(total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        seen.append((total, []))
        yield seen[-1][1].append

    monkeypatch.setattr(texts, "progress", progress)
    options = ["--json", "--model", models["decoder" if command == "generate" else "all"]]
    (tmp_path / "lines.txt").write_text("a <mask>\n<mask>\nlast <mask>", encoding="utf-8")
    for arguments in (["--file", str(tmp_path / "lines.txt")], ["<mask>", "a <mask>"]):
        printed(command, *arguments, *options)
    assert [(total, sum(steps)) for total, steps in seen] == [(3, 3), (2, 2)]


def test_lines_of_a_pipe_are_not_counted() -> None:
    """Counting would wait until the pipe is closed."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe, os.fdopen(reading, "rb") as file:
        given = texts.read_texts((), file)
        assert given.total is None
        pipe.write(b"one\n")
        pipe.flush()
        assert next(given.items) == ("line 1: ", "one")


def test_a_bar_on_a_terminal(model: str, tmp_path: Path) -> None:
    """The bar is on standard error, and only if the answers do not go to a terminal themselves."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    (tmp_path / "lines.txt").write_text("a cup\n" * 120, encoding="utf-8")
    command = [sys.executable, "-m", "minroberta", "classify", "--model", model, "--file", str(tmp_path / "lines.txt")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ours, theirs = pty.openpty()
    import_module("termios").tcsetwinsize(theirs, (24, 80))  # a new one has no columns
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=True)
    assert "120/120" in os.read(ours, 10_000).decode()
    assert len(done.stdout.splitlines()) == 121
    subprocess.run([*command, "--top-k", "1"], env=environment, stdout=theirs, stderr=theirs, timeout=60, check=True)
    assert b"/120" not in os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)


# --- what every command that runs a model takes ---------------------------------------------------------------------

ARGUMENTS = {
    "fill-mask": ("The cup is <mask>.",),
    "classify": SENTENCES[:1],
    "zero-shot": (SENTENCES[1], "--label", "wet"),
    "tag": SENTENCES[:1],
    "answer": ("Is it wet?", "--context", SENTENCES[1]),
    "choose": ("It rained.", "It is wet.", "The cup."),
    "encode": SENTENCES[:1],
    "generate": SENTENCES[:1],
    "predict-all": SENTENCES[:1],
    "trace": SENTENCES[:1],
}


def test_every_command_that_runs_a_model_takes_them() -> None:
    with_model = {name for name in main.commands if "--model " in printed(name, "--help")}
    assert with_model == {*ARGUMENTS, "fine-tune"}  # of which tests/test_tuning.py has the tests


@pytest.mark.parametrize("command", ARGUMENTS)
def test_the_tokenizer_of_another_model(command: str, models: dict[str, str], tmp_path: Path) -> None:
    kind = {"zero-shot": "inference", "choose": "choice", "generate": "decoder"}.get(command, "all")
    expected = lines(command, *ARGUMENTS[command], "--model", models[kind])
    bare = shutil.copytree(models[kind], tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer.json"))
    assert "no tokenizer" in refused(command, *ARGUMENTS[command], "--model", str(bare))
    given = ("--model", str(bare), "--tokenizer", models["all"])
    assert lines(command, *ARGUMENTS[command], *given) == expected
    nowhere = str(tmp_path / "nowhere")
    said = refused(command, *ARGUMENTS[command], "--model", str(bare), "--tokenizer", nowhere)
    assert "no directory or file" in said and "nowhere" in said


def words(directory: Path) -> str:
    """A directory with a tokenizer of a few words, for the models of `golden/adapters`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "the", "cup", "is", "wet", "<mask>"]
    library = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, "<unk>"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    directory.mkdir()
    library.save(str(directory / "tokenizer.json"))
    return str(directory)


def test_an_adapter(tmp_path: Path) -> None:
    base, adapter, tokenizer = GOLDEN / "adapters" / "base", GOLDEN / "adapters" / "seq_cls", words(tmp_path / "words")
    expected = minroberta.load(base, adapter=adapter, tokenizer=tokenizer).classify("the cup is wet", top_k=None)
    given = ("--model", str(base), "--adapter", str(adapter), "--tokenizer", tokenizer)
    assert len(expected) == 3
    assert lines("classify", "the cup is wet", "--all", *given) == [expected]
    assert "has no head 'token_classification'" in refused("tag", "the cup is wet", *given)
    without = refused("classify", "the cup is wet", "--model", str(base), "--tokenizer", tokenizer)
    assert "has no head 'sequence_classification'" in without
    assert "--adapter needs its base: give --model NAME as well, or give the adapter itself" in refused(
        "tag", "a", "--adapter", str(adapter)
    )


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["fill-mask", "no mask"], "no <mask>"),
        (["fill-mask", "<mask>", "none"], "error: text 2: the text has no <mask>"),
        (["fill-mask", "<mask>", "--top-k", "0"], "top_k must be an integer of at least 1, not 0"),
        (["fill-mask", "<mask>", "--top-k", "x"], "Invalid value for '--top-k'"),
        (["fill-mask", "<mask>", "--dtype", "int8"], "Invalid value for '--dtype'"),
        (["fill-mask", "--file", "nowhere.txt"], "nowhere.txt"),
        (["fill-mask", "<mask>", "--file", "-"], "not both"),
        (["fill-mask", "--nonsense"], "--nonsense"),
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "--nonsense"),
        (["classify", "--pairs", "a", "b", "c"], "takes texts in pairs, but 3 were given"),
        (["answer", "Who?", "--context", " "], "the context is empty"),
        (["answer", "Who?", "--context", "a", "--context-file", "-"], "not both"),
        (["answer"], "QUESTION"),
        (["choose", "A prompt"], "CHOICE"),
        (["choose", "A prompt", "a", "b"], "head 'multiple_choice'"),
        (["encode", "a", "--json", "--output", "a.npy"], "not both"),
        (["encode", "a", "--output", "nowhere/a.npy"], "nowhere/a.npy: No such file"),
        (["encode", "a", "--output", "nowhere/a.parquet"], "nowhere/a.parquet: No such file"),
        (["encode", "a", "--output", "a.csv"], "unknown ending of --output a.csv: give a name that ends in .npy or"),
        (["generate", "Once"], "generate needs a decoder"),
        (["classify", "a\udcff"], "half a surrogate pair"),
        (["trace", "a", "--name", "nonsense"], "no value of this run matches 'nonsense'"),
        (["trace", "a " * 100], "this model has 64 positions"),
    ],
)
def test_one_sentence(arguments: list[str], telling: str, model: str) -> None:
    given = [*arguments, "--model", model] if arguments[0] in main.commands else arguments
    assert telling in refused(*given)


@pytest.mark.parametrize(
    ("arguments", "content", "telling"),
    [
        (["fill-mask"], b"<mask>\n\n", "error: line 2: the text has no <mask>"),
        (["classify"], b"one\ntw\xfco\n", "error: line 2: the text is not in UTF-8 (byte 3 is 0xfc)"),
        (["classify"], "utf-16".encode("utf-16"), "error: line 1: the text is not in UTF-8"),
        (["classify", "--pairs"], b"a\tb\na b\n", "error: line 2: --pairs takes two texts with a tab"),
        (["answer", "Who?"], b"\xff", "error: the text is not in UTF-8"),
    ],
)
def test_bad_lines(arguments: list[str], content: bytes, telling: str, model: str) -> None:
    assert telling in refused(*arguments, "--model", model, input=content)


def test_bad_models(tmp_path: Path, models: dict[str, str]) -> None:
    assert "no directory or file" in refused("tag", "a", "--model", str(tmp_path / "none"))
    assert "no directory or file" in refused("info", str(tmp_path / "none"))
    without = refused("fill-mask", "<mask>", "--model", models["choice"])
    assert "has no head 'masked_lm': it lacks lm_head.dense.weight, " in without
    assert without.endswith("lm_head.bias. Its heads: multiple_choice. Give a model that has the head 'masked_lm'\n")
    without = write(tmp_path / "without", "masked_lm")
    assert "no tokenizer" in refused("fill-mask", "<mask>", "--model", without)


def test_messages_advise_only_what_a_command_has(tmp_path: Path, models: dict[str, str]) -> None:
    """For a head that is missing, incomplete or of another shape, no message names `missing`, which only `load` has."""
    arrays = {name: np.array(x) for name, x in safetensors.File(Path(models["choice"]) / "model.safetensors").items()}
    arrays["classifier.weight"] = np.zeros((3, FIELDS["hidden_size"]), np.float32)
    directory = Path(shutil.copytree(models["choice"], tmp_path / "wide"))
    safetensors.write(directory / "model.safetensors", arrays, {"format": "pt"})
    wide = refused("choose", "a", "b", "c", "--model", str(directory))
    assert "classifier.weight has shape (3, 32)" in wide and "missing" not in wide
    part = refused("choose", "a", "b", "c", "--model", "minroberta/tiny")
    assert "has no head 'multiple_choice': it lacks pooler.dense.weight, pooler.dense.bias. Its heads: m" in part
    whole = refused("convert", models["choice"], str(tmp_path / "new"), "--head", "masked_lm")
    assert "has no head 'masked_lm'" in whole and "missing" not in whole


@pytest.mark.parametrize("arguments", [["generate", "Once"], ["choose", "a", "b", "c"]])
def test_a_model_is_asked_for(arguments: list[str]) -> None:
    expected = f"minroberta/tiny has no head for {arguments[0]}; give --model NAME"
    assert refused(*arguments) == f"error: missing option --model: {expected}\n"
    assert "[required]" in printed(arguments[0], "--help")


def test_results_before_an_error_are_printed(model: str) -> None:
    """Results are printed one by one, so those before the bad line are there."""
    result = run("fill-mask", "--json", "--model", model, input="<mask>\nnone\n")
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 1


def test_warnings_are_lines(model: str) -> None:
    """One for each text concerned, without the name of a Python file."""
    long = "a " * 100
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = run("classify", "--json", "--model", model, input=f"short\n{long}\n{long}\n")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    first, second = result.stderr.splitlines()
    assert re.match(r"warning: line 2: .*64 tokens", first)
    assert re.match(r"warning: line 3: .*64 tokens", second)
    assert ".py" not in result.stderr


def test_a_decoder_is_asked_for_in_one_sentence(model: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        refused("generate", "Once", "--model", model)


# --- info -----------------------------------------------------------------------------------------------------------


def test_info(model: str) -> None:
    text = printed("info", model)
    facts = dict(re.findall(r"^(\S+) +(.+)$", text.partition("\n\n")[0], re.MULTILINE))
    assert facts["family"] == "roberta"
    assert facts["norms"].startswith("post-LN")
    assert facts["heads"] == ", ".join(("masked_lm", "sequence_classification", "token_classification",
                                        "question_answering"))  # fmt: skip
    assert facts["tokenizer"] == "ByteLevel > BPE, 300 tokens"
    assert (facts["dtypes"], facts["unused"], facts["longest_input"]) == ("float32", "none", "64")
    assert facts["bytes"] == f"{(Path(model) / 'model.safetensors').stat().st_size:,}"
    assert "  layer.0 … layer.2\n    attention\n      self\n        query" in text
    assert re.search(r"^        query +weight \(32, 32\)  bias \(32,\)$", text, re.MULTILINE)


def test_info_counts_each_parameter_once(model: str, tmp_path: Path) -> None:
    """A tied matrix and bias count once, and a buffer does not count."""
    (facts,) = lines("info", model)
    assert facts["parameters"] == sum(value for name, value in facts.items() if name.startswith("parameters."))
    assert facts["parameters"] == sum(int(np.prod(shape)) for shape in facts["shapes"].values())
    whole = {name: np.array(x) for name, x in safetensors.File(Path(model) / "model.safetensors").items()}
    whole["lm_head.decoder.bias"] = whole["lm_head.bias"].copy()
    whole["lm_head.decoder.weight"] = whole["roberta.embeddings.word_embeddings.weight"].copy()
    whole["roberta.embeddings.position_ids"] = np.arange(66)[None]
    (tmp_path / "config.json").write_bytes((Path(model) / "config.json").read_bytes())
    safetensors.write(tmp_path / "model.safetensors", whole, {})
    (twice,) = lines("info", str(tmp_path))
    for name in ("parameters", "shapes", "heads", "unused"):
        assert twice[name] == facts[name]
    assert twice["dtypes"] == ["float32", "int64"]
    (other,) = lines("info", write(tmp_path / "untied", "masked_lm", tie_word_embeddings=False))
    assert other["shapes"]["lm_head.decoder.weight"] == [300, 32]


def test_info_of_shards(model: str, tmp_path: Path) -> None:
    whole = safetensors.File(Path(model) / "model.safetensors")
    names, files = list(whole), {"a.safetensors": slice(None, 9), "b.safetensors": slice(9, None)}
    for file, part in files.items():
        safetensors.write(tmp_path / file, {name: whole[name] for name in names[part]}, {})
    index = {"weight_map": {name: file for file, part in files.items() for name in names[part]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (tmp_path / "config.json").write_bytes((Path(model) / "config.json").read_bytes())
    (facts,), (expected,) = lines("info", str(tmp_path)), lines("info", model)
    assert facts["shapes"] == expected["shapes"]
    assert facts["tokenizer"] == "none"
    assert facts["bytes"] == sum((tmp_path / file).stat().st_size for file in files)


def test_info_of_layers_that_differ(tmp_path: Path) -> None:
    name = write(tmp_path / "pruned", "encoder", dtype="float16", num_hidden_layers=4, pruned_heads={"1": [0, 2]})
    text = printed("info", name)
    assert [line.strip() for line in text.splitlines() if "layer." in line] == [
        "layer.0",
        "layer.1",
        "layer.2 … layer.3",
    ]
    assert re.search(r"dtypes +float16", text)
    assert re.search(r"heads +none", text)


def test_info_orders_more_than_ten_layers(tmp_path: Path) -> None:
    """In a file, layer 10 comes before layer 2."""
    text = printed("info", write(tmp_path / "deep", "encoder", num_hidden_layers=12, pruned_heads={"10": [0]}))
    assert re.findall(r"layer\.\d+.*", text) == ["layer.0 … layer.9", "layer.10", "layer.11"]


def test_info_names_unused_weights(tmp_path: Path) -> None:
    arrays = {"nonsense.weight": np.zeros(3, np.float32), "embeddings.LayerNorm.weight": np.ones(32, np.float32)}
    safetensors.write(tmp_path / "model.safetensors", arrays, {})
    (tmp_path / "config.json").write_text(json.dumps(FIELDS), encoding="utf-8")
    (facts,) = lines("info", str(tmp_path))
    assert facts["unused"] == ["nonsense.weight"]
    assert facts["shapes"] == {"embeddings.LayerNorm.weight": [32]}


FAMILY_CASES = {case.name: case for case in CASES if case.name.startswith("family/")}


@pytest.mark.parametrize("case", FAMILY_CASES.values(), ids=FAMILY_CASES)
def test_info_finds_the_head_of_every_model(case: Any, tmp_path: Path) -> None:
    config = config_of(case)
    model = minroberta.Model(config, weights.tree(weights_of(config, case.head)), case.head)
    model.save(tmp_path)
    (facts,) = lines("info", str(tmp_path))
    expected = case.head
    if case.head in ("masked_lm", "causal_lm"):
        expected = "causal_lm" if config.is_decoder else "masked_lm"
    assert facts["heads"] == ([] if expected == "encoder" else [expected])
    assert facts["shapes"] == {name: list(x.shape) for name, x in weights.flat(model.params).items()}
    assert facts["norms"].startswith("pre-LN" if config.norm_first else "post-LN")
    assert facts["unused"] == []


# --- trace ----------------------------------------------------------------------------------------------------------


def test_trace(model: str) -> None:
    loaded = minroberta.load(model)
    expected = minroberta.trace(loaded, **loaded.tokenize("a cup"))
    rows = lines("trace", "a cup", "--model", model)
    assert [row["name"] for row in rows] == list(expected)
    for row in rows:
        value = expected[row["name"]]
        assert row["shape"] == list(value.shape)
        np.testing.assert_allclose([row["mean"], row["std"]], [value.mean(), value.std()], rtol=1e-3, atol=1e-6)


def test_trace_of_some_names(model: str) -> None:
    header, *rows = printed("trace", "a cup", "--name", "*.probs", "--model", model).splitlines()
    assert header.split() == ["mean", "std", "shape", "name"]
    assert [row.split()[-1] for row in rows] == [f"encoder.layer.{i}.attention.self.probs" for i in range(3)]


def test_trace_of_a_head(model: str) -> None:
    assert '"classifier.tanh"' in printed("trace", "a", "--head", "sequence_classification", "--json", "--model", model)


# --- help -----------------------------------------------------------------------------------------------------------


def examples() -> list[str]:
    return re.findall(r"^ +(minroberta .+)$", printed("--help"), re.MULTILINE)


def test_each_command_has_an_example() -> None:
    """In the order in which the commands are listed."""
    listed = re.findall(r"^  ([a-z-]+)  ", printed("--help").partition("Commands:")[2], re.MULTILINE)
    assert [shlex.split(line)[1] for line in examples()] == listed == list(main.commands)


@pytest.mark.parametrize("line", examples(), ids=lambda line: line.split()[1])
def test_the_examples_run(line: str, models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_text("a cup\na table\n", encoding="utf-8")
    Path("reviews.csv").write_text(
        "text,label\n" + "".join(f"a cup {i},{i % 2}\n" for i in range(20)), encoding="utf-8"
    )
    _, command, *arguments = shlex.split(line)
    if "pytorch_model.bin" in arguments:
        shutil.copytree(CHECKPOINTS / "pytorch-zip", tmp_path, dirs_exist_ok=True)
        if command == "verify":
            printed("convert", *arguments)
    elif "NAME" in arguments:
        kinds = {"choose": "choice", "zero-shot": "inference"}
        arguments[arguments.index("NAME")] = models[kinds.get(command, "decoder")]
    elif command != "notebooks":
        arguments += [models["all"]] if command in ("info", "bench") else ["--model", models["all"]]
    result = run(command, *arguments)
    noted = {"golden": "note: these inputs cannot tell: ", "fine-tune": "warning: training made the model no better"}
    noted = noted.get(command, "") if result.stderr or command == "golden" else ""
    assert (result.exit_code, result.stderr[: len(noted)], result.stderr.count("\n")) == (0, noted, bool(noted))


def test_help_and_version() -> None:
    assert printed() == printed("--help")
    assert printed("--version") == f"minroberta {minroberta.__version__}\n"
    for command in main.commands:
        text = printed(command, "--help")
        assert "--json" in text
        assert max(map(len, text.splitlines())) <= 80


def test_a_shell_completes() -> None:
    """click completes commands and options, as the help says."""
    script = "from minroberta.cli import main; main(prog_name='minroberta')"
    completion = {"_MINROBERTA_COMPLETE": "bash_complete", "COMP_WORDS": "minroberta f", "COMP_CWORD": "1"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **completion}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"plain,fill-mask\nplain,fine-tune\n"
    environment["COMP_WORDS"] = "minroberta generate --mo"
    environment["COMP_CWORD"] = "2"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"plain,--model\n"
    assert "_MINROBERTA_COMPLETE=bash_source minroberta" in printed("--help")


def test_the_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["minroberta"].partition(":")
    assert getattr(import_module(module), name) is main


# --- in a new process -----------------------------------------------------------------------------------------------


def test_exit_statuses(model: str) -> None:
    good, bad = start("classify", "a", "--model", model), start("fill-mask", "a", "--model", model)
    out, err = good.communicate(timeout=60)
    assert (good.returncode, err) == (0, b"")
    assert out.startswith(b" score  label  text")
    out, err = bad.communicate(timeout=60)
    assert (bad.returncode, out) == (2, b"")
    assert err.startswith(b"error: ")
    assert err.count(b"\n") == 1


def test_a_broken_pipe_is_quiet(model: str) -> None:
    """Results come line by line, without an error when the reader stops, such as `| head`."""
    process = start("classify", "--json", "--model", model)
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(b"a cup\n" * 200)
    process.stdin.close()
    assert process.stdout.readline().startswith(b"[{")
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for one process")
def test_an_interrupt_is_quiet(model: str) -> None:
    process = start("classify", "--json", "--model", model)
    assert process.stdin and process.stdout
    process.stdin.write(b"a cup\n")
    process.stdin.flush()
    process.stdout.readline()  # it waits for the next line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == b""


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}],
)
def test_utf_8_whatever_the_locale(environment: dict[str, str], model: str) -> None:
    process = start("classify", "--model", model, **environment)
    out, err = process.communicate("日本 naïve\n".encode(), timeout=60)
    assert err == b""
    assert "日本 naïve" in out.decode()


def test_a_full_disk(model: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "minroberta", "info", model]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2
    assert done.stderr == b"error: No space left on device\n"


def test_on_a_terminal(model: str) -> None:
    """A table is as wide as the terminal; without texts, the command does not wait for typing."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "30"}
    command = [sys.executable, "-m", "minroberta", "classify", "--model", model]
    subprocess.run([*command, "cup " * 30], env=environment, stdout=theirs, timeout=60, check=True)
    rows = os.read(ours, 10_000).decode().splitlines()
    assert len(rows[1]) == 30
    assert rows[1].endswith("…")
    done = subprocess.run(command, env=environment, stdin=theirs, capture_output=True, timeout=60)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: no text: ")


# --- notebooks ------------------------------------------------------------------------------------------------------


def test_notebooks_are_copied_and_never_replaced(tmp_path: Path) -> None:
    expected = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert printed("notebooks", str(tmp_path / "new")).splitlines() == [
        str(tmp_path / "new" / p.name) for p in expected
    ]
    for path in expected:
        copy = tmp_path / "new" / path.name
        original, copied = path.read_text(encoding="utf-8"), copy.read_text(encoding="utf-8")
        assert copied == original.replace("](../", "](https://github.com/minroberta/minroberta/blob/main/")
        assert "](../" not in copied  # which would lead out of the folder that Jupyter serves
        copy.write_text("mine")
    (again,) = lines("notebooks", str(tmp_path / "new"))
    assert again["kept"] == again["notebooks"] == [path.name for path in expected]
    assert (tmp_path / "new" / expected[0].name).read_text() == "mine"


def test_a_wheel_has_the_notebooks() -> None:
    """`pyproject.toml` lists each of them."""
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    included = build["targets"]["wheel"]["force-include"]
    names = [path.name for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert included == {f"notebooks/{name}": f"minroberta/notebooks/{name}" for name in names}
