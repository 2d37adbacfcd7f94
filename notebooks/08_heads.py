# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8. Seven heads and their losses: one body, how many answers?
#
# The body of a RoBERTa gives a vector for each token, and no answer to anything. A *head* is a small last part that
# turns these vectors into an answer: a word, a label, a span of text. There are seven. Here we open each of them, ask
# which labels mean which loss and what is ignored, and train a head in seconds.
#
# This takes about 25 minutes. Read [1. One sentence](01_walkthrough.ipynb) and
# [7. Training](07_training.ipynb) first. In this notebook, a *head* is never a head of attention.

# %%
import itertools
import math
import warnings

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import activations, ops, plot
from minroberta.config import HEADS, PRESETS, Config
from minroberta.exercises.heads import check
from minroberta.train import Part, dropout_at
from minroberta.tuning import Example, fine_tune, label_fields, with_new_head
from minroberta.weights import flat, head_shapes, shapes

np.set_printoptions(precision=3, suppress=True, linewidth=110)
plt.rcParams.update(plot.STYLE)


# %%
def same(ours, theirs):
    """True if two arrays are equal but for rounding in float32."""
    return ours.shape == theirs.shape and np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


# %% [markdown]
# ## One body
#
# We load the embedded model once with each head. Its file has all weights but those of the pooler and of the head for
# choices, which get random ones. The body is the same in all seven.

# %%
settings = {"causal_lm": {"is_decoder": True}}  # so that no token sees later ones
models = {head: minroberta.load(head=head, missing="init", config=settings.get(head, {})) for head in HEADS}
model = models["masked_lm"]
D, V = model.config.hidden_size, model.config.vocab_size

for name, w in flat(models["encoder"].params).items():
    assert all((flat(other.params)[name] == w).all() for other in models.values())
print(*HEADS)

# %%
text = "The river flows into the <mask> Ocean."
batch = model.tokenize([text, "Rivers <mask> water."])
ids, mask = batch["input_ids"], batch["attention_mask"]
B, L = ids.shape

x = models["encoder"](**batch).last_hidden_state  # (B, L, D): what all heads read
assert x.shape == (B, L, D)

# %% [markdown]
# ## Seven shapes
#
# N is the number of labels, V that of tokens, C that of choices. What a head gives, and how many weights it adds:
#
# | head | reads | output | weights of its own |
# |---|---|---|---|
# | `encoder` | all, and position 0 | `last_hidden_state` (B, L, D), `pooler_output` (B, D) | D² + D, or none |
# | `masked_lm`, `causal_lm` | all | `logits` (B, L, V) | D² + D + 2D + V |
# | `token_classification` | all | `logits` (B, L, N) | N·D + N |
# | `question_answering` | all | `start_logits`, `end_logits` (B, L) each | 2·D + 2 |
# | `sequence_classification` | position 0 | `logits` (B, N) | D² + D + N·D + N |
# | `multiple_choice` | position 0 | `logits` (B, C) | D² + D + D + 1 |

# %%
of_pooler, of_lm = D * D + D, D * D + D + 2 * D + V
kinds = models["token_classification"].config.num_labels  # 17 kinds of words; 2 labels of a text
expected = {"masked_lm": of_lm, "causal_lm": of_lm, "multiple_choice": of_pooler + D + 1,
            "sequence_classification": D * D + D + 2 * D + 2, "token_classification": kinds * D + kinds,
            "question_answering": 2 * D + 2}  # fmt: skip
for head, count in expected.items():
    names = head_shapes(models[head].config, head)
    assert count == sum(math.prod(shape) for shape in names.values())
    print(f"{head:<24}{count:>7,}  {', '.join(name for name in names if name.endswith('weight'))}")

# %% [markdown]
# Set against the body, a head is next to nothing. These are the counts of roberta-base, with two labels.

# %%
real = Config.from_dict(PRESETS["roberta-base"])
counts = {head: sum(math.prod(shape) for shape in shapes(real, head).values()) for head in HEADS}
for head, count in counts.items():
    print(f"{head:<24}{count:>12,}")

