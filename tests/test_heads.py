"""The heads and their losses: what the golden cases do not show."""

import functools
import math

import numpy as np
import pytest
from support import TINY, tiny

from minroberta import Config, Model
from minroberta.weights import flat, shapes, tree

tiny = functools.cache(tiny)
IDS = [[0, 7, 8, 2], [0, 9, 10, 2]]


def changed(model: Model, name: str, by: float) -> Model:
    """The model with one weight moved."""
    arrays = flat(model.params)
    arrays[name] = arrays[name] + by
    return Model(model.config, tree(arrays), model.head)


def test_lm_bias_is_added_once() -> None:
    model = tiny("masked_lm")
    moved = changed(model, "lm_head.bias", 2.0)(IDS).logits - model(IDS).logits
    np.testing.assert_allclose(moved, 2.0, rtol=1e-12)


def test_the_lm_head_is_exact_gelu_whatever_the_activation() -> None:
    """The layers' activation has no effect on the head: the same states give the same logits."""
    from minroberta import heads
    from minroberta.inputs import Inputs

    model, other = tiny("masked_lm"), tiny("masked_lm", hidden_act="relu")
    x = np.random.RandomState(0).standard_normal((1, 3, TINY["hidden_size"]))
    a, b = (heads.masked_lm(x, m.p, m.config, Inputs())["logits"] for m in (model, other))
    np.testing.assert_array_equal(a, b)


def test_a_tied_decoder_follows_the_embedding_and_an_untied_one_does_not() -> None:
    """Only an untied tree holds a decoder; the embedding of a token not in the input moves only tied logits."""
    tied, untied = tiny("masked_lm"), tiny("masked_lm", tie_word_embeddings=False)
    assert "decoder" not in tied.params["lm_head"]
    for model, same in ((tied, False), (untied, True)):
        arrays = flat(model.params)
        table = arrays["embeddings.word_embeddings.weight"].copy()
        table[20] += 1
        arrays["embeddings.word_embeddings.weight"] = table
        assert np.array_equal(Model(model.config, tree(arrays), "masked_lm")(IDS).logits, model(IDS).logits) == same


@pytest.mark.parametrize("head", ["sequence_classification", "encoder"])
def test_classification_and_pooler_take_position_0_padding_or_not(head: str) -> None:
    """In a left-padded input, the state of a `<pad>` is classified."""
    model, name = tiny(head), "logits" if head == "sequence_classification" else "pooler_output"
    left = model([[1, 0, 7, 2]], attention_mask=[[0, 1, 1, 1]])[name]
    right = model([[0, 7, 2, 1]], attention_mask=[[1, 1, 1, 0]])[name]
    assert np.abs(left - right).max() > 1e-3


def test_which_heads_have_a_pooler() -> None:
    """The bare model and multiple choice have a pooler, other heads have none."""
    config = Config.from_dict(TINY)
    with_pooler = [head for head in ("encoder", "masked_lm", "causal_lm", "sequence_classification", "multiple_choice",
                                     "token_classification", "question_answering")
                   if any(name.startswith("pooler") for name in shapes(config, head))]  # fmt: skip
    assert with_pooler == ["encoder", "multiple_choice"]
    bare = {name: x for name, x in flat(tiny("encoder").params).items() if not name.startswith("pooler")}
    assert Model(config, tree(bare), "encoder")(IDS).pooler_output is None


# --- losses ---------------------------------------------------------------------------------------------------------


def test_the_causal_loss_shifts_by_one() -> None:
    """Position l predicts label l + 1, so the first label is not used."""
    model = tiny("causal_lm", is_decoder=True)
    loss = model(IDS, labels=IDS).loss
    other = [[20, *row[1:]] for row in IDS]
    assert model(IDS, labels=other).loss == loss
    logits = model(IDS).logits[:, :-1].reshape(-1, TINY["vocab_size"])
    wanted = np.array(IDS)[:, 1:].reshape(-1)
    expected = np.mean([math.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, wanted, strict=True)])
    assert loss == pytest.approx(expected)


def test_nothing_is_remembered_between_calls() -> None:
    """Hugging Face writes the problem type of its first call into the configuration."""
    model = tiny("sequence_classification", num_labels=3)
    single = model(IDS, labels=[0, 2]).loss
    several = model(IDS, labels=np.array([[1.0, 0, 0], [0, 0, 1.0]])).loss
    assert model.config.problem_type is None
    assert single != several
    assert model(IDS, labels=[0, 2]).loss == single


@pytest.mark.parametrize("outside", [-100, -1])
def test_a_negative_position_is_position_0(outside: int) -> None:
    model = tiny("question_answering")
    loss = model(IDS, start_positions=[outside, 1], end_positions=[2, 2]).loss
    assert loss == model(IDS, start_positions=[0, 1], end_positions=[2, 2]).loss


def test_a_position_past_the_end_is_ignored() -> None:
    model = tiny("question_answering")
    loss = model(IDS, start_positions=[50, 1], end_positions=[4, 2]).loss
    assert loss == pytest.approx(model(IDS[1:], start_positions=[1], end_positions=[2]).loss)
    assert math.isnan(model(IDS, start_positions=[50, 4], end_positions=[1, 2]).loss)


def test_xl_s_token_loss_reads_the_mask() -> None:
    """XL's token loss ignores labels where the attention mask is not 1; Roberta's does not."""
    labels, mask = [[0, 1, 0, 1], [1, 1, 0, 0]], [[1, 1, 1, 0], [1, 1, 1, 1]]
    masked = [[0, 1, 0, -100], [1, 1, 0, 0]]
    for model_type, same in (("roberta", False), ("xlm-roberta-xl", True)):
        model = tiny("token_classification", model_type=model_type)
        a, b = (model(IDS, attention_mask=mask, labels=x).loss for x in (labels, masked))
        assert (a == b) == same


def test_multiple_choice_is_its_choices_one_at_a_time() -> None:
    model = tiny("multiple_choice")
    ids = np.random.RandomState(0).randint(6, 50, (2, 3, 5))
    together = model(ids).logits
    alone = np.stack([model(ids[:, c : c + 1]).logits[:, 0] for c in range(3)], axis=1)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)
