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
# # 6. Backwards: what does each weight owe?
#
# A model has guessed, and the guess was not good enough. Which of its seven million weights should change, and in which
# direction? The answer is a number for each weight, the *gradient*, and one pass from the end to the beginning computes
# them all. Here we do that pass by hand, through the head, a norm and an attention, and check it by nudging weights.
#
# This takes about 25 minutes. Read [4. Who reads whom?](04_attention.ipynb) and
# [5. A layer](05_layers.ipynb) first. You need no more calculus than the slope of a curve.

# %%
import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import activations, ops, ops_backward, plot
from minroberta.exercises.backwards import check
from minroberta.testing import diagnose_gradients
from minroberta.train import Moments, adamw
from minroberta.weights import flat, tree

np.set_printoptions(precision=3, suppress=True, linewidth=110)
plt.rcParams.update(plot.STYLE)

# %% [markdown]
# We compute in float64, so that rounding does not hide our mistakes. The model is to fill a gap, and the right token is
# given as a *label*. A label of −100 means: do not ask here.

# %%
model = minroberta.load(dtype="float64")
config, p = model.config, model.p

ids = model.tokenize("The river flows into the <mask> Ocean.")["input_ids"]  # (B, L)
is_mask = ids == model.tokenizer.mask_token_id
right = model.tokenizer.library.token_to_id("ĠAtlantic")
labels = np.where(is_mask, right, -100)  # (B, L)
trace = minroberta.trace(model, ids)


# %%
def same(ours, theirs):
    """True if two arrays are equal but for rounding in float64."""
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


# %% [markdown]
# The *loss* is one number that says how bad the guess was: −log of the probability of the right token. It is 0 for a
# sure and right guess. [Notebook 7](07_training.ipynb) is about losses; here it is only the number to make smaller.

# %%
loss = model(ids, labels=labels).loss
chances = ops.softmax(trace.output.logits[is_mask][0])  # (V,)

assert np.isclose(loss, -math.log(chances[right]))
print(f"'Atlantic' gets {chances[right]:.1%}, so the loss is {loss:.4f}")

# %% [markdown]
# ## One weight, by nudging
#
# What does a weight owe? Make it a little larger, and see what the loss does. The change of the loss, divided by the
# change of the weight, is the slope. It is more exact to go the same way up and down (a *central difference*):
#
# $$\frac{\partial\,\mathrm{loss}}{\partial w} \approx \frac{\mathrm{loss}(w + h) - \mathrm{loss}(w - h)}{2h}$$
#
# `minroberta.gradients` has computed the same slope for every weight, and for every value on the way. We take the
# weight that owes most in one matrix.


# %%
def loss_after(change, name):
    """The loss if an array is added to the weight of this name."""
    weights = flat(model.params)  # a dict of all weights by name
    return minroberta.forward(
        tree({**weights, name: weights[name] + change}), config, "masked_lm", input_ids=ids, labels=labels
    )["loss"]


# %%
found = minroberta.gradients(model, ids, labels=labels, intermediates=True)
name = "encoder.layer.3.output.dense.weight"
at = np.unravel_index(np.abs(found[name]).argmax(), found[name].shape)

h = np.zeros_like(found[name])
h[at] = 1e-5
slope = (loss_after(h, name) - loss_after(-h, name)) / 2e-5

assert np.isclose(slope, found[name][at], rtol=1e-5)
print(f"by nudging {slope:.9f}, by the backward pass {found[name][at]:.9f}")

# %% [markdown]
# Nudging costs two runs of the model for *one* weight. The backward pass costs about two runs for *all* of them: each
# matrix product of the forward pass becomes two. That difference is why networks can be trained at all.
#
# A gradient has the shape of what it belongs to. We write ∂y for the gradient of the loss with respect to y.

# %%
weights = flat(model.params)

assert found.keys() == weights.keys()
assert all(found[name].shape == w.shape for name, w in weights.items())
assert all(g.shape == trace[name].shape for name, g in found.intermediates.items() if name in trace)
print(f"{len(weights)} weights with {sum(w.size for w in weights.values()):,} numbers, and a slope for each")