assert counts["masked_lm"] == 124_697_433
assert counts["encoder"] == 124_645_632  # with the pooler
assert counts["token_classification"] == 124_055_040 + 2 * 768 + 2  # the body alone, and its head

# %% [markdown]
# ## A label for each token, and a span
#
# The two simplest heads are one linear map, from D numbers to N, at each position. For questions N is 2: each token
# gets a score as the *start* of the answer, and one as its *end*. The softmax is then taken over the L positions of a
# text, not over labels. The names of the weights are `classifier` and `qa_outputs`.

# %%
tagger, reader = models["token_classification"], models["question_answering"]
tags = x @ tagger.p.classifier.weight.T + tagger.p.classifier.bias  # (B, L, D) -> (B, L, N)
spans = x @ reader.p.qa_outputs.weight.T + reader.p.qa_outputs.bias  # (B, L, D) -> (B, L, 2)

output = reader(**batch)
assert same(tags, tagger(**batch).logits)
assert same(spans[..., 0], output.start_logits)
assert same(spans[..., 1], output.end_logits)

# %% [markdown]
# An answer is a *pair* of positions. The best start and the best end need not fit together: the end may stand first. So
# all pairs are compared, and the one with the largest sum is taken of those that do not end before they start.

# %%
starts, ends = np.array([0.0, 4.0, 1.0]), np.array([5.0, 1.0, 3.0])
sums = np.where(np.triu(np.ones((3, 3))) == 1, starts[:, None] + ends, -np.inf)  # (L, L): start, end
start, end = np.unravel_index(sums.argmax(), sums.shape)
print(f"the best start is {starts.argmax()}, the best end {ends.argmax()}; together {start} to {end}")

assert (start, end) == (1, 2)
assert starts.argmax() > ends.argmax()

# %% [markdown]
# ## A token for each position
#
# The head of the language models is larger: linear, gelu, norm, and a *decoder* to V scores. The decoder's weight is
# the table of word embeddings itself: the two are *tied*, and the head adds only a bias of V numbers, `lm_head.bias`.
# (transformers also calls it `lm_head.decoder.bias`; it is the same one, to be added once.) The gelu is the exact one,
# even if the layers use another.

# %%
head, table = model.p.lm_head, model.p.embeddings.word_embeddings.weight  # (V, D)
hidden = activations.gelu(ops.linear(x, **head.dense.tree))  # (B, L, D)
hidden = ops.layer_norm(hidden, **head.layer_norm.tree, eps=model.config.layer_norm_eps)
scores = hidden @ table.T + head.bias  # (B, L, D) @ (D, V) -> (B, L, V)

assert same(scores, model(**batch).logits)
assert "lm_head.decoder.weight" not in flat(model.params)
assert head_shapes(real.replace(tie_word_embeddings=False), "masked_lm")["lm_head.decoder.weight"] == (50265, 768)

# %% [markdown]
# `masked_lm` and `causal_lm` have the same weights. They differ in what they are asked: **masked_lm compares position l
# with label l; causal_lm compares position l with label l + 1, and shifts by itself.** So for causal_lm the labels are
# the ids as they are. If you shift them, too, you train it to guess the next token but one.
#
# And a causal_lm sees only earlier tokens if its configuration says `is_decoder`. roberta-base's does not. Without it,
# each token sees the one that it is to predict.

# %%
writer = models["causal_lm"]
found = writer(ids[:1], labels=ids[:1])
ours = ops.cross_entropy(found.logits[:, :-1], ids[:1, 1:])  # position l and token l + 1

assert np.isclose(found.loss, ours)
assert found.logits.shape == (1, L, V)  # the logits are not shifted, only the loss is
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    minroberta.load(head="causal_lm")
print(str(said[0].message).split(",")[0])

# %% [markdown]
# ## A label for the whole text
#
# A text's label has to come from one vector. RoBERTa takes that of position 0, where `<s>` stands, which can read the
# whole text by attention. The *classification head* is: position 0, linear, tanh, linear. Its weights are
# `classifier.dense` and `classifier.out_proj`.

