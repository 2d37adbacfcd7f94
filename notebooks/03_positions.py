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
# # 3. Why start at 2?
#
# RoBERTa numbers the tokens of a text 2, 3, 4 and so on. Who ports it as if it were BERT, from 0, gets a model that
# seems to work. Here we see what positions are for, where the 2 comes from, what padding does to the numbers, and why
# a wrong number hides so well. It takes about 15 minutes, and the exercises 20 more. Read
# [notebook 1](01_walkthrough.ipynb) first; [notebook 2](02_tokens.ipynb) says where the ids come from.

# %%
import textwrap

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import ops, plot
from minroberta.exercises.positions import check

plt.rcParams.update(plot.STYLE)
np.set_printoptions(linewidth=110)

model = minroberta.load()
config, table = model.config, model.p.embeddings.position_embeddings.weight  # (P, D): P positions
mask_id = model.tokenizer.mask_token_id


# %%
def same(ours, theirs):
    """Equal, but for the last digits of float32."""
    return ours.shape == theirs.shape and np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def guess(ids, **inputs):
    """The token that is guessed for the mask, as text."""
    logits = model(ids, **inputs).logits[np.asarray(ids) == mask_id][0]  # (V,)
    return model.decode([int(logits.argmax())])


ids = model.tokenize("The river flows into the <mask> Ocean.")["input_ids"]
B, L = ids.shape
print("ids", ids[0], "guess", repr(guess(ids)))

# %% [markdown]
# ## Attention knows no order
#
# Attention compares each token with each other token, and takes a weighted mean. No step asks which comes first. To see
# it, give all tokens the same position, and shuffle them: each token gets the very vector that it had before, only in
# another row. Text without positions is a bag of tokens.

# %%
equal = np.full((B, L), 2)  # every token has position 2
order = np.random.default_rng(0).permutation(L)

states = minroberta.trace(model, ids, position_ids=equal)["encoder"]  # (B, L, D)
shuffled = minroberta.trace(model, ids[:, order], position_ids=equal)["encoder"]

assert (order != np.arange(L)).any()
assert same(shuffled, states[:, order])
print("guess without any order:", repr(guess(ids, position_ids=equal)))

# %% [markdown]
# So each token's vector gets a second part. The model has a table of *position embeddings*: a row of learned numbers
# for each position. The row is added to the token's embedding, before the first layer and nowhere else. (A row for the
# token's type is added as well; RoBERTa has one type, so it is the same for all.)

# %%
positions = ops.create_position_ids_from_input_ids(ids, config.pad_token_id)  # (B, L)
trace = minroberta.trace(model, ids)
p = model.p.embeddings

word, kind = p.word_embeddings.weight[ids], p.token_type_embeddings.weight[0]  # (B, L, D), (D,)
total = word + table[positions] + kind  # (B, L, D)

assert same(total, trace["embeddings.sum"])
assert (positions == trace["embeddings.position_ids"]).all()
print("positions", positions[0], "of the rows 0 to", len(table) - 1)

# %% [markdown]
# ## The rule
#
# The number of the first token is the id of `<pad>` plus 1. In RoBERTa `<pad>` has id 1, so the first token, `<s>`, has
# position 2. Padding itself gets the position that equals its id, 1, and row 0 is never used.
#
# There is no deep reason. fairseq, in which RoBERTa was written, uses one kind of table for tokens and for positions,
# and in both the row with the number of the pad token is kept for padding. The real positions start after it.

# %%
pad = config.pad_token_id
real = ids != pad
counted = np.cumsum(real, axis=1) * real + pad  # (B, L): only tokens are counted

assert (counted == positions).all()
assert (positions[0] == np.arange(pad + 1, pad + 1 + L)).all()
assert pad == 1

# %% [markdown]
# The rule has a consequence that surprises people who read `config.json`. `max_position_embeddings` is 514, but
# these are rows, and two of them cannot be used by a token. The longest text has 512 tokens, `<s>` and `</s>` included.
# (BERT counts from 0 and has 512 rows for the same 512 tokens.)

# %%
assert config.max_position_embeddings == len(table) == 514
assert config.longest == 514 - (pad + 1) == 512

text = np.full((1, 513), ids[0, 1])
assert model(text[:, :512]).logits.shape[1] == 512
try:
    model(text)
except minroberta.InputError as error:
    print(textwrap.fill(str(error), 100))

# %% [markdown]
# It is the *rule* that counts, and not the 2. A model whose pad token has id 0 starts at 1. XLM-RoBERTa and CamemBERT
# have the pad id 1 and 514 rows, like RoBERTa. After a cache of n tokens, the next token has position n + pad id + 1:
# that is for [notebook 10](10_caches.ipynb).

