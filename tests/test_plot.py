"""Pictures: what they draw equals the trace's values; their names, their errors, and an error without matplotlib."""

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

import minroberta
from minroberta import InputError, NameUnknownError, heads, ops
from minroberta.plot import STYLE, values
from minroberta.testing import compare
from minroberta.text.tokenizer import Tokenizer

matplotlib = pytest.importorskip("matplotlib", reason='pictures are tested where matplotlib is: pip install ".[plot]"')
from minroberta import plot  # noqa: E402
from minroberta.plot.canvas import Picture  # noqa: E402

ROOT = Path(__file__).parents[1]
TEXT = "The river flows into the <mask> Ocean, $."
FIELDS: dict[str, Any] = {
    "model_type": "roberta",
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "initializer_range": 0.3,
}
IDS = [[0, 5, 6, 7, 2], [0, 8, 2, 1, 1]]
MASK = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


@pytest.fixture(scope="module")
def trace() -> minroberta.Trace:
    model = minroberta.load()
    return minroberta.trace(model, **model.tokenize(["A text before it.", TEXT]))


def small(head: str = "masked_lm", **fields: Any) -> minroberta.Model:
    return minroberta.init({**FIELDS, **fields}, head=head, seed=1)


def names(ticks: Any) -> list[str]:
    return [label.get_text() for label in ticks]


def drawn(ax: Any) -> np.ndarray:
    """The matrix that an Axes shows."""
    (image,) = ax.get_images()
    return np.asarray(image.get_array())


# --- attention ------------------------------------------------------------------------------------------------------


def test_attention(trace: minroberta.Trace) -> None:
    picture = plot.attention(trace, 2, 3, text=1)
    ax, bar = picture.axes
    probs = trace["encoder.layer.2.attention.self.probs"][1, 3]
    assert (drawn(ax) == probs).all()
    assert ax.get_title(loc="left") == "Layer 2, head 3: who reads whom"
    assert names(ax.get_yticklabels()) == names(ax.get_xticklabels()) == [
        "<s>", "The", "·river", "·fl", "ows", "·into", "·the", "<mask>", "·Ocean", ",", r"·\$", ".", "</s>"
    ]  # fmt: skip
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("this token reads ...", "... from this one")
    assert bar.get_ylabel() == "share of attention"
    assert ax.get_images()[0].get_clim() == (0, probs.max())


def test_all_heads_of_a_layer_share_a_scale(trace: minroberta.Trace) -> None:
    picture = plot.heads(trace, 1, text=1)
    *panels, bar = picture.axes
    probs = trace["encoder.layer.1.attention.self.probs"][1]
    assert len(panels) == len(probs) == 8
    for head, ax in enumerate(panels):
        assert (drawn(ax) == probs[head]).all()
        assert ax.get_title(loc="left") == f"head {head}"
        assert ax.get_images()[0].get_clim() == (0, probs.max())
    assert bar.get_ylabel() == "share of attention"


def test_heads_that_do_not_fill_a_row() -> None:
    picture = plot.heads(minroberta.trace(small(hidden_size=40, num_attention_heads=5), IDS), 0)
    assert [ax.get_visible() for ax in picture.axes] == [True] * 5 + [False] * 3 + [True]


def test_cross_attention() -> None:
    model = small("causal_lm", is_decoder=True, add_cross_attention=True)
    states = np.random.default_rng(0).normal(size=(2, 7, 32)).astype("float32")
    run = minroberta.trace(model, IDS, encoder_hidden_states=states)
    ax = plot.attention(run, 1, 2, text=1, across=True).axes[0]
    assert (drawn(ax) == run["encoder.layer.1.crossattention.self.probs"][1, 2]).all()
    assert names(ax.get_xticklabels()) == list("0123456")
    assert names(ax.get_yticklabels()) == ["0", "8", "2", "1", "1"]
    assert "cross-attention head 2" in ax.get_title(loc="left")
    assert len(plot.heads(run, 1, across=True).axes) == 4 + 1


def test_keys_in_a_cache_have_names() -> None:
    model = small("causal_lm", is_decoder=True)
    first = model([[0, 5, 6]])
    run = minroberta.trace(model, [[7, 8]], past_key_values=first.past_key_values)
    ax = plot.attention(run, 0, 0).axes[0]
    assert names(ax.get_xticklabels()) == ["past 0", "past 1", "past 2", "7", "8"]


# --- the stream -----------------------------------------------------------------------------------------------------