# %% [markdown]
# ## One row, in numbers
#
# Take a linear map with two inputs and three outputs. Suppose that we know what each *output* owes: ∂y = (1, 0, −2).
# Input 0 goes into every output, each time with another weight. So its debt is collected from all of them, with the
# same weights: ∂x₀ = 1·1 + 0·3 − 2·5 = −9. That is the chain rule: what went out over a weight comes back over it.

# %%
x, W, b = np.array([4.0, 2.0]), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.zeros(3)
g = np.array([1.0, 0.0, -2.0])  # ∂y: the loss grows by g·dy
gx = g @ W  # (O,) @ (O, I) -> (I,): forwards it was x @ W.T

assert gx[0] == 1 * 1 + 0 * 3 - 2 * 5
print("∂x =", gx)

# %% [markdown]
# A weight is multiplied by its input on the way to its output, so it owes its output's debt times that input:
# ∂W_oi = ∂y_o · x_i. A bias is added as it is, so it owes just what its output owes. Nudging agrees.

# %%
gW, gb = np.outer(g, x), g  # (O, I), (O,)


def toy_loss(x, W, b):
    return g @ (W @ x + b)


nudged = [(toy_loss(x, W + d, b) - toy_loss(x, W - d, b)) / 2 for d in np.eye(6).reshape(6, 3, 2)]
assert np.allclose(nudged, gW.reshape(6))
assert np.allclose([toy_loss(x + d, W, b) - toy_loss(x, W, b) for d in np.eye(2)], gx)

# %% [markdown]
# With many rows, one for each token, every token uses the same weight, so its debts are summed over the tokens. These
# are the three gradients of a linear map, for x (N, I) and g = ∂y (N, O):
#
# | of | formula | shapes |
# |---|---|---|
# | the input | ∂x = g W | (N, O) @ (O, I) → (N, I) |
# | the weight | ∂W = gᵀ x | (O, N) @ (N, I) → (O, I) |
# | the bias | ∂b = Σ g | over the N rows → (O,) |


# %%
def linear_backward(g, x, W):
    """∂x, ∂W and ∂b of y = x Wᵀ + b. g: (N, O), x: (N, I), W: (O, I)."""
    return g @ W, g.T @ x, g.sum(0)


# %% [markdown]
# ## Where it begins: softmax and loss
#
# The first debts are those of the logits, the scores before the softmax. They come out surprisingly simple:
# **∂logits = probabilities − one-hot of the right token** (1 for that token, 0 for all others), divided by the number
# of labels that count (here 1). Every wrong token owes its probability. The right one owes its probability less 1:
# negative, so raising it lowers the loss.

# %%
g = found.intermediates["logits"][0]  # (L, V)
expected = chances - (np.arange(config.vocab_size) == right)

assert same(g[is_mask[0]][0], expected)
assert abs(expected.sum()) < 1e-12  # adding a constant to all logits changes nothing
assert (g[~is_mask[0]] == 0).all()  # where the label is -100, nothing is owed

# %% [markdown]
# ## Through the head of the language model
#
# Forwards, the head was: linear, gelu, norm, and the product with the table of tokens. Backwards we meet the product
# first. It is a linear map whose weight is the table of word embeddings, with a row for each token.

# %%
table = p.embeddings.word_embeddings.weight  # (V, D)
g, of_table, of_bias = linear_backward(g, trace["lm_head.layer_norm"][0], table)  # (L, V) -> (L, D)

assert same(g, found.intermediates["lm_head.layer_norm"][0])
assert same(of_bias, found["lm_head.bias"])
print("∂ of the normed states", g.shape, " ∂ of the table, from here", of_table.shape)

