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
# # 1. One sentence: what happens between text and guess?
#
# A RoBERTa ([Liu et al. 2019](https://arxiv.org/abs/1907.11692)) reads a text in which a word is hidden, and says what
# the word may be. Here we follow one sentence through a small one, and look at every array on the way. Each step is a
# line or two of NumPy, which we write out once before we call the package's function for it. At the end our own steps
# give exactly what the finished model gives.
#
# It takes about 25 minutes, and as long again with the exercises. No other notebook comes before it: you need to know
# what a matrix product is, and a little Python. Whatever the text claims, the code beside it checks with `assert`.
# Weights of a newer training may draw other pictures than you see here; the claims hold for any.

# %%
import itertools
import json
import math

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import activations, heads, layers, ops, plot, weights
from minroberta.exercises.walkthrough import TEXT, check

np.set_printoptions(precision=2, suppress=True, linewidth=110)
plt.rcParams.update(plot.STYLE)

model = minroberta.load()  # a small model of English, which comes with the package
config = model.config
text = TEXT

print(model)
print(text)

# %% [markdown]
# Six layers, vectors of 256 numbers, eight heads: roberta-base has 12, 768 and 12, and 50,265 tokens instead of
# 8,000; the computation is the same. The rest of the notebook explains what these are.
#
# One helper: `same` compares what we compute with what the model computes. Pictures come from `minroberta.plot`; its
# `matrix` draws a matrix as colours, red above zero and blue below, or from white to blue if nothing is below zero.


# %%
def same(ours, theirs):
    """Equal, but for the last digits of float32: the largest number has seven of them."""
    return ours.shape == theirs.shape and np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


# %% [markdown]
# ## From text to bytes
#
# A computer stores text as bytes: numbers from 0 to 255. In UTF-8 an English letter is one byte, an accented letter
# two, and an emoji four. The model's alphabet is these 256 bytes. So no text of any language holds a letter that the
# model does not know.

# %%
for word in ["river", "café", "🌊"]:
    print(f"{word:<8} {len(word)} characters, {len(word.encode())} bytes: {list(word.encode())}")

assert len("é".encode()) == 2
assert bytes([0xC3, 0xA9]).decode() == "é"

# %% [markdown]
# Bytes are awkward to print, for one of them is the space, and others are no letters at all. Byte-level tokenizers
# therefore write each byte as a visible character. A plain letter stands for itself; the space is written
# `Ġ`, and the two bytes of é, which are no letters of English, are written `Ã©`. First the text is cut into words, and
# each word keeps the space on its left.

# %%
library = model.tokenizer.library  # the tokenizers library does this part of the work
words = [word for word, _ in library.pre_tokenizer.pre_tokenize_str("The river flows into the café.")]
print(words)

assert "".join(words).count("Ġ") == 5  # one for each space

# %% [markdown]
# ## From bytes to tokens
#
# Bytes are too small to carry meaning. Before training, someone looked for the pair of neighbours that is commonest in
# a large text and glued it into one new symbol; then again, and again, some thousands of times. This is byte-pair
# encoding, and the list of glued pairs, in the order in which they were found, is all it needs to remember.

# %%
settings = json.loads(library.to_str())["model"]  # what stands in tokenizer.json
merges = [tuple(pair) for pair in settings["merges"]]
print(f"{len(merges)} merges; the first: {merges[:6]}")

assert library.get_vocab_size() == config.vocab_size == 5 + 256 + len(merges)  # special tokens, bytes, merges

# %% [markdown]
# To split a new word, we replay the list. Start with single bytes. Among all neighbours that are in the list, glue
# those that come first in it. Repeat until no neighbours are in the list. Each line below shows the number in the list
# of the merge that was made.

# %%
rank = {pair: number for number, pair in enumerate(merges)}


def split(word):
    """The pieces of a word, printing each step."""
    pieces = list(word)
    print("start     ", " | ".join(pieces))
    while True:
        pairs = list(itertools.pairwise(pieces))
        known = [pair for pair in pairs if pair in rank]
        if not known:
            return pieces
        best = min(known, key=rank.get)
        glued, i = [], 0
        while i < len(pieces):
            width = 2 if tuple(pieces[i : i + 2]) == best else 1
            glued.append("".join(pieces[i : i + width]))
            i += width
        pieces = glued
        print(f"merge {rank[best]:<4}", " | ".join(pieces))