# %%
critic = models["sequence_classification"]
dense, out = critic.p.classifier.dense, critic.p.classifier.out_proj
hidden = np.tanh(x[:, 0] @ dense.weight.T + dense.bias)  # (B, L, D) -> (B, D)
logits = hidden @ out.weight.T + out.bias  # (B, D) -> (B, N)

assert same(logits, critic(**batch).logits)
assert "pooler.dense.weight" not in flat(critic.params)

# %% [markdown]
# The **pooler** is nearly the same: position 0, linear, tanh, with the weights `pooler.dense`. BERT classifies by it.
# It is *another* matrix, and RoBERTa's classifier does not use it. Where it is used: `pooler_output` of the bare
# encoder, and `multiple_choice`.
#
# BERT trained its pooler to tell whether one text follows another. RoBERTa dropped that task, so nothing ever trained
# the pooler that is in the published roberta-base. Do not take its `pooler_output` for an embedding of a text.

# %%
chooser = models["multiple_choice"]
pooled = np.tanh(ops.linear(x[:, 0], **chooser.p.pooler.dense.tree))  # (B, L, D) -> (B, D)
both = {**models["encoder"].params, "pooler": chooser.params["pooler"]}
with_pooler = minroberta.Model(chooser.config, both, "encoder")

assert same(pooled, with_pooler(**batch).pooler_output)
assert models["encoder"](**batch).pooler_output is None  # this file has no pooler

# %% [markdown]
# "Position 0" means the position, not the token. If a text is padded on the left, `<pad>` stands there, and it is
# classified by the state of a pad token. Pad on the right.

# %%
short = [ids[1, : mask[1].sum()].tolist()]  # the second text without padding
pads = L - len(short[0])
left = critic([[1] * pads + short[0]], attention_mask=[[0] * pads + [1] * len(short[0])])

assert same(critic(short).logits, critic(**batch).logits[1:])  # padding on the right changes nothing
assert not same(critic(short).logits, left.logits)

# %% [markdown]
# ## A choice
#
# For `multiple_choice`, each example is C texts, usually the same beginning with C endings: ids of shape (B, C, L). The
# body sees B·C texts. Each gets *one* score, from the pooler and a linear map to 1, and the scores are put back into
# (B, C). The softmax is over the choices, so the number of choices is not in the weights.

# %%
choices = model.tokenize(["He was hungry."] * 3, ["He ate.", "He slept.", "It rained."])  # three pairs
given = {name: array[None] for name, array in choices.items()}  # (C, L) -> (B, C, L), with B = 1

states = models["encoder"](**choices).last_hidden_state[:, 0]  # (B·C, D)
scores = ops.linear(np.tanh(ops.linear(states, **chooser.p.pooler.dense.tree)), **chooser.p.classifier.tree)

assert scores.shape == (3, 1)
assert same(scores.reshape(1, 3), chooser(**given).logits)  # (B·C, 1) -> (B, C)
assert np.isclose(chooser(**given, labels=[1]).loss, ops.cross_entropy(scores.reshape(1, 3), np.array([1])))

# %% [markdown]
# ## Which loss?
#
# Most heads have one loss, the cross entropy. `sequence_classification` has three, and *chooses by what you give it*.
# If the configuration has a `problem_type`, that decides. Otherwise:
#
# | `num_labels` | labels | `problem_type` | loss |
# |---|---|---|---|
# | 1 | any, (B,) or (B, 1) | `regression` | mean of (x − y)² |
# | more | integers, (B,) or (B, 1) | `single_label_classification` | cross entropy |
# | more | floats, (B, N), from 0 to 1 | `multi_label_classification` | binary cross entropy, N yes-or-no questions |

# %%
logits = critic(**batch).logits  # (B, N) with N = 2
single, several = np.array([1, 0]), np.array([[1.0, 1.0], [0.0, 1.0]], np.float32)
chances = 1 / (1 + np.exp(-logits))  # a sigmoid for each label: they need not sum to 1
binary = -np.log(np.where(several == 1, chances, 1 - chances)).mean()  # over all B·N