# %% [markdown]
# **A norm.** Forwards, y = z·w + b with z = (x − mean) / s, and s = √(variance + eps). Backwards, w and b are like a
# weight and a bias: ∂w = Σ g·z and ∂b = Σ g. What is left is h = g·w, the debt of z. But x moves z in three ways:
# directly, through the mean, and through s. For small changes dx (the first formula is the chain rule: s² is a mean of
# squares, so that 2s·ds = mean(2·s·z·dx)):
#
# $$ds = \mathrm{mean}(z\,dx), \qquad dz = \frac{dx - \mathrm{mean}(dx) - z\;\mathrm{mean}(z\,dx)}{s}$$
#
# This is a matrix times dx. The way back is always the *transposed* matrix times the debt, as with W above. But this
# matrix is symmetric: subtracting a mean, and taking out the part along z, are the same from both sides. So the way
# back is the same map: put h for dx.


# %%
def norm_backward(g, x, w, eps):
    """∂x, ∂w and ∂b of a layer norm over the last axis. g, x: (N, D), w: (D,)."""
    s = np.sqrt(x.var(-1, keepdims=True) + eps)  # (N, 1)
    z, h = (x - x.mean(-1, keepdims=True)) / s, g * w  # (N, D)
    gx = (h - h.mean(-1, keepdims=True) - z * (h * z).mean(-1, keepdims=True)) / s
    return gx, (g * z).sum(0), g.sum(0)


# %%
x = trace["lm_head.gelu"][0]  # what went into the norm: (L, D)
g, of_weight, of_bias = norm_backward(g, x, p.lm_head.layer_norm.weight, config.layer_norm_eps)

assert same(g, found.intermediates["lm_head.gelu"][0])
assert same(of_weight, found["lm_head.layer_norm.weight"])
assert same(of_bias, found["lm_head.layer_norm.bias"])

D = config.hidden_size
matrix = norm_backward(np.eye(D), np.tile(x[0], (D, 1)), np.ones(D), config.layer_norm_eps)[0]  # row i: ∂z_i by ∂x
assert np.allclose(matrix, matrix.T)  # symmetric

# %% [markdown]
# What do the two means do? A norm's output does not change if all its inputs grow by the same number, nor if they move
# away from their mean by the same factor. What makes no difference can owe nothing. So ∂x has nothing in these two
# directions: subtracting the means takes just that out.

# %%
centred = x - x.mean(-1, keepdims=True)
lengths = np.linalg.norm(g, axis=-1) * np.linalg.norm(centred, axis=-1)  # of the two vectors, multiplied

assert (abs(g.sum(-1)) <= 1e-9 * abs(g).sum(-1)).all()  # nothing for "all higher"
assert (abs((g * centred).sum(-1)) <= 1e-2 * lengths).all()  # nearly nothing for "all wider": eps is not 0

# %% [markdown]
# **The gelu** works on each number alone: its debt is multiplied by the slope of the curve there, which is
# Φ(x) + x·φ(x), with the normal distribution's Φ and its density φ. Then comes the **linear** map, as above, and we
# have arrived at the last hidden state.

# %%
u, step = trace["lm_head.dense"][0], 1e-6
slope = ops_backward.gelu_slope(u)
by_nudging = (activations.gelu(u + step) - activations.gelu(u - step)) / (2 * step)
assert np.allclose(slope, by_nudging, atol=1e-8)

g, of_weight, of_bias = linear_backward(g * slope, trace["encoder"][0], p.lm_head.dense.weight)
assert same(of_weight, found["lm_head.dense.weight"])
assert same(g, found.intermediates["encoder"][0])  # (L, D)

# %% [markdown]
# At the last state, only the token at the mask owes anything: the loss reads no other. One layer further down, all
# tokens do, because the mask has read them by attention. That is how a guess teaches the states of the other tokens.

# %%
owes = {name: np.abs(found.intermediates[name][0]).max(-1) > 0 for name in ("encoder", "encoder.layer.4")}

assert (owes["encoder"] == is_mask[0]).all()
assert owes["encoder.layer.4"].all()
print("tokens that owe: after layer 5:", owes["encoder"].sum(), " after layer 4:", owes["encoder.layer.4"].sum())

