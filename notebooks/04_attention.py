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
# # 4. Who reads whom?
#
# Attention is the only step of a RoBERTa in which a token learns of the others. Here we write it in a few lines, find
# out by measurement which heads read the previous token and which the next, hide padding from it, and leave out a
# bias that nobody misses. This takes about 25 minutes. Read [1. One sentence](01_walkthrough.ipynb) first;
# [3. Positions](03_positions.ipynb) helps.
#
# In this notebook, a *head* is always a head of attention. Layers and heads are counted from 0.

# %%
import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import ops, plot
from minroberta.exercises.attention import check
from minroberta.testing import compare, diagnose
from minroberta.weights import flat, tree

np.set_printoptions(precision=3, suppress=True, linewidth=110)
plt.rcParams.update(plot.STYLE)

# %% [markdown]
# We compute in float64, which keeps sixteen digits. So a difference that is larger than 1e-9 comes from a formula, not
# from rounding.

# %%
model = minroberta.load(dtype="float64")
config = model.config
D, H, E = config.hidden_size, config.num_attention_heads, config.head_size

text = "The old man walked slowly along the road to the village, and then he sat down."
trace = minroberta.trace(model, **model.tokenize(text))

assert D == H * E
print(f"D = {D} channels, H = {H} heads of E = {E} each")


# %%
def same(ours, theirs):
    """True if two arrays are equal but for rounding in float64."""
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


# %% [markdown]
# ## One head, and all of them
#
# A token has a query q, by which it asks; a key k, by which it is found; and a value v, which it hands over. How much
# query l takes from key s, its *share*, is a softmax of dot products, and what it collects, the *context*, is a
# weighted mean:
#
# ```
# share(l, s) = exp(q(l)·k(s) / √E) / Σₜ exp(q(l)·k(t) / √E)
# context(l)  = Σₛ share(l, s) · v(s)
# ```
#
# This is equation 1 of [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), section 3.2.1. The row's largest score
# is subtracted first, which changes no share and keeps the exponentials small.
#
# In shapes, B is the number of texts, L that of queries and S that of keys. Here L and S are both the number of tokens.


# %%
def softmax(scores):
    """Shares that sum to 1 along the last axis, which is that of the keys."""
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v):
    """Shares and context. q: (..., L, E); k, v: (..., S, E)."""
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])  # -> (..., L, S)
    shares = softmax(scores)
    return shares, shares @ v  # (..., L, S) @ (..., S, E) -> (..., L, E)


# %% [markdown]
# Queries, keys and values are three linear maps of the same token vectors, which notebook 1 opened. The trace has
# them, with all heads side by side in D channels. Head h has channels h·E to (h + 1)·E − 1. Here is one head alone.

# %%
name = "encoder.layer.1.attention.self"
query, key, value = (trace[f"{name}.{part}"] for part in ("query", "key", "value"))  # (B, L, D)
one = slice(3 * E, 4 * E)  # the channels of head 3

shares, context = attention(query[0, :, one], key[0, :, one], value[0, :, one])

assert same(shares, trace[f"{name}.probs"][0, 3])
assert same(context, trace[name][0, :, one])
print("shares of head 3", shares.shape, "  context of head 3", context.shape)

# %% [markdown]
# The function does not care about further axes in front. So all heads of all texts need one call, if the channels are
# first split into heads. `ops.split_heads` reshapes (B, L, D) to (B, L, H, E) and swaps two axes; `ops.merge_heads` is
# the way back. A reshape alone, to (B, H, L, E), has the right shape and the wrong numbers.

# %%
q, k, v = (ops.split_heads(x, E) for x in (query, key, value))  # (B, L, D) -> (B, H, L, E)
shares, context = attention(q, k, v)

assert same(q, query.reshape(1, -1, H, E).swapaxes(1, 2))
assert not same(q, query.reshape(1, H, -1, E))
assert same(shares, trace[f"{name}.probs"])  # (B, H, L, S)
assert same(ops.merge_heads(context), trace[name])  # (B, L, D)
assert np.allclose(shares.sum(-1), 1)

# %% [markdown]
# The heads have nothing in common: each has other rows of the three weights. A fourth linear map,
# `attention.output.dense`, mixes what they collected. So attention has four weights of D × D and four biases of D,
# however many heads there are. What grows with the text is the table of shares, with H·L·L numbers.

