"""The page of `minroberta explain` in a real browser: its numbers are the trace's, by pointer, touch and keys."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DESKTOP, PHONE, Visit, chromium, contrast, visit
from click.testing import CliRunner

import minroberta
from minroberta import InputError, heads, ops
from minroberta.cli import main
from minroberta.plot import values
from minroberta.plot.page import BEST, MOST, facts, page

TEXT = "The river flows into the <mask> Ocean."
MASK = 7
HEADS = ["masked_lm", "sequence_classification", "token_classification", "question_answering", "encoder"]
FIELDS: dict[str, Any] = {
    "model_type": "roberta",
    "vocab_size": 8000,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "max_position_embeddings": 514,
    "initializer_range": 0.3,
}


def small(head: str = "masked_lm", **fields: Any) -> minroberta.Model:
    """A model with random weights, as many layers and attention heads as roberta-base, and the embedded tokenizer."""
    model = minroberta.init({**FIELDS, **fields}, head=head, seed=1)
    model.tokenizer = minroberta.load().tokenizer
    return model


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def trace() -> minroberta.Trace:
    model = minroberta.load()
    return minroberta.trace(model, **model.tokenize(TEXT))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that the command writes for TEXT."""
    path = tmp_path_factory.mktemp("pages") / "page.html"
    result = CliRunner().invoke(main, ["explain", "minroberta/tiny", TEXT, "-o", str(path)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{path}: 11 tokens, {path.stat().st_size:,} bytes\n"
    return path


def written(path: Path, model: minroberta.Model, text: Any) -> Path:
    path.write_text(page(facts(model, text), "a model"), encoding="utf-8")
    return path


def percents(opened: Visit, selector: str) -> np.ndarray:
    """The numbers that the elements show, as shares of 1."""
    texts = opened.page.locator(selector).all_inner_texts()
    assert texts
    return np.array([float(text.removesuffix("%")) / 100 for text in texts])


def shown(opened: Visit) -> np.ndarray:
    """The share beside each token."""
    return percents(opened, "#tokens small")


def bars(opened: Visit) -> np.ndarray:
    """The height of each token's bar."""
    return np.array(
        [float(x) for x in opened.page.evaluate("[...document.querySelectorAll('#tokens span')].map("
         "(e) => e.style.getPropertyValue('--share'))")]
    )  # fmt: skip


def reading(opened: Visit) -> str:
    return opened.page.locator("#reading").inner_text()


def probs(trace: minroberta.Trace, layer: int, head: int, token: int) -> np.ndarray:
    return trace[f"encoder.layer.{layer}.attention.self.probs"][0, head, token]


HALF = 0.00051
"""A share is shown in thousandths: half of one, and what float32 adds."""


def choose(opened: Visit, group: str, index: int) -> None:
    opened.page.locator(f"#{group} label").nth(index).click()
    opened.page.mouse.move(1, 1)


# --- numbers --------------------------------------------------------------------------------------------------------


def test_the_page_loads_nothing_and_has_no_error(browser: Any, file: Path) -> None:
    with visit(browser, file.as_uri()) as opened:
        for group in ("layers", "heads", "tokens"):
            choose(opened, group, 2)
        assert opened.requests == [file.as_uri()]
        assert opened.errors == []


def test_pointing_at_a_token_shows_what_it_reads(browser: Any, file: Path, trace: minroberta.Trace) -> None:
    with visit(browser, file.as_uri()) as opened:
        for layer, head in ((0, 3), (2, 0), (5, 6)):
            choose(opened, "layers", layer)
            choose(opened, "heads", head)
            for token in (0, 4, 10):
                opened.page.locator("#tokens label").nth(token).hover()
                expected = probs(trace, layer, head, token)
                assert np.abs(shown(opened) - expected).max() <= HALF
                assert np.abs(bars(opened) - expected).max() <= HALF
                most = int(expected.argmax())
                assert reading(opened).startswith(f"Layer {layer}, head {head}: ")
                assert f"reads {name_of(opened, most)} (token {most}) {expected[most]:.1%}" in reading(opened)
            opened.page.mouse.move(1, 1)
            assert np.abs(shown(opened) - probs(trace, layer, head, MASK)).max() <= HALF


def name_of(opened: Visit, token: int) -> str:
    return opened.page.locator("#tokens bdi").nth(token).inner_text()


@pytest.mark.slow
def test_pointing_changes_the_picture(browser: Any, file: Path) -> None:
    with visit(browser, file.as_uri()) as opened:
        picture = "document.querySelector('#map').toDataURL()"
        before = opened.page.evaluate(picture)
        opened.page.locator("#tokens label").nth(2).hover()
        during = opened.page.evaluate(picture)
        opened.page.mouse.move(1, 1)
        assert before != during
        assert opened.page.evaluate(picture) == before


@pytest.mark.slow
def test_a_cell_of_the_map_says_its_share(browser: Any, file: Path, trace: minroberta.Trace) -> None:
    with visit(browser, file.as_uri()) as opened:
        choose(opened, "layers", 0)
        edge, cell = opened.page.evaluate("[EDGE, cellSize()]")
        place = {"x": edge + cell * 4.5, "y": edge + cell * 6.5}
        opened.page.locator("#map").hover(position=place)
        assert "(token 6) reads " in reading(opened)
        assert reading(opened).endswith(f"(token 4) {probs(trace, 0, 0, 6)[4]:.1%}")
        assert np.abs(shown(opened) - probs(trace, 0, 0, 6)).max() <= HALF
        opened.page.locator("#map").click(position=place)
        opened.page.mouse.move(1, 1)
        assert opened.page.locator("#tokens input").nth(6).is_checked()


@pytest.mark.slow
def test_the_map_draws_each_share_as_strong_as_it_is(browser: Any, file: Path, trace: minroberta.Trace) -> None:
    with visit(browser, file.as_uri()) as opened:
        choose(opened, "layers", 3)
        choose(opened, "heads", 5)
        alpha = opened.page.evaluate(
            "(() => { const context = find('#map').getContext('2d'), cell = cellSize(), n = tokens.length;"
            "return [...Array(n * n).keys()].map((k) => context.getImageData(EDGE + (k % n + 0.5) * cell,"
            "EDGE + (Math.floor(k / n) + 0.5) * cell, 1, 1).data[3]); })()"
        )
        expected = trace["encoder.layer.3.attention.self.probs"][0, 5]
        assert np.abs(np.reshape(alpha, expected.shape) / 255 - expected).max() < 0.005


@pytest.mark.slow
def test_guesses_and_sizes_are_those_of_the_chosen_token(browser: Any, file: Path, trace: minroberta.Trace) -> None:
    model, stages = trace.model, ["embeddings", *(f"encoder.layer.{layer}" for layer in range(6))]
    with visit(browser, file.as_uri()) as opened:
        for token in (MASK, 2):
            choose(opened, "tokens", token)
            chances = [ops.softmax(heads.lm_head(trace[s], model.p, model.config))[0, token] for s in stages]
            best = [np.argsort(-row, kind="stable")[:BEST] for row in chances]
            expected = np.concatenate([row[some] for row, some in zip(chances, best, strict=True)])
            assert np.abs(percents(opened, "#guesses small") - expected).max() <= HALF
            words = [model.decode([t]).replace(" ", "·") for some in best for t in some]
            assert opened.page.locator("#guesses bdi").all_inner_texts() == words
            sizes = [np.linalg.norm(trace[s][0, token]) for s in stages]
            said = [float(part.split()[-1]) for part in opened.page.locator("#sizes").inner_text().split(", ")]
            assert np.allclose(said, sizes, rtol=1e-3)
            assert f"(token {token})" in opened.page.locator("#lens .of").inner_text()
            line = opened.page.locator("#stream .chosen").get_attribute("points")
            heights = [float(point.split(",")[1]) for point in line.split()]
            assert np.corrcoef(heights, sizes)[0, 1] < -0.9999  # the larger, the further up


@pytest.mark.slow
def test_the_answer_is_the_models(browser: Any, file: Path) -> None:
    with visit(browser, file.as_uri()) as opened:
        rows = [row.split("\t") for row in opened.page.locator("#answers table").inner_text().splitlines()]
        expected = [(found["token_str"], f"{found['score']:.1%}") for found in minroberta.load().fill_mask(TEXT)]
        assert [(word.replace("·", " "), score) for *_, word, score in rows] == expected
        assert rows[0][0] == f"<mask> (token {MASK})"


# --- without a mouse ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_keys(browser: Any, file: Path, trace: minroberta.Trace) -> None:
    """Tab goes from the layers to the heads to the tokens; arrows choose."""
    with visit(browser, file.as_uri()) as opened:
        press = opened.page.keyboard.press
        press("Tab")
        press("ArrowLeft")
        press("ArrowLeft")
        press("Tab")
        press("ArrowRight")
        press("Tab")
        press("ArrowRight")
        assert reading(opened).startswith(f"Layer 3, head 1: {name_of(opened, MASK + 1)} (token {MASK + 1})")
        assert np.abs(shown(opened) - probs(trace, 3, 1, MASK + 1)).max() <= HALF
        assert opened.style("#tokens input:focus-visible + span", "outlineStyle") == "solid"
        assert f"(token {MASK + 1})" in opened.page.locator("#lens .of").inner_text()


@pytest.mark.slow
def test_roles_and_names(browser: Any, file: Path) -> None:
    with visit(browser, file.as_uri()) as opened:
        for group, count, first in (
            ("Layer", 6, "layer 0"),
            ("Attention head", 8, "head 0"),
            ("Token", 11, "<s> (token 0)"),
        ):
            radios = opened.page.get_by_role("group", name=group, exact=group == "Token").get_by_role("radio")
            assert radios.count() == count
            assert radios.first.get_attribute("aria-label") == first
        assert opened.page.get_by_role("status").inner_text() == reading(opened)
        assert opened.page.get_by_role("main").count() == 1
        assert opened.page.get_by_role("heading", level=1).inner_text() == TEXT
        assert opened.page.get_by_role("img").count() == 2
        assert opened.page.locator("html").get_attribute("lang") == "en"


@pytest.mark.slow
def test_touch(browser: Any, file: Path, trace: minroberta.Trace) -> None:
    with visit(browser, file.as_uri(), PHONE, touch=True) as opened:
        opened.page.locator("#layers label").nth(1).tap()
        opened.page.locator("#heads label").nth(4).tap()
        opened.page.locator("#tokens label").nth(3).tap()
        assert np.abs(shown(opened) - probs(trace, 1, 4, 3)).max() <= HALF


# --- how it looks ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [PHONE, (320, 600), DESKTOP])
def test_no_scrolling_sideways(browser: Any, file: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    model = minroberta.load()
    model.tokenizer.add_tokens("x" * 200)
    model = model.resize_token_embeddings(len(model.tokenizer))
    long = written(tmp_path / "long.html", model, "x" * 200 + " Ocean." * 65)
    for path in (file, long):
        with visit(browser, path.as_uri(), size) as opened:
            assert opened.sideways() == 0
            assert opened.errors == []


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_contrast(browser: Any, file: Path, dark: bool) -> None:
    with visit(browser, file.as_uri(), dark=dark) as opened:
        paper = opened.style("body", "backgroundColor")
        assert contrast(paper, "rgb(0, 0, 0)" if dark else "rgb(255, 255, 255)") < 1.3
        for selector in ("h1", "p", "p.dim", "#tokens small", "#guesses td", "legend", "#reading"):
            assert contrast(opened.style(selector, "color"), paper) >= 4.5, selector
        bar = np.array([63, 143, 210]) * 0.42 + 0.58 * np.array([int(x) for x in re.findall(r"\d+", paper)])
        assert (
            opened.page.evaluate("getComputedStyle(find('main')).getPropertyValue('--bar')") == "rgb(63 143 210 / .42)"
        )
        full = f"rgb({', '.join(str(round(x)) for x in bar)})"
        assert contrast(opened.style("#tokens small", "color"), full) >= 4.5
        assert contrast(opened.style("#tokens input:checked + span", "borderTopColor"), paper) >= 3
        assert contrast(opened.style("#stream .chosen", "stroke"), paper) >= 3


# --- what is on it --------------------------------------------------------------------------------------------------


def test_a_sentence_in_a_model_like_roberta_base_is_small() -> None:
    found = facts(small(), "The river flows into the <mask> Ocean now.")
    assert np.shape(found["shares"]) == (12, 12, 12, 12)
    assert np.shape(found["guesses"]) == (12, 13, BEST, 2)
    assert len(page(found, "a model").encode()) < 300_000


def test_a_text_that_is_too_long_gets_a_sentence() -> None:
    model = small()
    most = int((MOST / 144) ** 0.5)
    with pytest.raises(InputError, match=f"at most {most} tokens of this model, and this one has 102: cut it"):
        facts(model, " a" * 100)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_every_head(browser: Any, head: str, tmp_path: Path) -> None:
    model = minroberta.load(head=head) if head != "encoder" else small("encoder")
    text = ("Who built it?", "It was built by Anna.") if head == "question_answering" else "She built it."
    with visit(browser, written(tmp_path / "page.html", model, text).as_uri()) as opened:
        assert opened.errors == []
        assert opened.page.locator("#lens").is_visible() == (head == "masked_lm")
        said = opened.page.locator("#answers").inner_text()
        rows = [row.split("\t") for row in said.splitlines()]
        if head == "sequence_classification":
            best = model.classify(text)[0]
            assert rows[0] == [best["label"], f"{best['score']:.1%}"]
        elif head == "token_classification":
            tags = {tag["word"]: tag["entity"] for tag in model.tag(text)}
            assert len(rows) == opened.page.locator("#tokens label").count()
            assert [row[1] for row in rows if "built" in row[0]] == [tags["built"]]
        elif head == "question_answering":
            starts = minroberta.trace(model, **model.tokenize(*text)).output.start_logits[0]
            assert rows[0][0] == "start of the answer"
            assert f"(token {starts.argmax()})" in rows[0][1]
        else:
            without = {"encoder": "This head gives vectors.", "masked_lm": "There is no mask in this text."}
            assert said.startswith(without[head])


@pytest.mark.slow
def test_a_decoder(browser: Any, tmp_path: Path) -> None:
    model = small("causal_lm", is_decoder=True)
    found = facts(model, "She built it.")
    assert found["chosen"] == len(found["tokens"]) - 1
    assert found["tokens"][-1] == "."  # and not </s>
    assert found["answers"][0][0] == "the next token"
    run = minroberta.trace(model, model.tokenize("She built it.")["input_ids"][:, :-1])  # no </s>, as for `generate`
    assert found["answers"][0][1] == values.name_of(run, int(run.output.logits[0, -1].argmax()))
    assert [[name, f"{share / 10:.1f}%"] for name, share in found["guesses"][-1][-1]] == [
        list(answer[1:]) for answer in found["answers"]
    ]
    with visit(browser, written(tmp_path / "page.html", model, "She built it.").as_uri()) as opened:
        choose(opened, "tokens", 0)
        assert shown(opened).tolist() == [1.0, *[0.0] * (len(found["tokens"]) - 1)]


@pytest.mark.slow
def test_choices_and_layers_of_fewer_heads(browser: Any, tmp_path: Path) -> None:
    found = facts(small("multiple_choice"), "She built it.")
    assert found["answers"] == "This head compares choices. One text alone has no answer."
    model = minroberta.load().prune_heads({0: [0, 1, 2], 5: [7]})
    with visit(browser, written(tmp_path / "page.html", model, TEXT).as_uri()) as opened:
        choose(opened, "heads", 6)
        choose(opened, "layers", 0)
        assert opened.page.locator("#heads label").count() == 5
        assert reading(opened).startswith("Layer 0, head 4: ")
        assert opened.errors == []


def test_values_that_are_not_finite_are_refused() -> None:
    model = small()
    model.params["embeddings"]["LayerNorm"]["weight"] = np.full(24, np.nan, "float32")
    with pytest.raises(InputError, match="values that are not finite"):
        facts(model, "She built it.")


def test_no_text_ends_the_script_or_starts_an_element(browser: Any, tmp_path: Path) -> None:
    """A token may be `</script>`, or a label an image."""
    model = minroberta.load()
    evil = "</script><img src=x onerror=alert(1)>"
    model.tokenizer.add_tokens([evil, "<!--<script>"])
    model = model.resize_token_embeddings(len(model.tokenizer))
    text = f"The {evil} and <!--<script> and <mask>."
    with visit(browser, written(tmp_path / "page.html", model, text).as_uri()) as opened:
        names = opened.page.locator("#tokens bdi").all_inner_texts()
        assert evil in names
        assert "<!--<script>" in names
        assert opened.page.locator("img").count() == 0
        assert opened.page.locator("h1").inner_text() == text
        assert opened.page.title() == text
        assert len(opened.requests) == 1
        assert opened.errors == []


# --- the command ----------------------------------------------------------------------------------------------------


def test_a_wheel_has_the_page() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling makes the wheel")
    files = wheel.WheelBuilder(str(Path(__file__).parents[1])).recurse_included_files()
    assert "minroberta/plot/page.html" in {Path(file.distribution_path).as_posix() for file in files}


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    arguments = ["explain", "minroberta/tiny", "It <mask>.", "--json", "-o", str(path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["output"] == str(path)
    assert said["bytes"] == path.stat().st_size
    assert said["tokens"] == ["<s>", "It", "<mask>", ".", "</s>"]
    assert said["answers"][0][0] == "<mask> (token 2)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minroberta/tiny", "a"], "Missing option '-o' / '--output'"),
        (["minroberta/tiny", " a" * 200, "-o", "x.html"], "at most 144 tokens"),
        (["minroberta/tiny", "a", "-o", "no/such/x.html"], "x.html: No such file or directory"),
        (["minroberta/tiny", "a", "--head", "multiple_choice", "-o", "x.html"], "has no head 'multiple_choice'"),
        (["minroberta/tiny", " ", "-o", "x.html"], "the text is empty"),
        (["minroberta/tiny", "Who?", "--head", "question_answering", "-o", "x.html"], "give it as a second text"),
    ],
)
def test_bad_input_gets_a_sentence(arguments: list[str], message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["explain", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("x.html").exists()