# %% [markdown]
# ## A sum: both ways get the whole debt
#
# In a residual sum x + f(x), x is used twice. If a value is used several times, its debts are *added*: here the sum's
# own, and what f passes back. The first half arrives without passing any weight, which is why gradients survive many
# layers. Here is the feed-forward half of layer 5, from its sum down to its input.

# %%
layer, path = p.encoder.layer[5], "encoder.layer.5"
g = found.intermediates[f"{path}.output.sum"][0]  # (L, D), at the sum before the norm
inner, _, _ = linear_backward(g, trace[f"{path}.intermediate"][0], layer.output.dense.weight)  # (L, D) -> (L, F)
inner = inner * ops_backward.gelu_slope(trace[f"{path}.intermediate.dense"][0])
through, of_weight, _ = linear_backward(inner, trace[f"{path}.attention"][0], layer.intermediate.dense.weight)

assert same(of_weight, found[f"{path}.intermediate.dense.weight"])
assert same(g + through, found.intermediates[f"{path}.attention"][0])

# %% [markdown]
# The table of tokens is used twice, too: to look up the ids at the start, and as the decoder at the end. So its
# gradient has two parts. The decoder's part reaches *every* row, since every token takes part in the softmax. The other
# part reaches only the rows of the tokens in the text.

# %%
of_lookup = found["embeddings.word_embeddings.weight"] - of_table
in_text = np.isin(np.arange(config.vocab_size), ids)

assert (np.abs(of_table).max(-1) > 0).all()
assert np.abs(of_lookup[~in_text]).max() < 1e-12 < np.abs(of_lookup[in_text]).max(-1).min()
rows = np.flatnonzero(np.abs(found["embeddings.position_embeddings.weight"]).max(-1))
assert list(rows) == list(range(2, 2 + ids.shape[1]))  # positions that no token has owe nothing

# %% [markdown]
# ## Through attention
#
# Forwards, in each head of E channels: scores = q kᵀ / √E, shares = softmax(scores), context = shares · v. Backwards,
# from the context's debt g, line by line. Both products are like linear maps: each factor gets g times the other
# factor.

# %%
at = "encoder.layer.2.attention.self"
q, k, v = (ops.split_heads(trace[f"{at}.{part}"], config.head_size) for part in ("query", "key", "value"))
g = ops.split_heads(found.intermediates[at], config.head_size)  # (B, H, L, E), at the context
shares = trace[f"{at}.probs"]  # (B, H, L, S)

g_v = shares.swapaxes(-1, -2) @ g  # (B, H, S, L) @ (B, H, L, E) -> (B, H, S, E)
g_shares = g @ v.swapaxes(-1, -2)  # (B, H, L, E) @ (B, H, E, S) -> (B, H, L, S)

assert same(ops.merge_heads(g_v), found.intermediates[f"{at}.value"])
assert same(g_shares, found.intermediates[f"{at}.probs"])

# %% [markdown]
# **The softmax.** The shares of a row sum to 1, so one can grow only if others shrink. A score therefore owes its share
# times how much *more* it is worth than the row's average. For a row's scores s and shares p:
#
# $$\partial s_i = p_i\,\Bigl(\partial p_i - \sum_j p_j\,\partial p_j\Bigr)$$

# %%
g_scores = shares * (g_shares - (shares * g_shares).sum(-1, keepdims=True))  # (B, H, L, S)
g_q = g_scores @ k / math.sqrt(config.head_size)  # (B, H, L, S) @ (B, H, S, E) -> (B, H, L, E)
g_k = g_scores.swapaxes(-1, -2) @ q / math.sqrt(config.head_size)  # (B, H, S, L) @ (B, H, L, E) -> (B, H, S, E)

assert same(g_scores, found.intermediates[f"{at}.scores"])
assert same(ops.merge_heads(g_q), found.intermediates[f"{at}.query"])
assert same(ops.merge_heads(g_k), found.intermediates[f"{at}.key"])
assert np.abs(g_scores.sum(-1)).max() < 1e-12  # each row of scores owes 0 in total