# %%
attention_weights = flat(model.params["encoder"]["layer"][1]["attention"])
of_maps = sum(x.size for part, x in attention_weights.items() if "LayerNorm" not in part)

assert of_maps == 4 * (D * D + D)
assert shares[0].size == H * shares.shape[-1] ** 2
print(f"{of_maps:,} weights for any number of heads")

# %% [markdown]
# ## Which head reads what?
#
# Do not guess it from a picture: measure it. In a matrix of shares, a row is a query and a column a key. So the share
# that each token gives to the one before it stands on the diagonal below the main one. We take the mean over the
# tokens of six sentences, without `<s>` and `</s>`, for each of the heads of all layers.

# %%
texts = [
    text,
    "In 1976 the company was founded in a small garage in California by two friends.",
    "The cat that lived in the house next door was often seen on the roof at night.",
    "She wrote many books about the history of France, but few people read them.",
    "The club plays its home games at a stadium in the north of the city.",
    "The river flows into the Atlantic Ocean.",
]


# %%
def all_shares(text):
    """The shares of every head of every layer for one text: (layers, H, L, L)."""
    found = minroberta.trace(model, **model.tokenize(text))
    layers = range(config.num_hidden_layers)
    return np.stack([found[f"encoder.layer.{i}.attention.self.probs"][0] for i in layers])


def share_at(shares, offset):
    """The mean share that a token gives to the one `offset` after it: (..., L, L) -> (...)."""
    return np.diagonal(shares[..., 1:-1, 1:-1], offset, axis1=-2, axis2=-1).mean(-1)


# %%
measured = [all_shares(one) for one in texts]
offsets = {"the previous token": -1, "itself": 0, "the next token": 1}
reads = {what: np.mean([share_at(x, n) for x in measured], 0) for what, n in offsets.items()}
reads["<s>"] = np.mean([x[..., 1:-1, 0].mean(-1) for x in measured], 0)  # each (layers, H)

# %%
best = {what: np.unravel_index(share.argmax(), share.shape) for what, share in reads.items()}
for what, (layer, head) in best.items():
    print(f"layer {layer}, head {head} gives {reads[what][layer, head]:.1%} to {what}")

# %% [markdown]
# An even split would give each token one share in about twenty. These heads are far from that: they are pointers.

# %%
even = np.mean([1 / x.shape[-1] for x in measured])
print(f"an even share is {even:.1%}")
for what, share in reads.items():
    print(f"{(share > 0.9).sum()} of {share.size} heads give more than 90 % to {what}")

assert all(share.max() > 5 * even for share in reads.values())
assert len(set(best.values())) == 4  # four different heads

# %% [markdown]
# A pointer to the neighbour should not care what the words are: it is made of the positions, which were added to the
# words at the very start. So it has to work on tokens that make no sense.

# %%
nonsense = np.random.default_rng(0).integers(5, config.vocab_size - 1, (1, 22))  # no <s> and no other special token
found = minroberta.trace(model, nonsense)
for what, offset in offsets.items():
    layer, head = best[what]
    share = share_at(found[f"encoder.layer.{layer}.attention.self.probs"][0, head], offset)
    print(f"layer {layer}, head {head} gives {share:.1%} to {what}, in random tokens")
    assert share > 5 * even

# %% [markdown]
# **The picture to remember.** Each row is a token that reads, each column one that is read. The training of this model
# began with the eight heads of layer 0 each reading one position, up to four away, and with positions as waves; the
# heads of later layers have learned it. BERT's heads learned it without such help ([Clark et al.
# 2019](https://arxiv.org/abs/1906.04341), section 3.1).

# %%
tokens = [model.decode([token]).strip() for token in model.tokenize(text)["input_ids"][0]]
figure, axes = plt.subplots(2, 2, figsize=(9.5, 9), sharex=True, sharey=True, layout="constrained")
for ax, (what, (layer, head)) in zip(axes.flat, best.items(), strict=True):
    title = f"Layer {layer}, head {head} reads {what}"
    image = plot.matrix(ax, measured[0][layer, head], title, tokens, tokens, low=0, high=1)
figure.colorbar(image, ax=axes, label="share of attention", shrink=0.5)
plt.show()

# %% [markdown]
# The last panel looks strange: nearly all tokens read `<s>`, which says nothing about the text. Such a head *rests*,
# and the softmax forces it to rest somewhere. Notebook [9](09_sinks.ipynb) is about what it is good for.