pieces = split("Ġflows")
assert pieces == library.encode(" flows", add_special_tokens=False).tokens

# %% [markdown]
# Our replay gives what the library gives. Common words end as one piece; rare words stay in several, which the model
# has to put together again. The number of each piece in the vocabulary is its *id*.

# %% [markdown]
# ## Ids and special tokens
#
# The model sees ids only. `<s>` opens a text, `</s>` closes it, and `<mask>` stands where a token is to be guessed.
# The mask takes the space on its left with it, since the guessed token will bring one.

# %%
ids = model.tokenize(text)["input_ids"]  # (B, L): one text of L tokens
names = [library.id_to_token(token) for token in ids[0]]
B, L = ids.shape

for i, (token, name) in enumerate(zip(ids[0], names, strict=True)):
    print(f"token {i:<3} id {token:<6} {name}")

print("shape", ids.shape)
assert (names[0], names[-1]) == ("<s>", "</s>")
assert "".join(names[1:-1]).replace("Ġ", " ") == text.replace(" <mask>", "<mask>")

# %%
mask_id = model.tokenizer.mask_token_id
mask_position = int((ids[0] == mask_id).argmax())

assert (ids == mask_id).sum() == 1
assert mask_id == config.vocab_size - 1  # RoBERTa's <mask> is the last of its tokens
print("the mask is token", mask_position, "counted from 0")

# %% [markdown]
# ## Positions
#
# The steps that follow treat all positions alike: they would not notice if the words were shuffled (you will
# see it in exercise 1). So each token is
# also given the number of its position. RoBERTa counts from the id of `<pad>` plus 1, which is 2: the number 1 itself
# is for padding, and 0 is never used. So the longest text has two tokens fewer than there are numbers.
#
# Padding is needed when texts of different lengths share one array. It is on the right here, but it could be anywhere:
# the count simply steps over it.

# %%
batch = model.tokenize([text, "Rivers <mask> water."])
positions = ops.create_position_ids_from_input_ids(batch["input_ids"], config.pad_token_id)

print("ids\n", batch["input_ids"])
print("positions\n", positions)
print("attention mask\n", batch["attention_mask"])

pads = batch["input_ids"] == config.pad_token_id
assert (positions[pads] == config.pad_token_id).all()
assert (positions[0] == np.arange(2, 2 + L)).all()

# %%
real = batch["input_ids"] != config.pad_token_id
counted = config.pad_token_id + np.cumsum(real, axis=1) * real  # only real tokens are counted, and padding gets 1

assert (counted == positions).all()
print(config.max_position_embeddings, "numbers, but at most", config.longest, "tokens")
assert config.longest == config.max_position_embeddings - config.pad_token_id - 1

# %% [markdown]
# The attention mask, 1 for a token and 0 for padding, keeps real tokens from looking at padding. With it, a text's
# scores (*logits*) do not depend on the other texts in its batch.

# %%
alone = model([batch["input_ids"][1][~pads[1]]]).logits[0]
in_company = model(**batch).logits[1][~pads[1]]

assert same(in_company, alone)
print("equal, with pads and without:", alone.shape)

# %% [markdown]
# ## Embeddings
#
# Now the ids become vectors. The model holds a table with a row for every token, learned in training, and one with a
# row for every position. Look up a row in each and add them. A third table is left over from BERT, which numbers two
# texts in one input 0 and 1. It has a single row in RoBERTa, and so adds the same to all.
#
# Comments give the shapes in letters: B texts of L tokens, and D numbers in each vector, here 256. More letters follow:
# H heads of E channels, F channels inside the feed-forward, V tokens in the vocabulary.
#
# From here on we need the model's parameters, and its own values to compare with. `model.p` walks through the
# parameters by name, and `trace` runs the model and keeps every intermediate, under the names that Hugging Face gives
# to its modules.