# %%
small = {"vocab_size": 30, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
small |= {"model_type": "roberta", "intermediate_size": 16, "max_position_embeddings": 20}
other = minroberta.init({**small, "pad_token_id": 0})  # random weights

assert minroberta.trace(other, [[5, 6, 7, 0]])["embeddings.position_ids"].tolist() == [[1, 2, 3, 0]]
assert other.config.longest == 20 - 1

# %% [markdown]
# ## Counted from ids, not from the mask
#
# Texts of different lengths are padded, and an *attention mask*, 1 for tokens and 0 for padding, keeps tokens from
# reading pads. Padding mostly stands on the right, but it may stand on the left, or within. The count steps over it.

# %%
PAD, text = [pad] * 3, ids[0].tolist()
padded = np.array([text + PAD, PAD + text, text[:4] + PAD + text[4:]])  # right, left, within
mask = (padded != pad).astype(int)

print(ops.create_position_ids_from_input_ids(padded, pad))
found, alone = model(padded, attention_mask=mask).logits, model(ids).logits[0]
assert all(same(found[row][mask[row] == 1], alone) for row in range(3))

# %% [markdown]
# Three rows, and the same values at every token. Three things can go wrong here.
#
# First, to number all columns, pads included, as KerasHub does, the RoBERTa of Keras: then padding is right only on the
# right. Left pads move the text by three positions, and pads within it tear it apart.

# %%
columns = np.broadcast_to(np.arange(padded.shape[1]) + pad + 1, padded.shape)
moved = model(padded, attention_mask=mask, position_ids=columns).logits
for row, side in enumerate(["right", "left", "within"]):
    error = np.abs(moved[row][mask[row] == 1] - alone).max()
    print(f"pads {side:<7} largest difference of the scores: {error:.2f}")

assert same(moved[0][mask[0] == 1], alone)
assert not any(same(moved[row][mask[row] == 1], alone) for row in (1, 2))

# %% [markdown]
# Second, to leave out the mask. Positions know padding by its id, but attention does not: without a mask, every token
# reads the pads as if they were words. Positions come from the ids, who reads whom comes from the mask, and neither
# looks at the other.

# %%
unmasked = model(padded).logits
assert not any(same(unmasked[row][mask[row] == 1], alone) for row in range(3))

# %% [markdown]
# Third, to count from the mask. A token that is masked out, say to see what the model does without it, still has its
# position, so that its neighbours stay where they are. To hide a token is not to delete it.

# %%
hide = np.ones_like(ids)
hide[0, 3] = 0  # nobody may read this token

hidden = minroberta.trace(model, ids, attention_mask=hide)
assert (hidden["embeddings.position_ids"] == positions).all()

deleted = model(np.delete(ids, 3, axis=1)).logits[0]
assert not same(np.delete(hidden.output.logits[0], 3, axis=0), deleted)

# %% [markdown]
# And the row of padding, 1? It is added to the vector of a pad like any other row, and then no token reads it. (fairseq
# and transformers start it at 0 and never train it. fairseq also zeroes the vectors of pads before the first layer, so
# that values *at* pads differ between the two, and only there.)

# %%
right = minroberta.trace(model, padded, attention_mask=mask)
at_pad = p.word_embeddings.weight[pad] + table[pad] + p.token_type_embeddings.weight[0]  # (D,)

assert same(right["embeddings.sum"][0, -1], at_pad)

# %% [markdown]
# ## Vectors instead of ids
#
# A model may also be given vectors, `inputs_embeds`, for instance to change them first. They are word embeddings: the
# positions are still added. But vectors do not show which of them are padding, so that all are counted, 2, 3, 4 and so
# on. With pads on the right that does no harm. With pads elsewhere, give `position_ids` yourself.

# %%
vectors = p.word_embeddings.weight[padded]  # (3, L + 3, D)
from_vectors = minroberta.trace(model, inputs_embeds=vectors, attention_mask=mask)

assert (from_vectors["embeddings.position_ids"] == np.arange(L + 3) + 2).all()
assert same(from_vectors.output.logits[0, :L], alone)
assert not same(from_vectors.output.logits[1, 3:], alone)

given = ops.create_position_ids_from_input_ids(padded, pad)
assert same(model(inputs_embeds=vectors, attention_mask=mask, position_ids=given).logits[1, 3:], alone)

# %% [markdown]
# ## A port that counts from 0
#
# Now the mistake of the first paragraph: all positions are too low by 2. `<s>` gets a row that was never trained, and
# the first word gets the row of padding.
#
# **Predict before you run:** how many of these four guesses change?

# %%
texts = [
    "The river flows into the <mask> Ocean.",
    "Mozart was an Austrian composer of classical <mask>.",
    "She was the first woman to win the <mask> Prize.",
    "The Amazon River flows into the Atlantic <mask>.",
]
unchanged = 0
for text in texts:
    row = model.tokenize(text)["input_ids"]
    from_0 = np.arange(row.shape[1])[None]  # (1, L)
    right = minroberta.trace(model, row)["encoder"]
    wrong = minroberta.trace(model, row, position_ids=from_0)["encoder"]
    error, guesses = np.abs(right - wrong).max(), (guess(row), guess(row, position_ids=from_0))
    print(f"{guesses[0]:<9}{guesses[1]:<9} largest difference of the last states {error:.1f}")
    unchanged += guesses[0] == guesses[1]
    assert error > right.std()  # rounding is less than a thousandth of this

assert unchanged >= len(texts) - 1
print(f"usual size of the last states: {right.std():.2f}")

# %% [markdown]
# None, with these weights. Hidden values are off by more than their usual size, and whoever looks at guesses sees
# nothing. Such a port passes a demonstration, and nobody looks for its mistake.
#
# Why does the model bear it? Because it hardly asks *where* a token is, but how far two tokens are from each other. It
# was trained so: every other text of its training began at a random position
# ([model card](../minroberta/tiny/MODEL_CARD.md)). A model that was trained otherwise may bear less.
#
# The whole text can move by 20 or 300 positions, too. What the model does not bear is a wrong order. (If tokens and
# positions are reversed *together*, that is the same text for it: the last line of the cell.)

# %%
row = model.tokenize(texts[3])["input_ids"]
right, true = np.arange(row.shape[1])[None] + 2, model(row).logits
errors = {}
for name, numbers in [("+ 20", right + 20), ("+ 300", right + 300), ("reversed", right[:, ::-1])]:
    errors[name] = np.abs(model(row, position_ids=numbers).logits - true).mean()
    print(f"{name:<9} {guess(row, position_ids=numbers):<7} mean difference of the scores {errors[name]:.2f}")

assert max(errors["+ 20"], errors["+ 300"]) < errors["reversed"]
assert same(model(row[:, ::-1], position_ids=right[:, ::-1]).logits[:, ::-1], true)  # both reversed

# %% [markdown]
# The table shows it. Here each row of the table is compared with each other row, by their cosine: 1 for the same
# direction, 0 for nothing in common. This is the picture to remember.

# %%
few = table[:44]  # the first rows show the pattern
unit = few / np.linalg.norm(few, axis=1, keepdims=True)
cosines = unit @ unit.T  # (44, D) @ (D, 44) -> (44, 44)

figure, ax = plt.subplots(figsize=(7.5, 6), layout="constrained")
plot.matrix(ax, cosines, "How alike are the rows of the position table?", low=-1, high=1, unit="cosine")
ax.axhline(1.5, color="black", linewidth=1)
ax.axvline(1.5, color="black", linewidth=1)
arrow = {"arrowstyle": "->"}
ax.annotate("rows 0 and 1:\nno token uses them", (1.5, 1.0), (9, 3.2), arrowprops=arrow, va="center")
plt.show()

# %% [markdown]
# The lines split off rows 0 and 1, which are like no row that is used. Beyond them, neighbours are alike, and the
# stripes run along the diagonal: how alike two rows are depends on their distance, and less on where they stand.

# %%
used = table[2:130] / np.linalg.norm(table[2:130], axis=1, keepdims=True)  # (128, D)
near, far = (used[:-1] * used[1:]).sum(1), (used[:-50] * used[50:]).sum(1)  # one apart, fifty apart
unused = table[:2] / np.linalg.norm(table[:2], axis=1, keepdims=True)

print(f"cosine of neighbours {near.mean():.2f}, of rows fifty apart {far.mean():.2f}")
assert near.mean() > 0.5 > far.mean()
assert np.abs(unused @ used.T).mean() < 0.3
assert all(np.diag(cosines[2:, 2:], apart).std() < cosines[2:, 2:].std() for apart in range(1, 21))  # stripes

# %% [markdown]
# The model did not find all of this out by itself. Before training, its table was filled with *waves*
# ([decision 7](../docs/decisions/7-tiny.md)): sines and cosines of many wavelengths, in which two rows are as alike as
# their distance says, wherever they stand. No token uses rows 0 and 1, so they are still the waves of 0 and 1, and like
# each other: hence the dark corner. Training has changed all other rows a lot, and has kept the stripes. Whether a
# table that starts at random comes to have them, this picture cannot say.

# %%
P, D = table.shape
angles = np.arange(P)[:, None] / 10_000 ** (np.arange(0, D, 2) / D)  # (P, D / 2)
waves = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(P, D)  # (P, D / 2, 2) -> (P, D)
kept = (table * waves).sum(1) / np.linalg.norm(table, axis=1) / np.linalg.norm(waves, axis=1)  # cosines, (P,)

print(f"cosine of a row with its wave: {kept[0]:.3f} and {kept[1]:.3f}, then {kept[2:].mean():.2f} on average")
assert np.isclose(waves[10] @ waves[13], waves[30] @ waves[33])
assert kept[:2].min() > 0.999
assert kept[2:].max() < 0.9

# %% [markdown]
# How does one find such a mistake, if guesses do not show it? Compare values by name, from the front. The positions are
# among the first, and the sum of the embeddings comes right after. (The check of exercise 2 does this, and
# [notebook 4](04_attention.ipynb) says how.)
#
# Two more traps. Positions have to be computed as integers: in bfloat16, whose numbers have 8 binary digits, there is
# no 257, and long texts get wrong rows. And a KerasHub table has 512 rows: it lacks the first two, and counts from 0.

# %%
names = list(trace)  # in the order of computation
print(*names[:6], sep="\n")
assert names.index("embeddings.position_ids") < names.index("embeddings.sum") < 5
assert (257).bit_length() == 9 > 8  # an odd number with nine binary digits needs all nine

# %% [markdown]
# RoBERTa learns a row for each position, as BERT does. Others compute the rows from sines (Vaswani et al. 2017, section
# 3.5), add a learned number for each *distance* to the scores of attention (`relative_key` in
# `position_embedding_type`, Shaw et al. 2018), or turn queries and keys by an angle (rotary embeddings, not in
# RoBERTa). In all of these the distance of two tokens is built in.
#
# ## Three exercises
#
# **1. Number the tokens.** Write the rule for any batch and any pad id. Padding may stand anywhere.
#
# <details><summary>A hint</summary>
#
# Three steps: which ids are not padding? How many of them up to here, in each row (`np.cumsum` along axis 1)? And
# which number do pads get?
#
# </details>


# %%
# exercise 1
def position_ids(ids, pad):
    """The position of each token: (B, L) integers -> (B, L) integers. pad: the id of padding."""


# %%
# check 1
check(1, position_ids)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def position_ids(ids, pad):
#     real = ids != pad
#     return np.cumsum(real, axis=1) * real + pad
# ```
#
# </details>

# %% [markdown]
# **2. All of the embeddings.** Compute what stands before the first layer, from the parameters, for a batch with
# padding: the positions, the sum of three rows, and its layer norm, under their names. The check is the oracle: it runs
# a model of random weights and compares value by value. If it knows your mistake, it names it.
#
# <details><summary>A hint</summary>
#
# `p.word_embeddings.weight`, `p.position_embeddings.weight` and `p.token_type_embeddings.weight` are tables; every
# token has type 0. `p.LayerNorm.weight` and `.bias` belong to the norm, and `eps` is `config.layer_norm_eps`.
# `ops.layer_norm` was opened in notebook 1.
#
# </details>


# %%
# exercise 2
def embed(ids, p, config):
    """The values before the first layer, by name. ids: (B, L); p: `model.p.embeddings` of a model."""
    # return {"embeddings.position_ids": …, "embeddings.sum": …, "embeddings": …}


# %%
# check 2
check(2, embed)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def embed(ids, p, config):
#     numbers = position_ids(ids, config.pad_token_id)
#     rows = p.word_embeddings.weight[ids] + p.position_embeddings.weight[numbers]  # (B, L, D)
#     total = rows + p.token_type_embeddings.weight[0]
#     normed = ops.layer_norm(total, **p.LayerNorm.tree, eps=config.layer_norm_eps)
#     return {"embeddings.position_ids": numbers, "embeddings.sum": total, "embeddings": normed}
# ```
#
# </details>

# %% [markdown]
# **3. Mend a port from outside.** A port counts 0, 1, 2 and so on, and you cannot change its code, but you can hand it
# another position table. Which table makes it right, for texts without padding or with padding on the right, up to the
# longest?
#
# <details><summary>A hint</summary>
#
# The port looks up row 0 where row 2 is meant.
#
# </details>

# %%
# exercise 3
their_table = None  # (512, D), made from `table`

# %%
# check 3
check(3, their_table)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# their_table = table[2:]  # KerasHub's presets of RoBERTa have such a table
# ```
#
# </details>

# %% [markdown]
# ## Where next
#
# Each token now has a vector that says what it is and where it is. In [notebook 4: who reads whom?](04_attention.ipynb)
# the tokens begin to look at each other.
#
# In the package, [ops.py](../minroberta/ops.py) has `create_position_ids_from_input_ids`, in two lines, and
# [layers.py](../minroberta/layers.py) adds the embeddings. The papers: learned positions in
# [Devlin et al. 2019, section 3](https://arxiv.org/abs/1810.04805), sines in
# [Vaswani et al. 2017, section 3.5](https://arxiv.org/abs/1706.03762), distances in
# [Shaw et al. 2018, section 3.2](https://arxiv.org/abs/1803.02155). [docs/differences.md](../docs/differences.md) lists
# who counts otherwise.