# %% [markdown]
# ## Why divide by √E?
#
# A dot product of two random vectors is a sum of E products. If their numbers have mean 0 and variance 1, each product
# has variance 1, and the sum has variance E. So longer heads would have larger scores, from their size alone. Dividing
# by √E brings the variance back to 1.

# %%
random = np.random.default_rng(0)
for size in (4, 64, 1024):
    a, b = random.standard_normal((2, 5000, size))
    products = (a * b).sum(-1)
    divided = products / math.sqrt(size)
    print(f"E = {size:<5} variance {products.var():7.1f}, after the division {divided.var():.2f}")
    assert abs(products.var() / size - 1) < 0.1

# %% [markdown]
# Why does it matter? A softmax of large scores is nearly all 0 and 1, and there its slope, share · (1 − share), is
# nearly 0: the head can hardly learn. So the scale is about the *beginning* of training. What comes later is up to the
# weights: in the pointers above, the largest score of most rows leads the next by more than 5, and e⁵ is 148.

# %%
for size in (4, 64, 1024):
    query, keys = random.standard_normal((300, 1, size)), random.standard_normal((300, 20, size))
    scores = (query * keys).sum(-1)  # (300, 20): 300 queries with 20 keys each
    largest = [softmax(x).max(-1).mean() for x in (scores, scores / math.sqrt(size))]
    print(f"E = {size:<5} largest of 20 shares: {largest[0]:.2f} undivided, {largest[1]:.2f} divided")

assert largest[0] > 0.9
assert largest[1] < 0.4
for layer, head in best.values():
    ranked = np.sort(trace[f"encoder.layer.{layer}.attention.self.scores"][0, head], axis=-1)  # (L, S)
    assert np.median(ranked[:, -1] - ranked[:, -2]) > 5

# %% [markdown]
# E is the size of a *head*, not the hidden size D. roberta-base and roberta-large have different D, and the same E.

# %%
for size in ("roberta-base", "roberta-large"):
    real = minroberta.Config.from_dict(minroberta.config.PRESETS[size])
    print(f"{size:<13} {real.hidden_size} channels / {real.num_attention_heads} heads = {real.head_size}")
    assert math.sqrt(real.head_size) == 8

# %% [markdown]
# ## The mask
#
# Texts of different lengths share an array by means of padding, and nobody should read padding. Multiplying its share
# by 0 would be too late: the shares would no longer sum to 1. So a large negative number is *added to the score*,
# before the softmax. The mask of 1 and 0 becomes this *extended* mask, with axes for heads and queries.

# %%
batch = model.tokenize([text, "Rivers <mask> water."])
mask = batch["attention_mask"]  # (B, S): 1 for a token, 0 for padding
extended = ops.additive_mask(mask, np.float64)  # (B, S) -> (B, 1, 1, S)

assert extended.shape == (2, 1, 1, mask.shape[1])
assert (extended[:, 0, 0][mask == 1] == 0).all()
assert (extended[:, 0, 0][mask == 0] == np.finfo(np.float64).min).all()
print("added for a token:", extended[1, 0, 0, 0] + 0, "  for padding:", extended[1, 0, 0, -1])

# %% [markdown]
# The number is the most negative *finite* one of the dtype. Its exponential is exactly 0. So padding gets a share of
# exactly 0, and a text gets the same states with padding as alone.

# %%
padded = minroberta.trace(model, **batch)
shares = padded["encoder.layer.1.attention.self.probs"][1]  # of the short text: (H, L, S)
count = mask[1].sum()
alone = minroberta.trace(model, **model.tokenize("Rivers <mask> water."))

assert (shares[:, :, count:] == 0).all()
assert same(padded["encoder"][1, :count], alone["encoder"][0])
assert np.allclose(shares.sum(-1), 1)  # also the rows of padding

# %% [markdown]
# Two things surprise people. The mask hides *keys*, not queries: padding still asks, its rows still sum to 1, and the
# states at padding are numbers without a meaning, which you must not use. And if you do not give a mask, there is none:
# neither this package nor transformers makes one from the ids.

# %%
forgotten = minroberta.trace(model, batch["input_ids"])
shares = forgotten["encoder.layer.1.attention.self.probs"][1]  # (H, L, S)
read = shares[:, :count, count:].sum(-1)  # what tokens give to padding