assert np.isclose(critic(**batch, labels=single).loss, -np.log(ops.softmax(logits)[[0, 1], single]).mean(), rtol=1e-4)
assert np.isclose(critic(**batch, labels=several).loss, binary, rtol=1e-4)

# %%
one_label = {"num_labels": 1, "id2label": {0: "stars"}}
scorer = minroberta.load(head="sequence_classification", missing="init", config=one_label)
stars = np.array([4, 1])  # integers, and yet a regression
found = scorer(**batch, labels=stars)

assert np.isclose(found.loss, ((found.logits[:, 0] - stars) ** 2).mean(), rtol=1e-4)
wrong = ((found.logits - stars) ** 2).mean()  # (B, 1) - (B,) -> (B, B): every text with every label
assert not np.isclose(found.loss, wrong)
print(f"loss {found.loss:.2f}, and {wrong:.2f} if the shapes are left to broadcast")

# %% [markdown]
# So one `.astype(float)` on your labels asks for another loss, and mostly brings an error about shapes. transformers
# decides at the first call with labels and writes it into the configuration; here each call decides anew.
#
# ## What is ignored?
#
# A label of −100 takes part in no cross entropy: not in the sum, and not in the number by which it is divided. If *all*
# labels are −100, that is 0 / 0, and the loss is NaN. A mask does *not* do this: it hides padding from attention, but a
# padded position with a label counts. So give padding the label −100.

# %%
atlantic = model.tokenizer.library.token_to_id("ĠAtlantic")
labels = np.where(ids == model.tokenizer.mask_token_id, atlantic, -100)  # a label at each <mask>, and nowhere else
everywhere = np.where(mask == 1, ids, -100)

counts = labels != -100
of_masks = ops.cross_entropy(model(**batch).logits[counts], labels[counts])
assert np.isclose(model(**batch, labels=labels).loss, of_masks)
assert not np.isclose(model(**batch, labels=everywhere).loss, model(**batch, labels=ids).loss)  # padding counted
assert np.isnan(model(**batch, labels=np.full_like(ids, -100)).loss)

# %% [markdown]
# (One family differs: the token classifier of XLM-RoBERTa-XL ignores labels where the mask is not 1.) Squared error and
# binary cross entropy ignore nothing. And **spans have a rule of their own**: positions are clamped to 0 … L, and L,
# one after the last position, is ignored. So the end of an answer that was cut off, a number too large, is ignored. But
# −100 becomes **position 0**, and counts: the model learns to point at `<s>`.

# %%
positions = np.array([3, -100])
found = reader(**batch, start_positions=positions, end_positions=positions)

clamped = positions.clip(0, L)  # -100 becomes 0
losses = [ops.cross_entropy(found[name], clamped, ignored=L) for name in ("start_logits", "end_logits")]
assert np.isclose(found.loss, np.mean(losses))  # the mean of the two, not their sum

beyond = reader(**batch, start_positions=[3, 999], end_positions=[3, 999]).loss
assert np.isclose(beyond, reader(ids[:1], mask[:1], start_positions=[3], end_positions=[3]).loss)  # 999 is ignored
assert not np.isclose(beyond, found.loss)

# %% [markdown]
# That is on purpose: a question without an answer in the text (SQuAD 2) gets 0 and 0.
#
# **The picture to remember** shows for each head which tokens' last states its loss reads. It is computed, not drawn: a
# state that is not read owes nothing, so its gradient is 0 ([notebook 6](06_backwards.ipynb)).

# %%
one = {"input_ids": ids[:1]}
determiner = tagger.config.label2id["DET"]  # the tag of words such as "the"
words = np.where(np.isin(ids[:1], [0, 1, 2]), -100, determiner)  # for each token but <s> (0), <pad> (1) and </s> (2)
filled = np.where(ids[:1] == model.tokenizer.mask_token_id, atlantic, ids[:1])  # the second of two choices
asked = {
    "masked_lm": {"labels": labels[:1]},
    "causal_lm": {"labels": ids[:1]},
    "token_classification": {"labels": words},
    "question_answering": {"start_positions": [6], "end_positions": [8]},
    "sequence_classification": {"labels": [1]},
    "multiple_choice": {"labels": [0], "input_ids": np.stack([ids[:1], filled], 1)},  # (B, C, L)
}

