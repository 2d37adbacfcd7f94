"""Tests of `minroberta golden make | suite | show | check`: output, files, exit status."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support import TINY

from minroberta import init, load, trace
from minroberta.cli.app import main
from minroberta.cli.golden import _in_every_wrong_case
from minroberta.testing import golden
from minroberta.testing.cases import CASES

IDS = "0 7 9 11 2"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["golden", *map(str, arguments)], catch_exceptions=False)


def printed(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a masked LM, without a tokenizer."""
    directory = tmp_path_factory.mktemp("model")
    init(TINY, head="masked_lm", seed=5).save(directory)
    return directory


@pytest.fixture
def file(model: Path, tmp_path: Path) -> Path:
    printed("make", model, "-o", tmp_path / "golden.safetensors", "--ids", IDS)
    return tmp_path / "golden.safetensors"


def port(model: Path, directory: Path, **changed: float) -> Path:
    """A port's values in an .npz, some of them times a number."""
    values = trace(load(model), [[int(token) for token in IDS.split()]])
    arrays = {name: value * changed.get(name.replace(".", "_"), 1) for name, value in values.items()}
    np.savez(directory / "port.npz", **arrays)
    return directory / "port.npz"


# --- make -----------------------------------------------------------------------------------------------------------


def test_make_from_ids(file: Path, model: Path) -> None:
    held = golden.load(file)
    assert held.inputs["input_ids"].tolist() == [[0, 7, 9, 11, 2]]
    assert held.head == "masked_lm"
    assert golden.digest(held.model()) == golden.digest(load(model))


def test_make_says_what_its_inputs_cannot_tell(model: Path, tmp_path: Path) -> None:
    result = call("make", model, "-o", tmp_path / "golden.safetensors", "--ids", IDS)
    assert result.stdout == "" and result.stderr.startswith("note: these inputs cannot tell: positions-by-place, ")
    assert result.stderr.endswith("; minroberta.testing.inputs(model) can\n") and result.stderr.count("\n") == 1