# %% [markdown]
# From here it is linear maps again: query, key and value each pass a part of the debt to the layer's input, and the
# three are added. So ends a layer, and the next one down begins. `minroberta/backward.py` walks all layers and heads
# in this way, and `minroberta/ops_backward.py` holds the formulas.

# %% [markdown]
# ## Three biases
#
# **Predict before you run:** query, key and value are three linear maps, and each has a bias, a vector that is added
# for every token. One of the three owes *exactly nothing*, in every layer, for every text and every loss. Which one?

# %%
parts = ("query", "key", "value")
for i in range(config.num_hidden_layers):
    largest = {part: np.abs(found[f"encoder.layer.{i}.attention.self.{part}.bias"]).max() for part in parts}
    print(f"layer {i}  " + "  ".join(f"{part} {g:.1e}" for part, g in largest.items()))
    assert largest["key"] < 1e-10 * min(largest["query"], largest["value"])

# %% [markdown]
# The key's. Its bias b adds q·b to *all* the scores of a query, and a softmax ignores what is added to a whole row. The
# query's bias is different: it adds b·k, another number for each key. The value's is different, too: the shares sum to
# 1, so that it is simply added to every context.
#
# The formulas agree: ∂b = Σ ∂k over the keys, = Σ q (Σ ∂s) / √E, and the scores of a row owe 0 in total. So you may
# replace the key's bias by anything: here by random numbers.

# %%
random = np.random.default_rng(0)
biases = {name: random.normal(size=w.shape) for name, w in weights.items() if name.endswith("key.bias")}
other = minroberta.forward(tree({**weights, **biases}), config, "masked_lm", input_ids=ids)["logits"]

assert len(biases) == config.num_hidden_layers
assert same(other, trace.output.logits)

# %% [markdown]
# What of it? In float32, the sum is not exactly 0 but rounding, a hundred-millionth or so. And AdamW, the usual
# optimizer ([notebook 7](07_training.ipynb)), divides each gradient by its own usual size: noise by the size of the
# noise. So the key's bias walks on as if it had learned something.

# %%
small = minroberta.load()  # the same model in float32
rounded = minroberta.gradients(small, ids, labels=labels)
before = flat(small.params)
after, _ = adamw(before, rounded, Moments.of(before), rate=1e-3, weight_decay=0)  # a first step: no history yet

for part in parts:
    name = f"encoder.layer.3.attention.self.{part}.bias"
    moved = np.abs(after[name] - before[name]).mean() / 1e-3
    print(f"{part:<6} gradient {np.abs(rounded[name]).max():.0e}, moved by {moved:.2f} of the learning rate")
    assert moved > 0.01

assert np.abs(rounded["encoder.layer.3.attention.self.key.bias"]).max() < 1e-6

# %% [markdown]
# This has happened to the model that you are looking at: in each layer its key biases are the *largest* of the three,
# though they do nothing. So do not compare two trainings by their key biases, and do not conclude from a
# large weight that it matters.


# %%
def sizes(part):
    """The mean size of the elements of one of the three biases, in each layer."""
    names = [f"encoder.layer.{i}.attention.self.{part}.bias" for i in range(config.num_hidden_layers)]
    return np.array([np.abs(weights[name]).mean() for name in names])


for part in parts:
    print(f"{part:<6}", sizes(part))

assert (sizes("key") > np.maximum(sizes("query"), sizes("value"))).all()

# %% [markdown]
# ## How small should a nudge be?
#
# Nudging checks a backward pass, your own above all. One direction through many weights at once is enough: move the
# weights by h·d and compare the change with Σ ∂w·d. But which h? **The picture to remember** is the error of a central
# difference against the step, in both dtypes.