# %%
reads = {}
for head, given in asked.items():
    found = minroberta.gradients(models[head], **one | given, intermediates=True)
    size = np.linalg.norm(found.intermediates["encoder"][0], axis=-1)  # of the gradient at each position: (L,)
    reads[head] = size / size.max()

assert (reads["masked_lm"] > 0).tolist() == (labels[0] != -100).tolist()
assert (reads["causal_lm"] > 0).tolist() == [True] * (L - 1) + [False]  # after the last there is nothing to predict
assert reads["token_classification"][[1, 6]].max() < 0.1  # "The" and "the"
assert (reads["question_answering"] > 0).all()  # the softmax compares all positions
assert all(reads[head][0] == 1 and not reads[head][1:].any() for head in ("sequence_classification", "multiple_choice"))

# %%
names = [repr(model.decode([token]))[1:-1].strip() for token in ids[0]]
figure, ax = plt.subplots(figsize=(9.5, 3.8), layout="constrained")
sizes = np.stack(list(reads.values()))  # (heads, L)
plot.matrix(ax, sizes, "Which last states does each head's loss read? (dots: those it reads)", list(reads), names,
            low=0, high=1, unit="size of the gradient")  # fmt: skip
row, column = np.nonzero(sizes)
ax.scatter(column, row, s=12, color="tab:orange")
plt.show()

# %% [markdown]
# Each row is divided by its largest number. A cell with a dot may be pale: it is read, and owes little. We asked for
# the tag of "the" at every word, and at "The" and "the" it is right already. The lower two rows depend on a single
# state. masked_lm ignores all but `<mask>`, causal_lm the last token, token_classification `<s>` and `</s>`. The
# encoder has no row, since it has no loss.
#
# ## What does a frozen body know?
#
# The usual way to a new task: take a trained body, put a new head on it, and train on your examples, the head alone
# (the body is *frozen*) or all weights. Our task is: **who did it, the animal or the person?** The two sentences of a
# pair have the same words in another order. The animals and people of the test do not occur in training.

# %%
animals = ["dog", "cat", "horse", "bird", "lion", "bear", "snake", "fish", "wolf", "cow", "goat", "fox"]
people = ["queen", "king", "doctor", "soldier", "teacher", "student", "farmer", "player", "writer", "singer"]
people += ["judge", "pilot"]


def examples(animals, people):
    """All pairs of sentences, each with its label."""
    found = []
    for a, b, verb in itertools.product(animals, people, ["saw", "followed", "found", "killed"]):
        found += [Example((f"The {a} {verb} the {b}.",), "animal"), Example((f"The {b} {verb} the {a}.",), "person")]
    return found


# %%
training, held_out = examples(animals[:9], people[:9]), examples(animals[9:], people[9:])
order = np.random.default_rng(0).permutation(len(training))
training = [training[i] for i in order[:320]]
for example in held_out[:2]:
    print(*example.texts, "->", example.label)

assert len(held_out) == 72

# %% [markdown]
# We try the simplest thing first: freeze the body, take the *mean* of a text's token vectors, and fit a linear
# classifier to it. **Predict before you run:** which of these means know who did it? (a) The mean of the rows of the
# table of tokens. (b) The mean of the embeddings, in which each token's position is added. (c) The mean of the states
# after layer 3. Is any of them better than chance?


# %%
def means(examples):
    """The mean over a text's tokens, of the table's rows, the embeddings and the states after layer 3: (B, D) each."""
    tokens = model.tokenize([example.texts[0] for example in examples])
    kept = tokens["attention_mask"][..., None] / tokens["attention_mask"].sum(1)[:, None, None]  # (B, L, 1)
    states = models["encoder"](**tokens, output_hidden_states=True).hidden_states  # [0] is the embeddings
    return [(x * kept).sum(1) for x in (table[tokens["input_ids"]], states[0], states[4])]  # (B, L, D) -> (B, D)