# %%
p = model.p
trace = minroberta.trace(model, ids)
print(f"{len(trace)} named values, among them:")
for name in list(trace)[:7]:
    print(f"  {name:<34} {trace[name].shape}")

# %%
positions = ops.create_position_ids_from_input_ids(ids, config.pad_token_id)

word = p.embeddings.word_embeddings.weight[ids]  # (B, L) -> (B, L, D)
position = p.embeddings.position_embeddings.weight[positions]  # (B, L) -> (B, L, D)
kind = p.embeddings.token_type_embeddings.weight[np.zeros_like(ids)]  # (B, L) -> (B, L, D)
total = word + position + kind

assert same(total, trace["embeddings.sum"])
print("table of tokens   ", p.embeddings.word_embeddings.weight.shape)
print("table of positions", p.embeddings.position_embeddings.weight.shape)
print("our sum           ", total.shape)

# %% [markdown]
# The sum is then *normed*: each token's 256 numbers are shifted to mean 0 and scaled to variance 1, then stretched and
# shifted, channel by channel, by what the model has learned. A layer norm keeps numbers in a range in which the next
# step works well, however large they were before.

# %%
norm = p.embeddings.LayerNorm
x = ops.layer_norm(total, **norm.tree, eps=config.layer_norm_eps)

centred = total - total.mean(-1, keepdims=True)
by_hand = centred / np.sqrt(total.var(-1, keepdims=True) + config.layer_norm_eps) * norm.weight + norm.bias

assert same(by_hand, x)
assert same(x, trace["embeddings"])

# %%
figure, axes = plt.subplots(3, 1, figsize=(8.5, 10), layout="constrained")
panels = [(word, "Rows of the token table"), (position, "Rows of the position table"), (x, "The sum, normed")]
for ax, (array, title) in zip(axes, panels, strict=True):
    shown = array[0, :, :48]  # the first 48 channels are enough to see the pattern
    title = f"{title}: a row a token, 48 of its {array.shape[-1]} numbers"
    plot.matrix(ax, shown, title, names, labels=("", "channel"), unit="value")
plt.show()

# %% [markdown]
# The rows of the token table look like noise: what a token means is spread over all channels. In the position table
# neighbours resemble each other, so that columns show waves. In the sum you see both, and upright stripes beside them:
# what all tokens share, the one row of kinds and the bias of the norm.
#
# One array of shape (1, tokens, 256) goes into the layers, and an array of the same shape comes out of each. It is
# called the *residual stream*. So far no token knows of any other: `<mask>` has the same vector in every sentence in
# which it stands at this position. Here is another sentence, to see that; we come back to it when the layers are done.

# %%
moved = model.tokenize("He " * (mask_position - 1) + "<mask>")["input_ids"]

assert (moved[0, mask_position], ids[0, mask_position]) == (mask_id, mask_id)
assert same(minroberta.trace(model, moved)["embeddings"][0, mask_position], x[0, mask_position])

# %% [markdown]
# ## One attention head, by hand
#
# In attention, each token collects something from the others. It asks a question (its *query* q), every token offers a
# label (its *key* k) and a message (its *value* v). Where query and label fit, the message is taken.
#
# All three are linear maps of x. A layer has several heads that do this side by side, each in a share of the channels:
# here 8 heads of 32. Let us follow one of the first layer: the one that divides its attention most evenly, since it
# makes the best picture.

# %%
own = p.encoder.layer[0].attention.self
E = config.head_size
head = int(trace["encoder.layer.0.attention.self.probs"][0].max(-1).mean(-1).argmin())
print("head", head, "of the first layer, counted from 0")

q, k, v = (ops.split_heads(ops.linear(x, **part.tree), E) for part in (own.query, own.key, own.value))
q1, k1, v1 = q[0, head], k[0, head], v[0, head]  # one head of one text: (L, E)

assert same(ops.merge_heads(q), trace["encoder.layer.0.attention.self.query"])
print("all heads", q.shape, "(B, H, L, E);  one head", q1.shape, "(L, E)")