def test_make_from_several_rows_and_names(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    printed("make", model, "-o", path, "--ids", "0,7,2", "--ids", "0 9 2", "--names", "embeddings", "--names", "*.self")
    held = golden.load(path)
    assert held.inputs["input_ids"].tolist() == [[0, 7, 2], [0, 9, 2]]
    own = [f"encoder.layer.{i}.attention.self" for i in range(2)]
    assert list(held) == ["embeddings", *own, "logits"]


@pytest.mark.slow
def test_make_from_texts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = ["--text", "Hello world.", "--text", "Hello."]
    printed("make", "minroberta/tiny", "-o", path, *texts, "--names", "embeddings", "--head", "sequence_classification")
    held = golden.load(path)
    assert held.head == "sequence_classification"
    expected = load().tokenize(["Hello world.", "Hello."])
    for name, array in expected.items():
        assert np.array_equal(held.inputs[name], array)


@pytest.mark.slow
def test_make_from_a_seed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    printed("make", "minroberta/tiny", "-o", path, "--ids", IDS, "--names", "embeddings", "--seed", 7)
    held = golden.load(path)
    assert json.loads(held.metadata["weights"]) == {"seed": 7}
    assert held.model().params["lm_head"]["dense"]["weight"].std() == pytest.approx(0.02, rel=0.05)


def makes_itself_again(name: object, tmp_path: Path, *options: str) -> None:
    path = tmp_path / "file"
    printed("make", name, "-o", path, *options)
    before = path.read_bytes()
    _, _, *arguments = shlex.split(golden.load(path).metadata["command"])
    again = tmp_path / "again"
    printed(*[str(again) if argument == "FILE" else argument for argument in arguments])
    assert again.read_bytes() == before


def test_its_command_makes_it_again(model: Path, tmp_path: Path) -> None:
    makes_itself_again(model, tmp_path, "--ids", IDS, "--ids", IDS, "--seed", "7", "--names", "embeddings")


@pytest.mark.slow
def test_its_command_makes_it_again_from_a_text(tmp_path: Path) -> None:
    makes_itself_again("minroberta/tiny", tmp_path, "--text", "It's a cup.", "--names", "encoder.layer.0.*")


def test_make_the_suite(tmp_path: Path) -> None:
    printed("suite", tmp_path / "suite")
    assert len(list((tmp_path / "suite").iterdir())) == len(CASES) + 1


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        ([], "give NAME, -o FILE, and either --text or --ids"),
        (["minroberta/tiny", "--ids", IDS], "give NAME, -o FILE, and either --text or --ids"),
        (["minroberta/tiny", "-o", "file"], "give NAME, -o FILE, and either --text or --ids"),
        (
            ["minroberta/tiny", "-o", "file", "--ids", IDS, "--text", "a"],
            "give NAME, -o FILE, and either --text or --ids",
        ),
        (["minroberta/tiny", "-o", "file", "--ids", "0 a"], "invalid --ids '0 a': give integers"),
        (["minroberta/tiny", "-o", "file", "--ids", "0 99999"], "vocab_size is 8000"),
        (["minroberta/tiny", "-o", "file", "--ids", "0", "--ids", "0 1"], "rows of different lengths"),
        (["minroberta/tiny", "-o", "file", "--ids", "0", "--names", "x"], "unknown name or pattern 'x'"),
        (["minroberta/tiny", "-o", "nowhere/file", "--ids", "0", "--names", "embeddings"], "cannot be written"),
        (["minroberta/tiny", "-o", "file", "--text", "a", "--seed", "1"], "has no tokenizer"),
        (["nothing/here/model", "-o", "file", "--ids", IDS], "nothing/here/model"),
    ],
)
def test_make_says_what_is_wrong(
    options: list[str], telling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert telling in refused("make", *options)
    assert not list(tmp_path.iterdir())


# --- show -----------------------------------------------------------------------------------------------------------


def test_show(file: Path) -> None:
    text = printed("show", file)
    held = golden.load(file)
    for name, said in held.metadata.items():
        assert name == "noise" or re.search(rf"^{name} +{re.escape(said)}$", text, re.MULTILINE)
    assert "input_ids  int32 (1, 5)\n[[ 0  7  9 11  2]]" in text
    table = text.splitlines()[-len(held) - 1 :]
    assert table[0].split() == ["noise", "largest", "dtype", "shape", "name"]
    assert [line.split()[-1] for line in table[1:]] == list(held)


def test_show_as_json(file: Path) -> None:
    shown, held = json.loads(printed("show", file, "--json")), golden.load(file)
    assert shown["inputs"] == {"input_ids": [[0, 7, 9, 11, 2]]}
    assert {row["name"]: row["noise"] for row in shown["values"]} == held.noise
    assert shown["values"][-1]["shape"] == [1, 5, 53]
    assert shown["head"] == "masked_lm"


def test_show_of_something_else(model: Path, tmp_path: Path) -> None:
    assert "is not a golden file of version 1: its format_version is None" in refused(
        "show", model / "model.safetensors"
    )
    assert "does not exist" in refused("show", tmp_path / "nothing")


# --- check ----------------------------------------------------------------------------------------------------------


def test_a_right_port(file: Path, model: Path, tmp_path: Path) -> None:
    assert printed("check", file, port(model, tmp_path))
    assert printed("check", file, file)


def test_a_wrong_port(file: Path, model: Path, tmp_path: Path) -> None:
    """The exit status is 1, and the report is given in each of its forms."""
    candidate = port(model, tmp_path, encoder_layer_1_intermediate=1.01)
    result = call("check", file, candidate, "--html", tmp_path / "report.html")
    assert result.exit_code == 1
    assert "encoder.layer.1.intermediate" in result.stdout
    assert "encoder.layer.1.intermediate" in (tmp_path / "report.html").read_text(encoding="utf-8")
    result = call("check", file, candidate, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["first_bad"] == "encoder.layer.1.intermediate"
    assert json.loads(result.stdout)["findings"] == []


def test_a_known_mistake_has_its_name(file: Path, model: Path, tmp_path: Path) -> None:
    ids = [[int(token) for token in IDS.split()]]
    np.savez(tmp_path / "port.npz", **trace(load(model, config={"hidden_act": "gelu_new"}), ids))
    result = call("check", file, tmp_path / "port.npz")
    assert result.exit_code == 1
    assert "why: gelu-tanh: " in result.stdout
    hurried = call("check", file, tmp_path / "port.npz", "--limit", "0")
    assert "why: none" in hurried.stdout and "give a longer limit" in hurried.stdout


@pytest.mark.parametrize("name", ["weights.encoder.layer.0.output.dense.bias", "values.encoder.layer.1"])
def test_a_damaged_file_is_refused(name: str, file: Path, model: Path, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    length = int.from_bytes(content[:8], "little")
    at = 8 + length + json.loads(content[8 : 8 + length])[name]["data_offsets"][0]
    content[at + 2] ^= 0x41
    (tmp_path / "damaged.safetensors").write_bytes(content)
    said = refused("check", tmp_path / "damaged.safetensors", port(model, tmp_path))
    assert "digests differ" in said or "the golden file is damaged" in said


def test_precision(file: Path, model: Path, tmp_path: Path) -> None:
    candidate = port(model, tmp_path, logits=1.001)
    assert call("check", file, candidate).exit_code == 1
    assert call("check", file, candidate, "--precision", "bfloat16").exit_code == 0


def test_names(file: Path, model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "port.npz", out=golden.load(file)["logits"], other=np.zeros(3))
    (tmp_path / "map.json").write_text('{"out": "logits", "other": null}', encoding="utf-8")
    assert printed("check", file, tmp_path / "port.npz", "--names", tmp_path / "map.json")
    assert printed("check", file, port(model, tmp_path), "--names", "huggingface")


def test_names_and_layouts(file: Path, tmp_path: Path) -> None:
    query = "encoder.layer.0.attention.self.query"
    value = golden.load(file)[query]
    np.savez(tmp_path / "port.npz", q=value.reshape(*value.shape[:2], -1, 6))
    (tmp_path / "map.json").write_text(json.dumps({"q": [query, "b l h e"]}), encoding="utf-8")
    text = printed("check", file, tmp_path / "port.npz", "--names", tmp_path / "map.json")
    assert "in another layout: b l h e, as `names` says" in text


@pytest.mark.parametrize(
    ("content", "telling"),
    [
        (None, "give a JSON file, or one of huggingface, tensorflow, keras_hub, fairseq"),
        ("[]", "must hold a JSON object"),
        ('{"a": 1}', "`names` maps a to 1: give one of minroberta's names, None to leave it out, or a name and"),
        ('{"a": ["logits"]}', "`names` maps a to ['logits']: give one"),
        ('{"logits": ["logits", "b x"]}', "unknown axis 'x' in the layout 'b x' of logits"),
    ],
)
def test_invalid_names(content: str | None, telling: str, file: Path, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "map.json").write_text(content, encoding="utf-8")
    assert telling in refused("check", file, file, "--names", tmp_path / "map.json")


def test_invalid_candidates(file: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused("check", file, tmp_path / "nothing.npz")
    np.savez(tmp_path / "port.npz", nonsense=np.zeros(3))
    assert "nonsense" in refused("check", file, tmp_path / "port.npz")


# --- check a suite --------------------------------------------------------------------------------------------------


@pytest.fixture
def suite(file: Path, tmp_path: Path) -> Path:
    """A suite of two cases with the same call; the second is for bfloat16."""
    directory = tmp_path / "suite"
    directory.mkdir()
    cases = [{"name": name, "file": "one.safetensors", "precision": kind} for name, kind in PRECISIONS.items()]
    (directory / "index.json").write_text(json.dumps({"cases": cases}), encoding="utf-8")
    (directory / "one.safetensors").write_bytes(file.read_bytes())
    return directory


PRECISIONS = {"one": "float32", "two-b": "bfloat16"}


@pytest.fixture
def values(tmp_path: Path) -> Path:
    (tmp_path / "values").mkdir()
    return tmp_path / "values"


def test_a_suite(suite: Path, values: Path, model: Path) -> None:
    port(model, values).rename(values / "one.npz")
    text = printed("check", suite, values)
    assert text.splitlines()[1].split() == ["one", "right", "49", "of", "49"]
    assert text.endswith("\n1 of 1 cases are right, 49 of 49 values.\nNot given: 1 other cases; --json lists them.\n")
    result = json.loads(printed("check", suite, values, "--json"))
    expected = {"name": "one", "ok": True, "values": 49, "right": 49, "first_bad": None, "findings": [], "unknown": []}
    assert result == {"ok": True, "cases": [expected], "in_every_wrong_case": [], "missing": ["two-b"]}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([["a", "b"], ["b", "c"]], ["b"]),
        ([["a", "b"], ["c"]], []),
        ([["a"], []], []),
        ([["a", "b"]], []),  # one case: its row says it
        ([], []),
    ],
)
def test_what_all_wrong_cases_have_in_common(found: list[list[str]], expected: list[str]) -> None:
    right = {"ok": True, "findings": []}
    assert _in_every_wrong_case([right, *({"ok": False, "findings": names} for names in found)]) == expected


def test_a_suite_with_a_wrong_case(suite: Path, values: Path, model: Path) -> None:
    """Each case is judged by its precision, unless another one is given; values may be files of any kind."""
    (values / "two-b").mkdir()
    wrong = np.load(port(model, values, logits=1.001))
    for name, array in wrong.items():
        np.save(values / "two-b" / f"{name}.npy", array)
    (values / "port.npz").rename(values / "one.npz")
    result = call("check", suite, values)
    assert result.exit_code == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1:3] == [
        ["one", "WRONG", "48", "of", "49", "logits", "not", "a", "known", "mistake"],
        ["two-b", "right", "49", "of", "49"],
    ]
    assert lines[4] == ["1", "of", "2", "cases", "are", "right,", "97", "of", "98", "values."]
    result = call("check", suite, values, "--precision", "float32", "--json")
    assert result.exit_code == 1
    assert [case["first_bad"] for case in json.loads(result.stdout)["cases"]] == ["logits", "logits"]


def test_unknown_names_are_listed(suite: Path, values: Path, model: Path) -> None:
    arrays = dict(np.load(port(model, values)))
    (values / "port.npz").unlink()
    np.savez(values / "one.npz", **arrays, **{f"extra.{i}": np.zeros(2) for i in range(6)})
    text = printed("check", suite, values)
    assert "Unknown names, not compared: extra.0, extra.1, extra.2, extra.3, extra.4, …\n" in text
    case = json.loads(printed("check", suite, values, "--json"))["cases"][0]
    assert (case["values"], case["unknown"]) == (49, [f"extra.{i}" for i in range(6)])


def test_candidates_that_do_not_fit_the_suite(suite: Path, values: Path, model: Path) -> None:
    assert "holds no values: write CASE.npz" in refused("check", suite, values)
    assert "is not a directory" in refused("check", suite, values / "nothing")
    assert "--html is for a single golden file" in refused("check", suite, values, "--html", values / "page.html")
    port(model, values)
    assert "unknown case 'port' in" in refused("check", suite, values)
    (values / "port.npz").rename(values / "one.npz")
    (values / "one").mkdir()
    assert "holds values of one twice: one and one.npz" in refused("check", suite, values)


def test_an_error_names_its_case(suite: Path, values: Path) -> None:
    """Also if the error is about names, and not about a file."""
    np.savez(values / "two-b.npz", nonsense=np.zeros(3))
    assert "case two-b: the reference" in refused("check", suite, values)


def test_hidden_directories_are_left_out(suite: Path, values: Path, model: Path) -> None:
    port(model, values).rename(values / "one.npz")
    (values / ".git").mkdir()
    assert printed("check", suite, values)


@pytest.mark.parametrize(
    "case",
    [
        5,
        {},
        {"name": "one", "file": "../one.safetensors", "precision": "float32"},
        {"name": "/one", "file": "one.safetensors", "precision": "float32"},
        {"name": "one", "file": "one.safetensors", "precision": "float8"},
        {"name": "one", "file": "one.safetensors", "precision": []},
        {"name": ["one"], "file": "one.safetensors", "precision": "float32"},
    ],
)
def test_an_index_that_is_not_of_a_suite(case: object, suite: Path, values: Path) -> None:
    (suite / "index.json").write_text(json.dumps({"cases": [case]}), encoding="utf-8")
    assert "is not the index of a suite" in refused("check", suite, values)


def test_a_directory_without_an_index(values: Path) -> None:
    assert "index.json does not exist: `minroberta golden suite" in refused("check", values, values)


# --- and the other commands -----------------------------------------------------------------------------------------


def test_help() -> None:
    text = printed("--help")
    assert [line.split()[0] for line in text.partition("Commands:")[2].strip().splitlines()] == [
        "make",
        "suite",
        "show",
        "check",
    ]
    assert printed() == text
    for command in ("make", "suite", "show", "check"):
        assert max(map(len, printed(command, "--help").splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["--help"], ["info", "minroberta/tiny"]], ids=" ".join)
def test_other_commands_do_not_import_it(arguments: list[str]) -> None:
    """Neither the package nor the command imports `minroberta.testing` unasked."""
    program = f"""
import sys
import minroberta.cli.app
minroberta.cli.app.main({arguments})
print([name for name in sys.modules if name.startswith("minroberta.testing")])
"""
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[-1] == "[]"