def accuracy_of(vectors, others):
    """Fit a linear map by least squares, with a penalty, to +1 and -1, and judge others by its sign."""
    middle, spread = vectors.mean(0), vectors.std(0) + 1e-6
    a, b = (np.pad((v - middle) / spread, ((0, 0), (0, 1)), constant_values=1) for v in (vectors, others))
    w = np.linalg.solve(a.T @ a + 10 * np.eye(a.shape[1]), a.T @ signs(training))
    return ((b @ w > 0) == (signs(held_out) > 0)).mean()


def signs(examples):
    return np.array([1 if example.label == "animal" else -1 for example in examples])


# %%
which = ("mean of the table's rows, frozen", "mean of the embeddings, frozen", "mean after layer 3, frozen")
both = zip(means(training), means(held_out), strict=True)
results = {name: accuracy_of(*vectors) for name, vectors in zip(which, both, strict=True)}
for what, right in results.items():
    print(f"{what:<36}{right:.1%}")

assert abs(results["mean of the table's rows, frozen"] - 0.5) < 0.02
assert abs(results["mean of the embeddings, frozen"] - 0.5) < 0.1
assert results["mean after layer 3, frozen"] > 0.75

# %% [markdown]
# The mean of the rows is at chance, and no classifier whatever could do better: both sentences of a pair have the
# *same* mean, so they get the same answer. What the mean forgot cannot be brought back. Adding positions to the tokens
# does not help here: the mean then says which words there are and which positions, but hardly which word stands where.
#
# The mean of later states is another matter. It is a mean, too, but attention has already written into each token who
# stands where: "dog" as the one who sees is another vector than "dog" as the one who is seen. So a bag of *states*
# knows the order that a bag of *tokens* has lost.

# %%
rows, _, states = means(held_out)
pairs = rows.reshape(-1, 2, D), states.reshape(-1, 2, D)

assert all(same(one, other) for one, other in pairs[0])
assert not any(same(one, other) for one, other in pairs[1])

# %% [markdown]
# ## Train a head, train it all
#
# `fine_tune` is the loop of notebook 7 over examples, with AdamW, a short warm-up and a linear decay. First the new
# classification head alone, on a frozen body (`part=` chooses the weights by name), then all weights. Forty to sixty
# steps of 16 sentences take seconds.


# %%
def fine_tuned(chosen, **settings):
    """The share of held-out sentences judged rightly, after training the weights whose names are chosen."""
    fields = label_fields(training, "sequence_classification")  # names and numbers of the labels
    start = with_new_head(minroberta.load(head="sequence_classification", config=fields))  # on the trained body
    *_, last = fine_tune(start, training, held_out, batch_size=16, part=Part(start, chosen), **settings)
    return last.scores["accuracy"]


# %%
head_alone = fine_tuned(lambda name: name.startswith("classifier"), epochs=3, learning_rate=3e-3)
results["new head on <s>, frozen body"] = head_alone
results["new head on <s>, all weights"] = fine_tuned(lambda name: True, epochs=2, learning_rate=3e-4)
for what, right in results.items():
    print(f"{what:<36}{right:.1%}")

assert results["new head on <s>, all weights"] > 0.9
assert results["new head on <s>, all weights"] > results["new head on <s>, frozen body"]

# %% [markdown]
# The new head does worse than the fit to the mean did, but it also reads another layer, and `<s>` alone. With all
# weights, the body learns to put into `<s>` what the head needs. For roberta-base and the usual tasks, the paper's
# settings were: batches of 16 or 32, a rate of 1e-5 to 3e-5, up to 10 epochs, a warm-up of 6 % of the steps, λ = 0.1
# (table 10).
#
# In training, heads drop values: the text classifier before each of its two maps, the token classifier before its one,
# the chooser after its pooler, and the question head nowhere. The probability is `classifier_dropout`, or
# `hidden_dropout_prob` if that is not set (always, for the chooser).