# %% [markdown]
# Let us open these two functions. A *linear map* makes each output from all inputs: a weighted sum, plus a number of
# its own, the *bias*. Its weight has a row for each output, so x is multiplied by the transposed weight. `part.tree` is
# a dict with the weight and the bias, and `**` hands them over by name. To split the heads, the 256 channels are cut
# into 8 times 32, and the axis of the heads moves to the front; merging is the way back.

# %%
D, H = config.hidden_size, config.num_attention_heads
query = x @ own.query.weight.T + own.query.bias  # (B, L, D) @ (D, D) -> (B, L, D)
by_head = query.reshape(B, L, H, E).swapaxes(1, 2)  # (B, L, D) -> (B, L, H, E) -> (B, H, L, E)

assert same(query, ops.linear(x, **own.query.tree))
assert same(by_head, ops.split_heads(query, E))
assert same(by_head.swapaxes(1, 2).reshape(B, L, D), query)  # ops.merge_heads

# %% [markdown]
# How well does the query of token *l* fit the key of token *s*? The measure is their dot product, divided by √E so
# that it does not grow with the size of a head. For all pairs at once, that is one matrix product.

# %%
scores = q1 @ k1.T / E**0.5  # (L, E) @ (E, L) -> (L, L)

assert same(scores, trace["encoder.layer.0.attention.self.scores"][0, head])
print(f"scores {scores.shape}, from {scores.min():.1f} to {scores.max():.1f}")

# %% [markdown]
# The *softmax* makes each row of scores into shares that sum to 1: exponentials, divided by their sum. A score that is
# higher by 1 gets e = 2.7 times as much, so that a lead of a few points takes nearly all. The row's largest score is
# subtracted first, which changes no share, and keeps the exponentials from growing too large for a float.

# %%
exponentials = np.exp(scores - scores.max(-1, keepdims=True))
shares = exponentials / exponentials.sum(-1, keepdims=True)  # (L, L)

assert np.allclose(shares.sum(-1), 1)
assert (shares.argmax(-1) == scores.argmax(-1)).all()
assert same(shares, ops.softmax(scores))
assert same(shares, trace["encoder.layer.0.attention.self.probs"][0, head])

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
labels = ("this token asks ...", "... and looks at this one")
plot.matrix(axes[0], scores, "Scores: how query and key fit", names, names, labels=labels, unit="score")
plot.matrix(axes[1], shares, "Shares: each row sums to 1", names, names, labels=labels, unit="share")
plt.show()

# %% [markdown]
# Read a row from left to right: of all that this token collects, how much comes from where? Last, the messages are
# mixed in these shares. A token's new content is a weighted mean of all values, so it lies between them.

# %%
context = shares @ v1  # (L, L) @ (L, E) -> (L, E)

merged = trace["encoder.layer.0.attention.self"]  # (B, L, D): the heads side by side
assert same(context, merged[0, :, head * E : (head + 1) * E])
assert (context <= v1.max(0) + 1e-5).all()
assert (context >= v1.min(0) - 1e-5).all()
print("context of one head", context.shape, "is", E, "of the", merged.shape[-1], "channels of all")

# %% [markdown]
# ## All the heads
#
# The other heads do the same with other weights, and most of them look elsewhere. In the package, one matrix product
# does all of them. Their contexts stand side by side, 8 · 32 = 256 channels again, and a last linear map mixes them.

# %%
probs = ops.softmax(ops.attention_scores(q, k))  # (B, H, L, L)
context = ops.merge_heads(probs @ v)  # (B, H, L, L) @ (B, H, L, E) -> (B, L, D)
attended = ops.linear(context, **p.encoder.layer[0].attention.output.dense.tree)  # (B, L, D) -> (B, L, D)

assert same(probs, trace["encoder.layer.0.attention.self.probs"])
assert same(context, merged)
assert same(attended, trace["encoder.layer.0.attention.output.dense"])

# %%
plot.heads(trace, 0)