def guesses_in(ax: Any) -> list[tuple[str, str]]:
    return [tuple(text.get_text().split("\n")) for text in ax.texts]


def test_lens(trace: minroberta.Trace) -> None:
    ax, bar = plot.lens(trace, text=1, top=4).axes
    model, position = trace.model, 7
    assert trace.inputs["input_ids"][1, position] == model.tokenizer.mask_token_id
    stages = ["embeddings", *(f"encoder.layer.{layer}" for layer in range(6))]
    for row, stage in enumerate(stages):
        probs = ops.softmax(heads.lm_head(trace[stage], model.p, model.config))[1, position]
        best = np.argsort(-probs)[:4]
        assert np.allclose(drawn(ax)[row], probs[best], rtol=1e-4)
        words = [(model.decode([t]).replace(" ", "·"), f"{probs[t]:.1%}") for t in best]
        assert guesses_in(ax)[4 * row : 4 * row + 4] == words
    answer = ops.softmax(trace.output.logits[1, position])
    assert np.allclose(drawn(ax)[-1], np.sort(answer)[::-1][:4], rtol=1e-4)
    assert names(ax.get_yticklabels()) == ["embeddings", *(f"after layer {layer}" for layer in range(6))]
    assert "<mask> (token 7)" in ax.get_title(loc="left")
    assert bar.get_ylabel() == "probability"


@pytest.mark.parametrize("family", ["roberta", "roberta-prelayernorm", "xlm-roberta-xl"])
def test_the_last_guess_is_the_answer_in_either_norm_order(family: str) -> None:
    """Pre-LN's states go through the final norm, wherever the family has it."""
    run = minroberta.trace(small(model_type=family), IDS, attention_mask=MASK)
    ax = plot.lens(run, 2, top=60).axes[0]
    expected = np.sort(ops.softmax(run.output.logits[0, 2]))[::-1]
    assert np.allclose(drawn(ax)[-1], expected, rtol=1e-4)


def test_a_decoder_guesses_after_its_last_token() -> None:
    run = minroberta.trace(small("causal_lm", is_decoder=True), IDS)
    ax = plot.lens(run, top=1).axes[0]
    answer = run.output.logits[0, -1]
    assert guesses_in(ax)[-1][0] == str(answer.argmax())
    assert "(token 4)" in ax.get_title(loc="left")


@pytest.mark.parametrize("family", ["roberta", "roberta-prelayernorm"])
def test_norms(family: str) -> None:
    run = minroberta.trace(small(model_type=family), IDS)
    (ax,) = plot.norms(run, text=1).axes
    states = [run["embeddings"], *(run[f"encoder.layer.{layer}"] for layer in range(3))]
    sizes = np.sqrt(np.stack([(x[1].astype(float) ** 2).sum(-1) for x in states]))  # (stages, L)
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert np.allclose(np.stack([line.get_ydata() for line in ax.lines[:5]], -1), sizes, rtol=1e-5)
    assert np.allclose(lines["mean of all tokens"], sizes.mean(1), rtol=1e-5)
    (label,) = (label for label in lines if label.startswith("the largest"))
    name, token = re.fullmatch(r"the largest: (\d) \(token (\d)\)", label).groups()
    assert name == str(IDS[1][int(token)])
    assert np.allclose(lines[label], sizes[:, int(token)], rtol=1e-5)
    assert np.isclose(max(lines[label]), sizes.max(), rtol=1e-5)
    assert ax.get_ylim()[0] == 0
    assert names(ax.get_xticklabels())[:2] == ["embeddings", "after layer 0"]


# --- the oracle -----------------------------------------------------------------------------------------------------


def test_a_very_large_error() -> None:
    run = minroberta.trace(small(), IDS[:1])
    far = dict(run) | {"embeddings": run["embeddings"] + 1e15}
    (ax,) = plot.error(compare(run, far)).axes
    assert ax.get_ylim()[1] > 1e15


def test_error() -> None:
    model, port = small(), small(hidden_act="gelu_new")
    report = compare(minroberta.trace(model, IDS[:1]), dict(minroberta.trace(port, IDS[:1])))
    (ax,) = plot.error(report).axes
    lines = {line.get_label(): line for line in ax.lines}
    whole = np.array([row.multiple for row in report.rows])
    assert np.allclose(lines["total error of a value"].get_ydata(), np.maximum(whole, 0.1))
    wrong = [(index, row.error) for index, row in enumerate(report.rows) if row.verdict == "wrong"]
    assert wrong and np.allclose(np.transpose(lines["wrong"].get_data()), wrong)
    alone = [(i, max(row.alone, 0.1)) for i, row in enumerate(report.rows) if row.alone is not None and row.ok]
    assert np.allclose(np.transpose(lines["error of its step alone"].get_data()), alone)
    assert ax.get_title(loc="left") == f"First wrong at {report.first_bad}"
    assert names(ax.get_xticklabels()) == ["embeddings", "layer 0", "layer 1", "layer 2", "head"]
    assert ax.get_yscale() == "log"
    assert max(whole) < ax.get_ylim()[1]