# %%
places = {"sequence_classification": ["encoder", "classifier.tanh"], "token_classification": ["encoder"],
          "multiple_choice": ["pooler"], "question_answering": []}  # fmt: skip
for head, dropped in places.items():
    for name in ("encoder", "classifier.tanh", "pooler"):
        assert (dropout_at(name, real, head) > 0) == (name in dropped)

# %% [markdown]
# ## Three exercises
#
# **1. The classification head.** Write it for a batch of states. (Hint: it is four lines above, and one of them is not
# what BERT does.)


# %%
# exercise 1
def classification_head(x, dense_weight, dense_bias, out_weight, out_bias):
    """What stands after the tanh (B, D), and the logits (B, N), from states x (B, L, D). Weights: (D, D), (N, D)."""


# %%
# check 1
check(1, classification_head)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def classification_head(x, dense_weight, dense_bias, out_weight, out_bias):
#     hidden = np.tanh(x[:, 0] @ dense_weight.T + dense_bias)
#     return hidden, hidden @ out_weight.T + out_bias
# ```
#
# </details>

# %% [markdown]
# **2. The loss of a span.** From the logits (B, L) and the positions (B,) of starts and ends. Mind the rule: clamp to
# 0 … L, ignore L. (Hint: `ops.log_softmax` gives −loss of every position at once. Select the rows that count first.)


# %%
# exercise 2
def span_loss(start_logits, end_logits, starts, ends):
    """The mean of the two cross entropies, a number."""


# %%
# check 2
check(2, span_loss)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def span_loss(start_logits, end_logits, starts, ends):
#     losses = []
#     for logits, positions in ((start_logits, starts), (end_logits, ends)):
#         L = logits.shape[1]
#         positions = positions.clip(0, L)
#         counts = positions < L
#         chosen = ops.log_softmax(logits[counts])[np.arange(counts.sum()), positions[counts]]
#         losses.append(-chosen.mean())
#     return sum(losses) / 2
# ```
#
# </details>

# %% [markdown]
# **3. Which loss?** Write the choice of `sequence_classification`, and the three losses. `problem_type` is None or one
# of the three names. A label of −100 is ignored. (Hint: the table above. `ops.softmax`, `ops.log_softmax` and
# `activations.sigmoid` are there. Give labels of a regression the shape of the logits, and classes the shape (B,).)


# %%
# exercise 3
def loss_of(logits, labels, problem_type=None):
    """The loss, a number. logits: (B, N); labels: an array whose dtype and shape decide, unless problem_type does."""


# %%
# check 3
check(3, loss_of)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# def loss_of(logits, labels, problem_type=None):
#     B, N = logits.shape
#     if problem_type is None:
#         several = "single" if labels.dtype.kind in "iu" else "multi"
#         problem_type = "regression" if N == 1 else f"{several}_label_classification"
#     if problem_type == "regression":
#         return ((logits - labels.reshape(B, N)) ** 2).mean()
#     if problem_type == "single_label_classification":
#         labels = labels.reshape(B)
#         counts = np.flatnonzero(labels != -100)
#         return -ops.log_softmax(logits)[counts, labels[counts]].mean()
#     chances = activations.sigmoid(logits)
#     return -(labels * np.log(chances) + (1 - labels) * np.log(1 - chances)).mean()
# ```
#
# </details>

# %% [markdown]
# ## Where to go on
#
# Heads and losses say what a model gives. What its layers do meanwhile, and why so much of their attention rests on
# `<s>`, is asked in [9. Sinks](09_sinks.ipynb).
#
# The code: `minroberta/heads.py` (130 lines, all seven), the table `HEADS` in `minroberta/config.py`, and
# `minroberta/tuning/`; [docs/training.md](../docs/training.md) fine-tunes on a file of your own, and
# [docs/differences.md](../docs/differences.md) lists what may surprise. The papers:
# [Devlin et al. 2019](https://arxiv.org/abs/1810.04805), sections 3.1 and 4 (pooler, heads), and
# [Liu et al. 2019](https://arxiv.org/abs/1907.11692), sections 4.2 and 5.