# %% [markdown]
# The pictures that the package labels itself write the space before a word as `·` instead of `Ġ`.
#
# Look for stripes. A line just beside the diagonal means that each token looks at its neighbour, the diagonal itself
# that it looks at itself, and a column that all look at one token, often `<s>` or `</s>`. The model did not find all of
# these lines by itself: before training, each head of layer 0 was set to look at one position nearby
# ([decision 7](../docs/decisions/7-tiny.md)). Do not read too much into a single picture, either: what a head *does*
# with what it sees depends on its values, too.

# %% [markdown]
# ## Add, and norm
#
# What attention made does not replace x: it is *added* to it. So a layer needs to say only what is to change, and what
# a token was is kept. Then the sum is normed.

# %%
output = p.encoder.layer[0].attention.output
after_attention = ops.layer_norm(x + attended, **output.LayerNorm.tree, eps=config.layer_norm_eps)

assert same(x + attended, trace["encoder.layer.0.attention.output.sum"])
assert same(after_attention, trace["encoder.layer.0.attention"])

# %% [markdown]
# ## Feed-forward
#
# Attention moves things between tokens. The second half of a layer works on each token by itself: a linear map to four
# times as many channels, a bend, and a linear map back. The bend is *gelu*, x·Φ(x), where Φ(x) is the probability that
# a random number of the normal distribution, with mean 0 and variance 1, is below x. Large numbers pass, very negative
# ones become almost 0, and between it is smooth. Without a bend, two linear maps would be no more than one.

# %%
wide = ops.linear(after_attention, **p.encoder.layer[0].intermediate.dense.tree)  # (B, L, D) -> (B, L, F)
bent = activations.gelu(wide)
transformed = ops.linear(bent, **p.encoder.layer[0].output.dense.tree)  # (B, L, F) -> (B, L, D)

assert same(bent, trace["encoder.layer.0.intermediate"])
assert same(transformed, trace["encoder.layer.0.output.dense"])
assert bent.min() > -0.18  # gelu's lowest point
below = (1 + np.vectorize(math.erf)(wide / 2**0.5)) / 2  # Φ, by the error function of Python
assert same(wide * below, bent)
print("wide", wide.shape, " back", transformed.shape)
print(f"{(wide < 0).mean():.1%} of the wide values were below 0, and are now between -0.17 and 0")

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
line = np.linspace(-4, 4, 201)
axes[0].plot(line, line, ":", color="grey", label="x")
axes[0].plot(line, activations.gelu(line), label="gelu(x)")
axes[0].set_title("gelu: large numbers pass, negative ones hardly")
axes[0].set_xlabel("x")
axes[0].legend()
limits = (wide.min(), max(wide.max(), 1))
axes[1].hist(wide.ravel(), 60, range=limits, alpha=0.5, label="before gelu")
axes[1].hist(bent.ravel(), 60, range=limits, alpha=0.5, label="after")
axes[1].set_yscale("log")
axes[1].set_title("Our sentence's values: those below 0 pile up at 0")
axes[1].set_xlabel("value")
axes[1].set_ylabel("how many (logarithmic)")
axes[1].legend()
plt.show()

# %% [markdown]
# On the left, gelu follows the dotted line where x is large, and lies on 0 where it is very negative. On the right, all
# that was below 0 has become the tall bar at 0. With the weights shown here that is nearly everything: most tokens have
# no channel above 0 at all. Still the map back gets something from each token: most values in the bar are small but not
# 0, and there are 1,024 of them. Look at the other layers: in the last one many more channels pass.

# %%
bias = p.encoder.layer[0].output.dense.bias
for layer in range(config.num_hidden_layers):
    above = trace[f"encoder.layer.{layer}.intermediate.dense"][0] > 0  # (L, F)
    print(f"layer {layer}: number of channels above 0, for each token: {above.sum(-1)}")

assert above.mean() > (wide > 0).mean()  # the last layer and this one
assert all(not same(token, bias) for token in transformed[0])

# %% [markdown]
# Again the result is added and the sum normed, and the first layer is done. The package writes the same as one
# function.

# %%
output = p.encoder.layer[0].output
after_layer = ops.layer_norm(after_attention + transformed, **output.LayerNorm.tree, eps=config.layer_norm_eps)

in_one = layers.encoder_layer(x, p.encoder.layer[0], config)

