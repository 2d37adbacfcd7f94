"""Tests of the pytest plugin: fixtures, marker, pages, and no cost for sessions that do not use it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minroberta import Model, forward
from minroberta.config import FAMILIES, HEADS
from minroberta.testing.plugin import Oracle
from minroberta.weights import flat
from minroberta_pytest import CASES, safe

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "minroberta_pytest", "-p", "no:cacheprovider", "--strict-markers")

GOOD = """
    def test_good(roberta_oracle):
        model = roberta_oracle("roberta", "masked_lm")
        trace = roberta_oracle.trace(model, **roberta_oracle.inputs(model))
        roberta_oracle.assert_matches(dict(trace), trace)
"""
BAD = """
    import numpy
    import pytest
    from minroberta.testing.asserts import assert_matches

    @pytest.fixture
    def trace(roberta_oracle):
        model = roberta_oracle()
        return roberta_oracle.trace(model, **roberta_oracle.inputs(model))

    def spoilt(trace, factor):
        return {**trace, "logits": trace["logits"] * numpy.float32(factor)}

    def test_bad(trace):
        assert_matches(spoilt(trace, 1.01), trace)

    @pytest.mark.parametrize("factor", [2, 3], ids=["a/b c", "../é"])
    def test_several(trace, factor):
        assert_matches(spoilt(trace, factor), trace)

    def test_expected(trace):
        with pytest.raises(AssertionError):
            assert_matches(spoilt(trace, 2), trace)

    def test_otherwise():
        assert 1 == 2
"""


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest(*PLUGIN, *options)


def pages(pytester: pytest.Pytester) -> list[str]:
    return sorted(path.name for path in (pytester.path / "pages").iterdir())


# --- fixtures -------------------------------------------------------------------------------------------------------


def test_the_fixture_in_a_test(pytester: pytest.Pytester) -> None:
    run(pytester, GOOD).assert_outcomes(passed=1)


@pytest.mark.slow
def test_every_family_with_every_head(pytester: pytest.Pytester) -> None:
    source = """
        seen = set()

        def test_case(roberta_case, roberta_oracle):
            seen.add((roberta_case.model.config.model_type, roberta_case.model.head))
            assert roberta_oracle.assert_matches(dict(roberta_case), roberta_case).ok
            assert (roberta_case.inputs["attention_mask"] == 0).any()

        def test_all():
            assert len(seen) == 42
    """
    run(pytester, source).assert_outcomes(passed=43)


def test_one_case(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        @pytest.mark.parametrize("roberta_case", ["xlm-roberta-xl-encoder"], indirect=True)
        def test_case(roberta_case):
            assert (roberta_case.model.config.model_type, roberta_case.model.head) == ("xlm-roberta-xl", "encoder")
    """
    run(pytester, source).assert_outcomes(passed=1)


def test_cases_are_those_of_the_package() -> None:
    assert tuple(f"{family}-{head}" for family in FAMILIES for head in HEADS) == CASES


@pytest.mark.parametrize("case", CASES)
def test_no_weight_of_a_tiny_model_is_trivial(case: str) -> None:
    """No weight is 0 or 1, so that a missing bias, norm or padding row shows."""
    family, _, head = case.rpartition("-")
    model = Oracle()(family, head)
    assert (model.config.model_type, model.head, model.dtype) == (family, head, "float32")
    for name, weight in flat(model.params).items():
        assert not np.isin(weight, (0, 1)).any(), name
    assert model.config.is_decoder == (head == "causal_lm")


def test_a_seed_and_fields() -> None:
    oracle = Oracle()
    one, same, other = (flat(oracle(seed=seed).params) for seed in (0, 0, 1))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in one)
    model = oracle("camembert", "causal_lm", is_decoder=False, hidden_act="relu")
    assert not model.config.is_decoder and model.config.hidden_act == "relu"


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "fields", [{}, {"pad_token_id": 0}, {"vocab_size": 3}, {"max_position_embeddings": 5}], ids=str
)
def test_inputs(head: str, fields: dict) -> None:
    """Padding is masked, one token is masked as well, and the model accepts the inputs."""
    oracle = Oracle()
    model = oracle("roberta", head, **fields)
    inputs = oracle.inputs(model)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    padding = ids == model.config.pad_token_id
    assert (mask[padding] == 0).all() and (mask[~padding] == 0).sum() == 1
    assert ids.ndim == (3 if head == "multiple_choice" else 2)
    assert len(model(**inputs)) and forward(model.params, model.config, head, **inputs)
    if not fields:
        assert ids.shape[-1] == 12 and padding.any()


def test_the_oracle_traces_and_diagnoses() -> None:
    oracle = Oracle()
    model = oracle()
    inputs = oracle.inputs(model)
    relu = Model(model.config.replace(hidden_act="relu"), model.params, model.head)
    candidate = dict(oracle.trace(relu, **inputs))
    assert oracle.diagnose(model, inputs, dict(oracle.trace(model, **inputs))) == []
    assert [finding.name for finding in oracle.diagnose(model, inputs, candidate)] == ["gelu-relu"]


# --- the marker -----------------------------------------------------------------------------------------------------