# %%
name = "encoder.layer.2.intermediate.dense.weight"
d = found[name] * random.random(found[name].shape)  # a random direction in which the loss rises
d /= np.linalg.norm(d)
exact = (found[name] * d).sum()
copies = {dtype: {key: w.astype(dtype) for key, w in weights.items()} for dtype in ("float32", "float64")}


def error(h, dtype):
    """The relative error of the central difference with step h, computed in this dtype."""
    losses = []
    for step in (h, -h):
        changed = {**copies[dtype], name: copies[dtype][name] + (step * d).astype(dtype)}
        losses.append(minroberta.forward(tree(changed), config, "masked_lm", input_ids=ids, labels=labels)["loss"])
    return abs((float(losses[0]) - float(losses[1])) / (2 * h) / exact - 1)


# %%
steps = 10.0 ** np.arange(0.5, -10.1, -0.5)
errors = {dtype: np.array([error(h, dtype) for h in steps]) for dtype in copies}
best = {dtype: steps[e.argmin()] for dtype, e in errors.items()}

assert errors["float64"].min() < 1e-6 < np.median(errors["float32"])
assert best["float64"] < best["float32"]
assert all(e[-5:].max() > 100 * e.min() for e in errors.values())  # a step can be too small, too

# %%
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for (dtype, e), marker in zip(errors.items(), "so", strict=True):
    ax.loglog(steps, np.maximum(e, 1e-11), f"{marker}-", label=f"in {dtype}", markersize=5)
ax.set_title("A nudge can be too large and too small: error of the slope by step")
ax.set_xlabel("step h")
ax.set_ylabel("relative error of the slope")
ax.text(0.98, 0.04, "large steps:\nthe curve bends, error ~ h²", ha="right", transform=ax.transAxes)
ax.text(0.02, 0.04, "small steps:\nrounding, error ~ 1/h", transform=ax.transAxes)
ax.legend(loc="upper center")
plt.show()

# %% [markdown]
# On the right the curve bends, and the error falls a hundredfold for a tenth of the step. On the left, two nearly equal
# losses are subtracted, and only their last digits are left. The best step is about the cube root of the dtype's
# precision. In float32 little is left in between: so gradients are checked in float64. (A single point far below its
# neighbours is luck: there the two errors happen to cancel.) At the very left, float32 is flat at 1: the nudge is so
# small that the loss does not move, and a slope of 0 is 100 % wrong.

# %%
middle = (steps <= 0.11) & (steps >= 0.9e-3)
fall = np.log10(errors["float64"][middle][0] / errors["float64"][middle][-1]) / 2  # in decades, for a decade of steps

assert 1.5 < fall < 2.5
assert (errors["float32"][-3:] == 1).all()  # the loss does not move
assert np.finfo(np.float64).eps ** (1 / 3) < 1e-5 < 4e-3 < np.finfo(np.float32).eps ** (1 / 3)
print(f"best step: {best['float32']:.0e} in float32, {best['float64']:.0e} in float64")

# %% [markdown]
# ## When a gradient is wrong
#
# A wrong gradient rarely looks wrong: as long as it points roughly downhill, the loss still falls.
# `diagnose_gradients` compares the gradients of a port with the reference, and names a known mistake if one explains
# them. Let us forget that the table of tokens is used twice. A tiny random model is enough for that.

# %%
tiny = {"model_type": "roberta", "vocab_size": 60, "hidden_size": 16, "intermediate_size": 32,
        "num_attention_heads": 2, "num_hidden_layers": 1, "initializer_range": 0.3}  # fmt: skip
port = minroberta.init(tiny, "masked_lm", seed=1, dtype="float64")
given, wanted = {"input_ids": np.array([[0, 31, 42, 53, 2]])}, np.array([[-100, -100, 42, -100, -100]])

theirs = minroberta.gradients(port, **given, labels=wanted, intermediates=True)
states = minroberta.trace(port, **given)["lm_head.layer_norm"][0]
forgotten = theirs.intermediates["logits"][0].T @ states  # (V, L) @ (L, D) -> (V, D)
wrong = {**theirs, "embeddings.word_embeddings.weight": theirs["embeddings.word_embeddings.weight"] - forgotten}