assert same(after_layer, trace["encoder.layer.0"])
assert same(in_one, trace["encoder.layer.0"])

# %% [markdown]
# Twice in a layer we had a function f, a sum, and a norm: x ← norm(x + f(x)). That is *post-LN*, the order of BERT and
# RoBERTa. Many later models have *pre-LN*, x ← x + f(norm(x)), and one more norm after the last layer.
# [Notebook 5](05_layers.ipynb) is about the two. Here the norm of the last layer is the last one before the head.
#
# ## The other layers
#
# The remaining layers do the same, each with other weights. A loop is all there is to it.

# %%
depth = range(config.num_hidden_layers + 1)
stages = ["embeddings", *(f"after layer {i}" for i in depth[:-1])]  # layers are counted from 0
states = [x]  # the embeddings, then the stream after each layer
for layer in range(config.num_hidden_layers):
    states.append(layers.encoder_layer(states[-1], p.encoder.layer[layer], config))

assert same(states[-1], trace["encoder"])
assert all(state.shape == (B, L, config.hidden_size) for state in states)
print(f"{len(states)} states of shape {states[0].shape}")

# %% [markdown]
# Here is the other sentence again, with `<mask>` at the same position. The two vectors of `<mask>` were equal at the
# start. From the first layer on they differ, because each has collected something from its own sentence. (The cosine is
# 1 for vectors of the same direction, and 0 for vectors that have nothing in common.)

# %%
other = minroberta.trace(model, moved)
others = [other["embeddings"], *(other[f"encoder.layer.{i}"] for i in depth[:-1])]
for stage, mine, theirs in zip(stages, states, others, strict=True):
    a, b = mine[0, mask_position], theirs[0, mask_position]
    print(f"{stage:<15} cosine {a @ b / np.linalg.norm(a) / np.linalg.norm(b):.3f}")

assert same(states[0][0, mask_position], others[0][0, mask_position])
for mine, theirs in zip(states[1:], others[1:], strict=True):
    assert not same(mine[0, mask_position], theirs[0, mask_position])

# %% [markdown]
# Where does `<mask>` look, on its way through the layers? Its guess has to come from the other words.
#
# **Predict before you run:** which two tokens get most of its attention in the later layers? "River" and "Ocean"?

# %%
by_layer = [trace[f"encoder.layer.{i}.attention.self.probs"][0, :, mask_position] for i in depth[:-1]]
looks = np.mean(by_layer, axis=1)  # (layers, H, L) -> (layers, L): the mean of the heads
assert np.allclose(looks.sum(-1), 1)

figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
title = "Where <mask> looks: the mean of the heads, layer by layer"
plot.matrix(ax, looks, title, [f"layer {i}" for i in depth[:-1]], names, unit="share")
plt.show()

# %%
resting = looks[:, 0] + looks[:, -1]
words = 1 + looks[:, 1:-1].argmax(-1)  # the token between them that gets most, in each layer
for i, (share, word) in enumerate(zip(resting, words, strict=True)):
    print(f"layer {i}: {share:.0%} on <s> and </s>, {looks[i, word]:.0%} on {names[word]}")

assert resting.max() > 2 / L  # more than these two tokens would get if all tokens got the same

# %% [markdown]
# Dark columns at the two ends are `<s>` and `</s>`, which say nothing about rivers. Shares have to sum to 1, also for a
# head that finds nothing to collect in this text, and such a head can rest on a token that is in every text. How much
# that is, and what happens if one forbids it, is the subject of [notebook 9](09_sinks.ipynb). The last number of each
# line is the token between them that gets most: in the last layer, where the guess must be ready, here it is `ĠOcean`.

# %% [markdown]
# ## From a vector to a guess
#
# The last state of `<mask>` is 256 numbers. The *language modelling head* of the model, which has nothing to do with
# the heads of attention, turns them into a score for each token of the vocabulary: a linear map, a gelu, a norm, and
# then the dot product with each token's embedding. So the table that made vectors from tokens at the start makes scores
# from vectors at the end. These scores are called *logits*.