assert read.max() > 0.01
assert not same(forgotten["encoder"][1, :count], alone["encoder"][0])
print(f"without a mask, up to {read.max():.0%} of a token's attention goes to padding")

# %% [markdown]
# ## A query with no key
#
# What if a row hides every key? Three numbers are in use for "very negative", and they differ exactly here. With the
# dtype's lowest finite number the row becomes uniform: adding a score of 2 to −3.4e38 changes nothing, since floats
# there are 2e31 apart. All sums are equal, and so are the shares.

# %%
scores = np.array([2.0, 0.0, -1.0, 1.0], np.float32)  # a query's four keys, all hidden
lowest = np.finfo(np.float32).min
numbers = {"nothing hidden": 0, "-10000": -10000, "-inf": -np.inf, "lowest finite": lowest}
with np.errstate(invalid="ignore"):
    rows = {what: softmax(scores + np.float32(number)) for what, number in numbers.items()}
for what, row in rows.items():
    print(f"{what:<15}{row}")

# %%
assert np.nextafter(lowest, np.float32(0)) - lowest > 2e31  # to the next float
assert (scores + lowest == lowest).all()  # the scores are lost in the sum
assert (rows["lowest finite"] == 1 / 4).all()
assert np.isnan(rows["-inf"]).all()  # -inf minus -inf is not a number
assert np.allclose(rows["-10000"], rows["nothing hidden"], atol=1e-3)  # as if nothing were hidden

# %% [markdown]
# So −∞ spreads NaN, and −10000, which BERT's first code used, ignores the mask in such a row. RoBERTa in transformers
# uses the lowest finite number. Test a port with such a row, too: in other rows the three give the same, unless the
# scores of one row are themselves thousands apart.
#
# A mask may also have a row for each query, (B, L, S). A decoder's *causal* mask is one: query l reads keys up to l.
# Notebook [10](10_caches.ipynb) uses it.

# %%
causal = ops.causal_mask(np, 4, 4)
print(causal.astype(int))

assert (causal == np.tril(np.ones((4, 4)))).all()
assert ops.additive_mask(causal[None], np.float32).shape == (1, 1, 4, 4)  # (B, 1, L, S)

# %% [markdown]
# ## What float16 cannot hold
#
# float16 ends at 65,504, and attention meets that end three times. An exponential overflows from a score of about 11.1;
# this is one reason why the row's largest score is subtracted. The product q · k can overflow before it is divided. And
# the mask: float32's lowest number becomes −∞, and float16's own, −65,504, becomes −∞ if a score of −20 is added.

# %%
half = np.float16
with np.errstate(over="ignore"):
    assert np.isfinite(np.exp(half(11)))
    assert np.isinf(np.exp(half(12)))
    assert half(lowest) == -np.inf
    assert half(-65504) + half(-10) == half(-65504)  # lost in the sum, as it should be
    assert half(-65504) + half(-20) == -np.inf

# %%
for i in range(config.num_hidden_layers):
    scores = trace[f"encoder.layer.{i}.attention.self.scores"]
    print(f"layer {i}: q · k is up to {np.abs(scores).max() * math.sqrt(E):,.0f} in size")

# %% [markdown]
# Look at the last layer of these weights: its q · k would be infinite in float16. That is why engines divide q by √E
# *before* the product, or keep the scores in float32. This package does the latter: `ops.attention_scores` returns
# float32 for float16.
#
# How can scores be so large? Nearly all of such a score is the same for its whole row, which changes no share. Within a
# row the scores of this layer differ by far less.

# %%
assert np.abs(scores).max() * math.sqrt(E) > np.finfo(half).max  # of the last layer
apart = np.ptp(scores, axis=-1)  # the largest score of each row, less the smallest
print(f"scores of up to {np.abs(scores).max():,.0f}; in a row {np.median(apart):.0f} apart, at most {apart.max():,.0f}")
assert apart.max() < 0.1 * np.abs(scores).max()

# %%
with np.errstate(over="ignore"):
    assert np.isinf(half(300) * half(300) / half(8))  # 90,000 is too large
assert half(300) / half(8) * half(300) == half(11250)  # divided first, it fits
assert ops.attention_scores(q.astype(half), k.astype(half)).dtype == np.float32