def test_an_infinite_error_and_another_shape_are_at_the_top() -> None:
    run = minroberta.trace(small(), IDS[:1])
    port = {**run, "encoder.layer.0": run["encoder.layer.0"] * np.float32("nan"), "logits": run["logits"][:, :2]}
    (ax,) = plot.error(compare(run, port)).axes
    lines = {line.get_label(): line for line in ax.lines}
    assert ax.get_ylim()[1] in lines["wrong"].get_ydata()
    assert list(lines["different layout or shape"].get_ydata()) == [ax.get_ylim()[1]]


def test_a_right_report_has_no_marks() -> None:
    run = minroberta.trace(small(), IDS[:1])
    (ax,) = plot.error(compare(run, dict(run))).axes
    assert "wrong" not in {line.get_label() for line in ax.lines}
    assert "right" in ax.get_title(loc="left")


# --- a matrix -------------------------------------------------------------------------------------------------------


def blank() -> Any:
    return Picture().subplots()


def test_colours_follow_the_numbers() -> None:
    mixed = plot.matrix(blank(), [[1.0, -3.0]], "a title", ["row"], ["x", "$y"], labels=("down", "along"))
    assert (mixed.get_clim(), mixed.get_cmap().name) == ((-3, 3), "RdBu_r")
    assert names(mixed.axes.get_xticklabels()) == ["x", r"\$y"]
    assert (mixed.axes.get_ylabel(), mixed.axes.get_xlabel()) == ("down", "along")
    positive = plot.matrix(blank(), [[1.0, 3.0]], "")
    assert (positive.get_clim(), positive.get_cmap().name) == ((0, 3), "Blues")
    assert plot.matrix(blank(), [[1.0, 3.0]], "", low=-1, high=2).get_clim() == (-1, 2)
    assert plot.matrix(blank(), [[0.0]], "", high=1).get_clim() == (0, 1)


def test_masked_numbers_are_grey() -> None:
    """A mask's lowest number does not decide the colours of the others."""
    numbers = [[1.0, 2.0, np.finfo("float32").min, -np.inf, np.nan]]
    image = plot.matrix(blank(), np.float32(numbers), "")
    assert image.get_array().mask.tolist() == [[False, False, True, True, True]]
    assert image.get_clim() == (0, 2)
    assert image.axes.get_facecolor()[:3] == (0.85, 0.85, 0.85)


def test_names_without_room_are_left_out() -> None:
    ax = plot.matrix(blank(), np.ones((200, 2)), "", [f"name {i}" for i in range(200)]).axes
    shown = names(ax.get_yticklabels())
    every = math.ceil(200 / len(shown))
    assert 5 < len(shown) < 40
    assert shown == [f"name {i}" for i in range(0, 200, every)]
    assert [int(y) for y in ax.get_yticks()] == list(range(0, 200, every))


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_arrays_of_another_library(dtype: str) -> None:
    xp = pytest.importorskip("jax.numpy", reason="JAX is the other library")
    model = minroberta.init(FIELDS, head="masked_lm", seed=1, xp=xp, dtype=dtype)
    run = minroberta.trace(model, IDS)
    probs = np.asarray(run["encoder.layer.0.attention.self.probs"].astype("float32"))
    assert (drawn(plot.attention(run, 0, 1).axes[0]) == probs[0, 1]).all()
    assert drawn(plot.matrix(blank(), run["encoder.layer.0"][0], "").axes).shape == (5, 32)
    last = np.sort(ops.softmax(np.asarray(run.output.logits.astype("float32"))[0, 2]))[::-1]
    assert np.allclose(drawn(plot.lens(run, 2, top=60).axes[0])[-1], last, rtol=0.1 if dtype == "bfloat16" else 1e-4)
    plot.norms(run)


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_of_tokens() -> None:
    model = minroberta.load()
    names = values.tokens(minroberta.trace(model, **model.tokenize("caf\u00e9 \u5c71\n\u202e")))
    assert names[:2] == ["<s>", "c"]
    assert "".join(names).isprintable()
    assert r"\n" in names
    assert not any("\ufffd" in name for name in names)
    assert values.token_name(model.tokenizer, 7999) == "<mask>"
    assert values.token_name(model.tokenizer, 8000) == "8000"  # an id that the vocabulary lacks