# %%
hidden = ops.layer_norm(
    activations.gelu(ops.linear(states[-1], **p.lm_head.dense.tree)),
    **p.lm_head.layer_norm.tree,
    eps=config.layer_norm_eps,
)
logits = hidden @ p.embeddings.word_embeddings.weight.T + p.lm_head.bias  # (B, L, D) @ (D, V) -> (B, L, V)

assert same(logits, heads.lm_head(states[-1], p, config))
assert same(logits, model(ids).logits)
print("scores", logits.shape, "for each position a score of each of", config.vocab_size, "tokens")

# %% [markdown]
# A softmax makes the scores at the mask into probabilities.

# %%
probabilities = ops.softmax(logits[0, mask_position])  # (V,)
order = np.argsort(-probabilities)

assert np.isclose(probabilities.sum(), 1)
for token in order[:5]:
    print(f"{probabilities[token]:6.1%}  {text.replace(' <mask>', model.decode([token]))}")

# %% [markdown]
# In training the hidden token is known, and the *loss* is minus the logarithm of the probability that it got: 0 if the
# model was sure and right. Labels of -100 say that a position does not count. [Notebook 7](07_training.ipynb) trains a
# model with this loss, and [notebook 8](08_heads.ipynb) shows the other heads and their losses.

# %%
labels = np.full_like(ids, -100)
labels[0, mask_position] = order[0]  # as if the first guess were right
loss = model(ids, labels=labels).loss

print(f"loss {loss:.3f}")
assert np.isclose(loss, -np.log(probabilities[order[0]]), atol=1e-4)

# %% [markdown]
# ## The guess forms
#
# The head is made for the last state, but every state has the right shape for it. Nothing stops us from asking early:
# if the model had to answer now, what would it say? This is known as the *logit lens*: a state is seen through its
# logits. Early answers should be taken with a grain of salt, for the head never learned to read early states: a good
# guess may appear, vanish and come back. Layers are counted from 0, so that "after layer 5" is the end.

# %%
guesses = np.concatenate([ops.softmax(heads.lm_head(state, p, config))[:, mask_position] for state in states])
best = guesses.argmax(-1)  # (layers + 1,): the likeliest token after each layer

assert guesses.shape == (config.num_hidden_layers + 1, config.vocab_size)
assert np.allclose(guesses.sum(-1), 1)
assert same(guesses[-1], probabilities)

# %%
plot.lens(trace)

# %% [markdown]
# Read the picture from top to bottom. Another view: take the five tokens that win in the end, and follow how likely
# each is from layer to layer. Do not expect a line that only rises: a layer may write what the next layer can use and
# the head cannot read.

# %%
figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
for token, marker in zip(order[:5], "osD^v", strict=True):
    ax.plot(depth, guesses[:, token], marker=marker, label=repr(model.decode([token])))
ax.set_title("The five final candidates, on the way")
ax.set_xticks(depth, stages, rotation=20)
ax.set_ylabel("probability")
ax.set_ylim(0)
ax.legend()
plt.show()

# %% [markdown]
# ## The prediction
#
# All of this is what a call of `fill_mask` does, from text to text.

# %%
filled = model.fill_mask(text)
for candidate in filled:
    print(f"{candidate['score']:6.1%}  {candidate['sequence']}")

assert filled[0]["token"] == order[0] == best[-1]  # the last layer's guess
assert np.allclose([candidate["score"] for candidate in filled], probabilities[order[:5]], atol=1e-4)
assert all(candidate["token_str"] in candidate["sequence"] for candidate in filled)

# %% [markdown]
# That is a whole RoBERTa. How many numbers has it learned? A linear map from n to m channels has n·m + m of them, and a
# norm has 2 for each channel.

# %%
F, V, layer_count = config.intermediate_size, config.vocab_size, config.num_hidden_layers
tables = (V + config.max_position_embeddings + config.type_vocab_size) * D + 2 * D  # and a norm
each_layer = 4 * (D * D + D) + 2 * D + (D * F + F) + (F * D + D) + 2 * D
in_head = (D * D + D) + 2 * D + V  # the table of tokens is used again, so that only a bias is new

total = tables + layer_count * each_layer + in_head