# %% [markdown]
# Large scores cost digits in float32, too. Its numbers are the further apart, the larger they are: near 10,000 by
# 0.001. A score that is off by half of that makes its share wrong by a factor of e^0.0005.

# %%
step = np.spacing(np.float32(10_000))
print(f"near 10,000, float32 numbers are {step:.4f} apart: a share may be off by {math.expm1(step / 2):.2%}")
assert step == 2**-10

# %% [markdown]
# ## Switching a head off
#
# A *head mask* is another kind of mask. It has a factor for each head, (H,) or (layers, H), and multiplies the shares
# *after* the softmax. With 0, a head's rows sum to 0 and it collects nothing, as if its E columns of
# `attention.output.dense.weight` were 0. No other head of that layer changes.

# %%
head_mask = np.ones((config.num_hidden_layers, H))
head_mask[1, 3] = 0
off = minroberta.trace(model, **model.tokenize(text), head_mask=head_mask)
before, after = (ops.split_heads(x[name], E) for x in (trace, off))  # contexts: (B, H, L, E)

assert (off[f"{name}.probs"][0, 3] == 0).all()
assert (after[0, 3] == 0).all()
assert same(np.delete(after, 3, axis=1), np.delete(before, 3, axis=1))

# %%
arrays, dense = flat(model.params), "encoder.layer.1.attention.output.dense.weight"
arrays[dense] = np.where(np.arange(D) // E == 3, 0, arrays[dense])  # the columns of head 3
zeroed = minroberta.Model(config, tree(arrays), "masked_lm")
assert same(zeroed(**model.tokenize(text)).logits, off["logits"])

# %% [markdown]
# ## A bias that nobody misses
#
# Query, key and value have a bias each. Suppose that a port forgets one of the three, in every layer.
#
# **Predict before you run:** which one can be left out without any change of the model's answer?


# %%
def without(part):
    """The model without the bias of query, key or value."""
    arrays = flat(model.params)
    zeros = {name: 0 * x for name, x in arrays.items() if name.endswith(f"self.{part}.bias")}
    return minroberta.Model(config, tree({**arrays, **zeros}), "masked_lm", model.tokenizer)


# %%
right, moved = model(**batch).logits, {}
for part in ("query", "key", "value"):
    moved[part] = np.abs(without(part)(**batch).logits - right).max()
    largest = max(np.abs(p.attention.self.tree[part]["bias"]).max() for p in model.p.encoder.layer)
    print(f"without the {part}'s bias, of up to {largest:.1f}, logits move by up to {moved[part]:.1g}")

# %%
assert moved["key"] < 1e-6
assert min(moved["query"], moved["value"]) > 0.01

# %% [markdown]
# The bias of the key is not small, and it does nothing. Here is why. With it, the score of query l and key s is
#
# ```
# q(l) · (k(s) + b) = q(l) · k(s) + q(l) · b
# ```
#
# The last term has no s in it: it is the same for the whole row, and a softmax does not see what is added to a whole
# row. The query's bias adds b · k(s), which differs from key to key. The value's bias does arrive: shares sum to
# 1, so that each query collects it exactly once (exercise 3).

# %%
row = np.array([2.0, 0.0, -1.0])

assert np.allclose(softmax(row + 100), softmax(row))

# %% [markdown]
# ## What a report says
#
# So nobody would find this mistake in the answers. But it is one, and with another mistake beside it, it would confuse
# you. `compare` finds it, because it does not look at the answers: it takes a port's values *by name*, and has the
# reference repeat each step, in float64, from the port's values before it.

# %%
reference = minroberta.trace(model, **batch)
port = dict(minroberta.trace(without("key"), **batch))  # names and arrays, as of any port
report = compare(reference, port)

print(len(report.rows), "values were compared")
print("right?", report.ok)
print("last good:", report.last_good)
print("first bad:", report.first_bad)

# %%
for line in str(report).splitlines()[:2]:
    print(textwrap.fill(line, 100, break_on_hyphens=False))

# %% [markdown]
# Each value has a *verdict*. `good`: right, up to rounding. `wrong`: this step itself is wrong. `follows`: this step is
# right, but what it was computed from is not. So one mistake is one finding, whatever goes wrong after it. Here the
# keys are wrong, the scores follow, and everything after the softmax is good again.

# %%
verdicts = {row.name: row.verdict for row in report.rows}
wrong = [name for name, verdict in verdicts.items() if verdict == "wrong"]
follows = [name for name, verdict in verdicts.items() if verdict == "follows"]

assert wrong == [f"encoder.layer.{i}.attention.self.key" for i in range(6)]
assert follows == [f"encoder.layer.{i}.attention.self.scores" for i in range(6)]
assert report.first_bad == wrong[0]
assert verdicts["logits"] == "good"

# %% [markdown]
# The same as a picture: the error of every value, in the order of computation, in multiples of what rounding in float32
# would do. The parts of the network stand on grey and white in turn, and the dotted line is the first wrong value.
# Values in the green band are right. A cross is the error of a step alone; the line is the error that has built up, and
# a spike without a cross only follows.

# %%
plot.error(report)

# %% [markdown]
# `diagnose` goes on from there. It plants each of the mistakes that it knows into the reference, and names the one that
# makes all steps right. From the logits alone, though, there is nothing to find.

# %%
(finding,) = diagnose(model, batch, port)
print(finding)

assert finding.name == "bias-missing-key"
assert compare(reference, {"logits": port["logits"]}).ok

# %% [markdown]
# ## Three exercises
#
# Replace the stub and run the cell; the check says what is wrong. A solution is folded below each check.
#
# **1. Attention with a mask.** Write it for all heads. Return three arrays: the scores with the mask added, the shares,
# and what is collected, merged to (B, L, D). The check gives your arrays to the oracle, which repeats each step and
# names the first wrong one, and tries a row that hides every key. (Hint: `np.finfo(q.dtype).min` is the number; it is
# to be added where the mask is 0. The mask needs two more axes.)


# %%
# exercise 1
def my_attention(q, k, v, mask):
    """Scores and shares, (B, H, L, L), and context, (B, L, D).

    q, k, v: (B, H, L, E); mask: (B, L), 1 for a token and 0 for padding.
    """


# %%
# check 1
check(1, my_attention)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def my_attention(q, k, v, mask):
#     B, H, L, E = q.shape
#     hidden = np.where(mask == 0, np.finfo(q.dtype).min, 0)[:, None, None]  # (B, L) -> (B, 1, 1, L)
#     scores = q @ k.swapaxes(-1, -2) / math.sqrt(E) + hidden
#     shares = softmax(scores)
#     return scores, shares, (shares @ v).swapaxes(1, 2).reshape(B, L, H * E)
# ```
#
# </details>

# %% [markdown]
# **2. A head of your own.** Make the queries and keys of a head in which each token reads the one before it, with a
# share of more than 90 %. The first token may read what it likes. You may assume that E is at least L. (Hint: give each
# position a vector that is orthogonal to the others. Which position should query l look like? And mind the √E.)


# %%
# exercise 2
def my_head(L, E):
    """Queries and keys, (L, E) each."""


# %%
# check 2
check(2, my_head)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def my_head(L, E):
#     k = 10 * math.sqrt(E) * np.eye(L, E)  # key s is a vector along axis s
#     q = np.roll(np.eye(L, E), 1, axis=0)  # query l is like key l - 1
#     return q, k
# ```
#
# </details>

# %% [markdown]
# **3. The value's bias can leave, too.** Not for nothing, but there is another bias to take its work over: that of
# `attention.output.dense`. Return its new value, with which the model gives the same answers though all value biases
# are 0. (Hint: shares sum to 1, so the context of every token holds the value's bias once. What does the next linear
# map, x Wᵀ + b, make of it?)


# %%
# exercise 3
def my_bias(weight, bias, value_bias):
    """The new bias, (D,). weight: (D, D) and bias: (D,) of attention.output.dense; value_bias: (D,)."""


# %%
# check 3
check(3, my_bias)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# def my_bias(weight, bias, value_bias):
#     return bias + weight @ value_bias
# ```
#
# </details>

# %% [markdown]
# **Where to go on.** Next is [5. A layer, two ways to norm it](05_layers.ipynb). The code is in `minroberta/ops.py`,
# under "attention" and "masks", and in `minroberta/attend.py`; [docs/testing.md](../docs/testing.md) is about
# `compare`, and [docs/mistakes.md](../docs/mistakes.md) lists what `diagnose` knows. Papers:
# [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), section 3.2;
# [Clark et al. 2019](https://arxiv.org/abs/1906.04341), section 3.