def test_the_marker_says_the_precision(pytester: pytest.Pytester) -> None:
    source = """
        import pytest
        from minroberta.testing.asserts import assert_matches

        @pytest.fixture
        def report(roberta_case):
            return assert_matches(dict(roberta_case), roberta_case)

        one = pytest.mark.parametrize("roberta_case", ["roberta-encoder"], indirect=True)

        @one
        @pytest.mark.roberta_precision("float16")
        def test_marked(report, roberta_case):
            assert report.precision == "float16"
            assert assert_matches(dict(roberta_case), roberta_case).precision == "float16"
            assert assert_matches(dict(roberta_case), roberta_case, precision="float32").precision == "float32"

        @one
        def test_not_marked(report):
            assert report.precision == "float32"

        @one
        @pytest.mark.roberta_precision("int8")
        def test_unknown(report):
            pass

        @pytest.mark.roberta_precision()
        def test_nothing():
            pass

        @pytest.mark.roberta_precision("float16")
        class TestMarked:
            @one
            @pytest.mark.roberta_precision("bfloat16")
            def test_nearest(self, report):
                assert report.precision == "bfloat16"

        @one
        def test_afterwards(report):
            assert report.precision == "float32"
    """
    result = run(pytester, source)
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(
        ["*InputError: unknown precision 'int8': give one of *", "roberta_precision takes one name, as in *"]
    )


def test_the_marker_is_known(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest(*PLUGIN, "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.roberta_precision(name): *float16*"])


# --- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", [pytest.param([], id="alone"), pytest.param(["-n", "1"], id="xdist")])
def test_a_page_for_each_mismatch(pytester: pytest.Pytester, options: list[str]) -> None:
    """Only mismatches that fail a test get a page."""
    result = run(pytester, BAD, "--roberta-report=pages", *options)
    result.assert_outcomes(passed=1, failed=4)
    module = "test_a_page_for_each_mismatch.py"
    names = [f"{module}_test_bad", f"{module}_test_several[.._xe9]", f"{module}_test_several[a_b_c]"]
    assert pages(pytester) == [f"{name}.html" for name in names]
    text = (pytester.path / "pages" / f"{names[0]}.html").read_text(encoding="utf-8")
    assert "logits" in text and text.lstrip().lower().startswith("<!doctype html>")
    listed = result.stdout.str().partition("minroberta's reports")[2]
    for name in names:
        assert str(pytester.path / "pages" / f"{name}.html") in listed
    assert f"{module}::test_bad: " in listed and "test_otherwise: " not in listed


@pytest.mark.slow
def test_several_mismatches_of_a_test(pytester: pytest.Pytester) -> None:
    source = (
        BAD
        + """
    def test_parts(trace, subtests):
        for factor in (2, 3):
            with subtests.test(factor=factor):
                assert_matches(spoilt(trace, factor), trace)
    """
    )
    run(pytester, source, "--roberta-report=pages", "-k", "parts")
    assert pages(pytester) == [f"test_several_mismatches_of_a_test.py_test_parts{n}.html" for n in ("-2", "")]


def test_a_test_that_changes_the_directory(pytester: pytest.Pytester) -> None:
    source = BAD.replace(
        "def test_bad(trace):", "def test_bad(trace, monkeypatch, tmp_path):\n        monkeypatch.chdir(tmp_path)"
    )
    run(pytester, source, "--roberta-report=pages", "-k", "bad")
    assert len(pages(pytester)) == 1


def test_no_pages_unless_asked(pytester: pytest.Pytester) -> None:
    result = run(pytester, BAD)
    assert not list(pytester.path.rglob("*.html"))
    assert "minroberta's reports" not in result.stdout.str()
    result.stdout.fnmatch_lines(
        ["E *first wrong at logits (last good lm_head): *; worst at batch *: * where the reference has *"]
    )
    assert "asserts.py:" not in re.sub(r"minroberta\.testing\.asserts", "", result.stdout.str())  # the test's own line


def test_a_directory_that_cannot_be_made(pytester: pytest.Pytester) -> None:
    (pytester.path / "pages").write_text("a file")
    result = run(pytester, GOOD, "--roberta-report=pages/inner")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --roberta-report: cannot create the directory *pages/inner: *"])


def test_names_of_files() -> None:
    assert safe("tests/a.py::Test::test_b[x-1.5/é:?*]") == "tests_a.py_Test_test_b[x-1.5_]"
    one, other = safe("t::" + "a" * 300 + "b"), safe("t::" + "a" * 300 + "c")
    assert one != other and len(one) < 250


# --- what it costs --------------------------------------------------------------------------------------------------


def test_a_session_that_does_not_use_it(tmp_path: Path) -> None:
    """The plugin imports neither the package, nor NumPy, nor anything that pytest has not imported already."""
    (tmp_path / "test_one.py").write_text(
        "import sys\n"
        "def test_one():\n"
        "    print('loaded', *(name for name in sys.modules if name.startswith(('numpy', 'minroberta', 'jax'))))\n"
        "    print('count', len(sys.modules))\n"
    )
    printed = {}
    for options in ([], ["-p", "minroberta_pytest"]):
        command = [sys.executable, "-m", "pytest", "-s", "-q", "-p", "no:cacheprovider"]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        result = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert "1 passed" in result.stdout
        printed[len(options)] = dict(re.findall(r"(loaded|count) ?(.*)", result.stdout))
    assert printed[0]["loaded"] == "" and printed[2]["loaded"] == "minroberta_pytest"
    assert int(printed[2]["count"]) == int(printed[0]["count"]) + 1


@pytest.mark.slow
def test_the_guide(pytester: pytest.Pytester) -> None:
    """The first example of docs/pytest.md fails as the guide shows, and the others pass."""
    pytest.importorskip("jax", reason="the guide's kernel and gradients are JAX's")
    text = (Path(__file__).parents[2] / "docs" / "pytest.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    pytester.makepyfile(**{f"test_block_{number}": block for number, block in enumerate(blocks)})
    result = pytester.runpytest(*PLUGIN)
    result.assert_outcomes(passed=42 + 2 + 1 + 1 + 1, failed=1)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    said = re.sub(r"[-\d.e+]+", "#", result.stdout.str())
    for line in shown.splitlines():
        assert re.sub(r"[-\d.e+]+", "#", line) in said, line