assert total == sum(array.size for array in weights.flat(model.params).values())
print(f"tables {tables:,} + layers {layer_count} · {each_layer:,} + head {in_head:,} = {total:,}")

# %% [markdown]
# The large ones have more layers, wider vectors and more tokens, and nothing else: `minroberta.load` takes the name
# "roberta-base" for the real one, and its trace has the same names.
#
# ## Three exercises
#
# Fill in and run; what you make is checked. A solution is folded below each check.
#
# **1. A bag of words?** Attention does not know what order its tokens come in: only the positions tell. So hand the
# model the same tokens *in another order*, without changing its guess for the mask. (Hint: a model can be called as
# `model(ids, position_ids=...)`, and you can reorder two arrays alike. `ids` and `positions` hold the right order.)

# %%
# exercise 1
shuffled = None  # (the ids in another order, their positions), each of shape (1, L)

# %%
# check 1
check(1, shuffled)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# shuffled = ids[:, ::-1], positions[:, ::-1]
# ```
#
# </details>

# %% [markdown]
# **2. A layer of your own.** Write the last layer as a function of x and its parameters, from `ops` and
# `activations`, without `layers`. (Hint: it takes ten lines, and all of them stand above: q, k and v; scores, softmax,
# context, linear; sum and norm; linear, gelu, linear; sum and norm.)


# %%
# exercise 2
def my_layer(x, p_layer):
    """A layer's output, (B, L, D). p_layer: its parameters, such as p.encoder.layer[5]."""


# %%
# check 2
check(2, my_layer)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def my_layer(x, p_layer):
#     own = p_layer.attention.self
#     q, k, v = (ops.split_heads(ops.linear(x, **part.tree), E) for part in (own.query, own.key, own.value))
#     context = ops.merge_heads(ops.softmax(ops.attention_scores(q, k)) @ v)
#     out, eps = p_layer.attention.output, config.layer_norm_eps
#     x = ops.layer_norm(x + ops.linear(context, **out.dense.tree), **out.LayerNorm.tree, eps=eps)
#     bent = activations.gelu(ops.linear(x, **p_layer.intermediate.dense.tree))
#     out = p_layer.output
#     return ops.layer_norm(x + ops.linear(bent, **out.dense.tree), **out.LayerNorm.tree, eps=eps)
# ```
#
# </details>

# %% [markdown]
# **3. The attention head that matters most.** Switch off one of them, and the guess becomes more or less sure. Which
# single one, switched off, makes the model's first guess *least* likely? Write `without`, which says how likely it is
# without a head, and find the head. (Hint: `model(ids, head_mask=mask)` takes an array of ones and zeros, of shape
# (layers, heads). There are only 48 heads: try them all.)


# %%
# exercise 3
most_important = None  # a tuple (layer, head)


def without(layer, head):
    """How likely the first guess, `order[0]`, is without one head."""


# %%
# check 3
check(3, None if most_important is None else (most_important, without))

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# def without(layer, head):
#     head_mask = np.ones((config.num_hidden_layers, config.num_attention_heads))
#     head_mask[layer, head] = 0
#     return ops.softmax(model(ids, head_mask=head_mask).logits[0, mask_position])[order[0]]
#
# most_important = min(np.ndindex(config.num_hidden_layers, config.num_attention_heads), key=lambda one: without(*one))
# ```
#
# </details>

# %% [markdown]
# ## What to remember
#
# Text becomes bytes, tokens and ids; ids become vectors; attention moves things between tokens, the feed-forward works
# on each; the head compares the last vector with each token's. Every step is a line or two.
#
# Next: [notebook 2, what the model sees](02_tokens.ipynb). To read on: [ops.py](../minroberta/ops.py),
# [layers.py](../minroberta/layers.py) and [heads.py](../minroberta/heads.py), in this order, read as the papers do:
# attention in [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), section 3.2, masked language modelling in
# [Devlin et al. 2019](https://arxiv.org/abs/1810.04805), section 3.1, and what RoBERTa changed in
# [Liu et al. 2019](https://arxiv.org/abs/1907.11692), sections 3 and 4.