def test_names_in_a_sentencepiece_vocabulary() -> None:
    """Its decoder drops the space before a first word, and its entries have it as another character."""
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"▁river": 0, "s": 1, "▁": 2}, unk_token="s"))
    library.decoder = tokenizers.decoders.Metaspace()
    tokenizer = Tokenizer(library, minroberta.Config())
    assert [values.token_name(tokenizer, token) for token in range(3)] == ["·river", "s", "·"]


def test_names_without_a_tokenizer_or_ids() -> None:
    model = small()
    assert values.tokens(minroberta.trace(model, IDS), 1) == ["0", "8", "2", "1", "1"]
    embeds = np.ones((1, 3, 32), "float32")
    assert values.tokens(minroberta.trace(model, inputs_embeds=embeds)) == ["0", "1", "2"]


def test_names_of_choices() -> None:
    run = minroberta.trace(small("multiple_choice"), [IDS])  # (B, C, L)
    assert values.tokens(run, 1) == ["0", "8", "2", "1", "1"]


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda run: plot.attention(run, 6, 0), "layer must be an integer from 0 to 5, not 6"),
        (lambda run: plot.attention(run, -1, 0), "layer must be an integer from 0 to 5, not -1"),
        (lambda run: plot.attention(run, 0, 8), "head must be an integer from 0 to 7, not 8"),
        (lambda run: plot.heads(run, 0, text=2), "text must be an integer from 0 to 1, not 2"),
        (lambda run: plot.norms(run, text=2), "text must be an integer from 0 to 1, not 2"),
        (lambda run: plot.lens(run, 99), "position must be an integer from 0 to 12, not 99"),
        (lambda run: plot.lens(run, text=0), "no mask token is known in this text: give position=, an integer"),
        (lambda run: plot.lens(run, text=1, top=0), "top must be an integer from 1 to 8000, not 0"),
        (lambda run: plot.attention(dict(run), 0, 0), "a Trace is needed, not dict: make one with minroberta.trace"),
        (lambda run: plot.error(run), "error takes a Report, not Trace: make one with minroberta.testing.compare"),
        (lambda run: plot.matrix(blank(), [1, 2], ""), r"not one of shape \(2,\)"),
        (lambda run: plot.matrix(blank(), [[1, 2]], "", columns="a"), "1 names were given for 2 columns"),
    ],
)
def test_bad_input_gets_a_sentence(trace: minroberta.Trace, draw: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(trace)


def test_a_head_without_a_vocabulary_has_no_lens() -> None:
    run = minroberta.trace(small("sequence_classification"), IDS)
    with pytest.raises(InputError, match="head 'sequence_classification' guesses no tokens: load a model with"):
        plot.lens(run, 0)


def test_a_value_that_was_not_computed(trace: minroberta.Trace) -> None:
    with pytest.raises(NameUnknownError, match=r"no value named 'encoder\.layer\.0\.crossattention\.self\.probs'"):
        plot.attention(trace, 0, 0, across=True)


# --- matplotlib -----------------------------------------------------------------------------------------------------


def test_the_style_is_one_that_matplotlib_takes() -> None:
    with matplotlib.rc_context(STYLE):
        colours = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
        assert len(set(colours)) == 7
        assert matplotlib.rcParams["axes.titlelocation"] == "left"


def test_a_notebook_shows_a_picture_and_pyplot_is_left_alone(trace: minroberta.Trace) -> None:
    picture = plot.norms(trace)
    assert isinstance(picture, matplotlib.figure.Figure)
    assert picture._repr_png_().startswith(b"\x89PNG")
    script = (
        "import sys, minroberta; from minroberta import plot; assert 'matplotlib' not in sys.modules; "
        "model = minroberta.load(); plot.norms(minroberta.trace(model, [[0, 5, 2]]))._repr_png_(); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert python(script).stdout == "False\n"


def test_without_matplotlib_an_error_names_the_extra() -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import minroberta\nfrom minroberta import plot\n"
        "try: plot.norms(minroberta.trace(minroberta.load(), [[0, 5, 2]]))\n"
        "except ImportError as error: print(isinstance(error, minroberta.Error), error)"
    )
    assert python(script).stdout == 'True pictures need matplotlib: pip install "minroberta[plot]"\n'


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