assert sum((g * theirs[name]).sum() for name, g in wrong.items()) > 0  # a step against it still lowers the loss
(finding,) = diagnose_gradients(port, given, wrong, wanted, precision="float64")
assert finding.name == "decoder-gradient-missing"
print(textwrap.fill(str(finding), 100))

# %% [markdown]
# ## Three exercises
#
# Each asks for a function of arrays; `check` tries it with numbers of its own.
#
# **1. Where debts begin.** Write the gradient of the mean cross entropy with respect to the logits. `logits`: (L, V),
# `labels`: (L,), where −100 means that the position does not count. (Hint: probabilities less one-hot, 0 where the
# label is −100, divided by the number of labels that count. Careful: −100 is also a valid index in NumPy.)


# %%
# exercise 1
def logits_gradient(logits, labels):
    """∂logits, (L, V), of the mean of -log softmax(logits)[label] over the labels that are not -100."""


# %%
# check 1
check(1, logits_gradient)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def logits_gradient(logits, labels):
#     counts = labels != -100
#     g = ops.softmax(logits)
#     g[counts, labels[counts]] -= 1
#     return g * counts[:, None] / counts.sum()
# ```
#
# </details>

# %% [markdown]
# **2. A norm without a mean.** Later models often use an RMS norm ([Zhang and Sennrich
# 2019](https://arxiv.org/abs/1910.07467), section 4), which does not subtract the mean: y = w · x / s, with
# s = √(mean(x²) + eps). Derive its backward pass. (Hint: as above with z = x / s, but one of the three ways by which x
# moves z is gone, so that one term is gone.)


# %%
# exercise 2
def rms_norm_backward(g, x, w, eps):
    """∂x (N, D) and ∂w (D,) of y = w · x / √(mean(x²) + eps), the mean over the last axis. g = ∂y: (N, D), w: (D,)."""


# %%
# check 2
check(2, rms_norm_backward)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def rms_norm_backward(g, x, w, eps):
#     s = np.sqrt((x * x).mean(-1, keepdims=True) + eps)
#     z, h = x / s, g * w
#     return (h - z * (h * z).mean(-1, keepdims=True)) / s, (g * z).sum(0)
# ```
#
# </details>

# %% [markdown]
# **3. Attention, backwards.** All of it, with a mask that is added to the scores: from the context's debt to those of
# query, key and value. (Hint: compute the shares again first, with the mask. Then four lines stand above. The mask
# itself needs no line backwards.)


# %%
# exercise 3
def attention_backward(g, q, k, v, mask):
    """∂q, ∂k, ∂v of context = softmax(q kᵀ / √E + mask) v. g, q, k, v: (B, H, L, E); mask: (B, 1, 1, L)."""


# %%
# check 3
check(3, attention_backward)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# def attention_backward(g, q, k, v, mask):
#     scale = math.sqrt(q.shape[-1])
#     shares = ops.softmax(q @ k.swapaxes(-1, -2) / scale + mask)
#     g_shares = g @ v.swapaxes(-1, -2)
#     g_scores = shares * (g_shares - (shares * g_shares).sum(-1, keepdims=True)) / scale
#     return g_scores @ k, g_scores.swapaxes(-1, -2) @ q, shares.swapaxes(-1, -2) @ g
# ```
#
# </details>

# %% [markdown]
# ## Where to go on
#
# Now that each weight knows what it owes, it can pay: [7. Training from nothing](07_training.ipynb) takes a random
# model and follows the debts until it understands.
#
# The formulas, with their derivations, are in `minroberta/ops_backward.py`; the walk is in `minroberta/backward.py`.
# [docs/training.md](../docs/training.md) is about its use, and [decision 16](../docs/decisions/16-backward.md) says why
# it is written by hand. The norm is that of [Ba et al. 2016](https://arxiv.org/abs/1607.06450), section 3; the
# attention that of [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), section 3.2.1.
