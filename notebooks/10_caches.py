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
# # 10. When may you remember?
#
# A model that writes adds one token at a time, and each time it would read the whole text again. Some models need not:
# they keep a part of their work, the *cache*. Here we see which part, why it is exact, what it saves, how padding
# trips it up, and why RoBERTa as it was trained cannot have one. It takes about 20 minutes, and the exercises half an
# hour. Read notebooks [3](03_positions.ipynb) and [4](04_attention.ipynb) first.

# %%
import textwrap
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import ops, plot
from minroberta.exercises.caches import check

plt.rcParams.update(plot.STYLE)
np.set_printoptions(linewidth=110)


def same(ours, theirs):
    """Equal, but for the last digits of float32."""
    return ours.shape == theirs.shape and np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


# %% [markdown]
# ## One mask makes a decoder
#
# RoBERTa is an *encoder*: each token reads all others, on both sides. A *decoder* lets each token read only itself and
# the tokens before it, so that it can be asked for the next one. The weights have the same names and shapes. All that
# differs is one mask, and in the configuration one word, `is_decoder`.
#
# Our weights were trained as an encoder, so as a decoder they write badly. That does not matter here: all that
# follows is about what is *equal*, and it holds for any weights.

# %%
decoder = minroberta.load(head="causal_lm", config={"is_decoder": True})
ids = decoder.tokenize("The river flows into the Atlantic Ocean.")["input_ids"][:, :-1]  # without </s>
B, L = ids.shape
names = [decoder.tokenizer.entry(token) for token in ids[0]]

causal = np.arange(L)[None, :] <= np.arange(L)[:, None]  # (L, S): may token l read token s?
print(causal[:4, :4].astype(int))
assert (causal == ops.causal_mask(np, L, L)).all()

# %% [markdown]
# The mask is added to the scores, as for padding: 0 where a token may read, and the lowest number of float32 where it
# may not. The softmax makes exactly 0 of that. The first token can read only itself, and gives itself all its
# attention.

# %%
trace = minroberta.trace(decoder, ids)
probs = trace["encoder.layer.0.attention.self.probs"]  # (B, H, L, L)

assert (probs[..., ~causal] == 0).all()
assert np.allclose(probs.sum(-1), 1, atol=1e-5)
assert (probs[:, :, 0, 0] == 1).all()

# %% [markdown]
# ## What is past stays as it is
#
# A later token can change nothing before it: its key and value are hidden from all earlier queries, in each layer. So
# whatever we append, the values of the text so far are the values of the longer text. For a model that writes,
# this is everything.

# %%
more = decoder.tokenize(" It is wide.", add_special_tokens=False)["input_ids"]
longer = np.concatenate([ids, more], axis=1)
after = minroberta.trace(decoder, longer)

assert longer.shape[1] > L
for layer in range(decoder.config.num_hidden_layers):
    assert same(after[f"encoder.layer.{layer}"][:, :L], trace[f"encoder.layer.{layer}"])
assert same(after.output.logits[:, :L], trace.output.logits)

# %% [markdown]
# ## What a new token needs
#
# To compute a new token, each layer needs the token's own vector, and from the tokens before it two things only: the
# keys that its query is compared with, and the values that it collects. Their queries are not needed again, nor is
# anything else. Here is the first layer's attention for the last token alone: one query, all keys and values.

# %%
E = decoder.config.head_size
name = "encoder.layer.0.attention.self"
parts = (trace[f"{name}.{part}"] for part in ("query", "key", "value"))  # (B, L, D) each
q, k, v = (ops.split_heads(part, E) for part in parts)  # (B, H, L, E) each

q_new = q[:, :, -1:]  # (B, H, 1, E): the query of the new token
shares = ops.softmax(q_new @ k.swapaxes(2, 3) / E**0.5)  # (B, H, 1, E) @ (B, H, E, L) -> (B, H, 1, L)
context = ops.merge_heads(shares @ v)  # (B, H, 1, L) @ (B, H, L, E) -> (B, 1, D)

assert same(context, trace[name][:, -1:])

# %% [markdown]
# No mask was needed: the last token may read everything. So the cache is, for each layer, the keys and the values of
# all tokens so far. A decoder returns it as `past_key_values`, a tuple of a pair (k, v) for each layer. In the shapes,
# L is the number of tokens that ask, and S of those that may be read, cached ones included.

# %%
output = decoder(ids)
cache = output.past_key_values

print(len(cache), "layers;", "k", cache[0][0].shape, "v", cache[0][1].shape, "(B, H, S, E)")
assert len(cache) == decoder.config.num_hidden_layers
assert same(cache[0][0], k)
assert same(cache[0][1], v)

# %% [markdown]
# The next call gets the new tokens only, and the cache. New positions go on where the old ones ended, at the number of
# cached tokens plus 2. Where the text is cut does not matter: token by token or in pieces of any size, the result is
# that of the whole text.

# %%
whole = decoder(longer).logits  # (B, L, V)


def in_pieces(rows, cuts):
    """The logits of a text that is given piece by piece."""
    cache, logits = None, []
    for piece in np.split(rows, cuts, axis=1):
        output = decoder(piece, past_key_values=cache)
        cache = output.past_key_values  # that of all pieces so far
        logits.append(output.logits)
    return np.concatenate(logits, axis=1)


for cuts in ([L], [1], [3, 4, 9], range(1, longer.shape[1])):
    assert same(in_pieces(longer, cuts), whole)

# %%
following = minroberta.trace(decoder, longer[:, L:], past_key_values=cache)

print("positions of the new tokens", following["embeddings.position_ids"])
assert following["embeddings.position_ids"][0, 0] == L + 2
assert following[f"{name}.probs"].shape[2:] == (more.shape[1], longer.shape[1])  # new queries, all keys

# %% [markdown]
# If several tokens are new, they need the mask among themselves: new token i may read all that is cached, and the new
# ones up to itself. The mask is no longer square; its lower right corner is where the last token reads itself.

# %%
new, total = longer.shape[1] - L, longer.shape[1]
print(ops.causal_mask(np, new, total).astype(int))  # (L, S)

assert (ops.causal_mask(np, new, total) == ops.causal_mask(np, total, total)[-new:]).all()

# %% [markdown]
# ## What it saves
#
# Let us write, always the likeliest token. Without a cache, each step computes all tokens so far. With it, the prompt
# is computed once, and then one token a step. The texts are equal.


# %%
def write(ids, count, remember):
    """Append so many tokens. Returns the text's ids, and how many tokens were computed on the way."""
    text, feed, cache, computed = ids, ids, None, 0
    for _ in range(count):
        output = decoder(feed, past_key_values=cache)
        computed += feed.shape[1]
        token = output.logits[:, -1:].argmax(-1)  # (B, 1): the last position predicts the next token
        text = np.concatenate([text, token], axis=1)
        feed, cache = (token, output.past_key_values) if remember else (text, None)
    return text, computed


count = 40
start = time.perf_counter()
slow_text, slow_tokens = write(ids, count, remember=False)
middle = time.perf_counter()
fast_text, fast_tokens = write(ids, count, remember=True)
end = time.perf_counter()

print(f"tokens computed: {slow_tokens} without a cache, {fast_tokens} with it")
assert (slow_text == fast_text).all()
assert fast_tokens == L + count - 1
assert slow_tokens == sum(L + step for step in range(count))
assert end - middle < middle - start  # and it is faster

# %% [markdown]
# Without a cache, the work of writing a whole text grows with the square of its length, and attention's part even with
# the cube, for each new token computes all the others again. With a cache, each token costs one pass through the
# layers, and attention to what is there.
#
# The price is memory: a key and a value for each token and layer, so 2 · layers · D numbers a token. A roberta-base as
# a decoder would keep 18,432 of them, in float32 36 MiB for 512 tokens.

# %%
config = decoder.config
numbers = sum(array.size for layer in cache for array in layer)

assert numbers == B * L * 2 * config.num_hidden_layers * config.hidden_size
assert 2 * 12 * 768 == 18_432
assert 512 * 18_432 * 4 == 36 * 2**20
print(f"{numbers // L} numbers a token here")

# %% [markdown]
# What was computed once may be used many times. If many texts begin alike, for instance with the same instruction,
# their beginning is computed once. (Our caches are never changed in place: each call gives a new one.)
#
# And what may *not* be kept? Everything after a change. If a token in the middle is replaced, the caches up to it are
# still right, and all after it are wrong. Nor is it exact to drop the oldest tokens to save room, though some do: from
# layer 1 on, the keys and values of the others have read them.

# %%
changed = ids.copy()
changed[0, 4] = ids[0, 1]  # another token at index 4
keys = np.array([layer[0][0] for layer in decoder(changed).past_key_values])  # (layers, H, S, E)
before = np.array([layer[0][0] for layer in cache])

assert same(keys[:, :, :4], before[:, :, :4])
assert all(not same(keys[:, :, s], before[:, :, s]) for s in range(4, L))

rest = decoder(ids[:, 2:], position_ids=np.arange(4, L + 2)[None]).past_key_values  # without the oldest two
assert same(rest[0][0], cache[0][0][:, :, 2:])
assert not same(rest[1][0], cache[1][0][:, :, 2:])

# %% [markdown]
# ## Padding
#
# Several prompts of different lengths go through a decoder together. Their *last* tokens must be in the last column,
# where the next ones are appended, so the pads are on the left. Three things have to be right from then on: the mask
# keeps hiding the pads, it has a column for each cached token *and* each new one, and positions count tokens but no
# pads.

# %%
prompts = decoder.tokenizer.rows(["The river flows", "In the year of the great war, he"])
rows = decoder.tokenizer.padded([row[:-1] for row in prompts], side="left")  # without </s>
mask = rows["attention_mask"]
step = decoder.tokenize([" the", " the"], add_special_tokens=False)["input_ids"]  # (B, 1)
output = decoder(**rows)
wider = np.concatenate([mask, np.ones_like(step)], axis=1)  # (B, S + 1)
past = output.past_key_values
batched = decoder(step, attention_mask=wider, past_key_values=past).logits  # (B, 1, V)

print(mask)
for row, prompt in enumerate(prompts):
    alone = decoder(np.array([[*prompt[:-1], step[0, 0]]])).logits[0, -1:]
    assert same(batched[row], alone)

# %% [markdown]
# Here minroberta's cache is more than a tuple: it also holds the number of tokens of each row, from which positions go
# on. A bare tuple shows only how many columns there are, and from it the pads are counted as well. That is what
# transformers does, and a left-padded prompt then goes on at wrong positions. (Pass `position_ids` there.)

# %%


def next_positions(past):
    trace = minroberta.trace(decoder, step, attention_mask=wider, past_key_values=past)
    return trace["embeddings.position_ids"]  # (B, 1)


print("tokens in each row", past.tokens.ravel(), "of", mask.shape[1], "columns")
print("next positions", next_positions(past).ravel(), "from a bare tuple", next_positions(tuple(past)).ravel())

assert (next_positions(past) == mask.sum(1, keepdims=True) + 2).all()
assert (next_positions(tuple(past)) == mask.shape[1] + 2).all()

# %% [markdown]
# ## The encoder
#
# Back to RoBERTa as it was trained. Its head for masks reads both sides, but there is also `head="causal_lm"`, which
# Hugging Face calls `RobertaForCausalLM`: the name promises a model that writes from left to right.
#
# **Predict before you run:** we load it without `is_decoder`, and append words to the text. In which layers do the
# values of the *earlier* tokens change: in none, in all, or in some? (The keys behave alike.)


# %%
def change(model):
    """The change of the first L tokens' values in a longer text, as a share of their norm: (layers, L)."""
    layers = [f"encoder.layer.{i}.attention.self.value" for i in range(model.config.num_hidden_layers)]
    traces = [minroberta.trace(model, rows) for rows in (ids, longer)]
    short, long = (np.array([trace[layer][0, :L] for layer in layers]) for trace in traces)
    return np.linalg.norm(long - short, axis=-1) / np.linalg.norm(short, axis=-1)


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    both_ways = minroberta.load(head="causal_lm")
print(textwrap.fill(str(caught[0].message), 100))

moved = change(both_ways)
print([f"layer {layer}: {share:.0%}" for layer, share in enumerate(moved.mean(1))])

assert moved[0].max() < 1e-4  # rounding
assert moved[1:].mean(1).min() > 0.01

# %% [markdown]
# In all but the first. It is called causal, but it is causal only if the configuration says so, and that of
# roberta-base does not: each token reads both ways. The first layer's keys and values come from the embeddings, which
# know only a token and its position. But after one attention every token has read the new words, so that from there on
# all is different.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.3), layout="constrained", sharey=True)
panels = [
    (both_ways, "Encoder: all but layer 0 must be computed again"),
    (decoder, "Decoder: all may be remembered"),
]
layers = [f"layer {i}" for i in range(config.num_hidden_layers)]
for ax, (model, title) in zip(axes, panels, strict=True):
    shares = change(model)
    plot.matrix(ax, shares, title, layers, names, low=0, high=0.5)
    for (row, column), share in np.ndenumerate(shares):
        ink = "white" if share > 0.3 else "black"
        ax.text(column, row, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=8)
figure.suptitle("How much the values of these tokens change if words are appended")
plt.show()

assert change(decoder).max() < 1e-4  # rounding

# %% [markdown]
# This is the picture to remember, and the answer to the title: *you may remember what no later token can change*. In an
# encoder, that is the first layer's keys and values, and nothing else. So an encoder returns no cache, and reads the
# whole text again if one word is added. To write, take a decoder; to understand a finished text, both sides help.

# %%
assert both_ways(ids).past_key_values is None
assert decoder(ids, use_cache=False).past_key_values is None  # a decoder may be told not to keep one
assert decoder(ids, labels=ids).past_key_values is None  # in training there is nothing to continue
try:
    both_ways(ids, use_cache=True)
except minroberta.InputError as error:
    print(textwrap.fill(str(error), 100))

# %% [markdown]
# One more cache, in a sentence: in an encoder-decoder, such as one that summarises, the decoder also reads the states
# of an encoder, by *cross-attention*. Their keys and values do not grow. They are computed at the first step and kept
# as they are, so a layer's entry is (k, v, cross k, cross v).
#
# ## Three exercises
#
# **1. The mask.** Write the causal mask for `new` tokens on top of `past` cached ones: True where a new token may read.
#
# <details><summary>A hint</summary>
#
# New token i is token `past + i` of the whole text. `np.arange(…)[None, :] <= np.arange(…)[:, None]`.
#
# </details>


# %%
# exercise 1
def causal_mask(new, past):
    """Which tokens may be read: booleans, (new, past + new)."""


# %%
# check 1
check(1, causal_mask)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def causal_mask(new, past):
#     return np.arange(past + new)[None, :] <= np.arange(past, past + new)[:, None]
# ```
#
# </details>

# %% [markdown]
# **2. Attention with a memory.** Compute the attention of new tokens on top of a cache: the shares of all heads, and
# what they collect. The check is the oracle, with a small model of random weights.
#
# <details><summary>A hint</summary>
#
# Queries, keys and values of x, by `ops.linear(x, **p.query.tree)` and `ops.split_heads(…, E)`. Put the cached keys and
# values *before* the new ones (`np.concatenate(…, axis=2)`). Scores over √E, `np.where(mask, scores, -1e30)`, softmax.
#
# </details>


# %%
# exercise 2
def attend(x, k_past, v_past, p, E):
    """The shares, (B, H, L, S), and the context, (B, L, D), of L new tokens; S counts all.

    x: (B, L, D); k_past, v_past: (B, H, S - L, E); p: a layer's `attention.self`.
    """
    # return shares, context


# %%
# check 2
check(2, attend)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def attend(x, k_past, v_past, p, E):
#     q, k, v = (ops.split_heads(ops.linear(x, **part.tree), E) for part in (p.query, p.key, p.value))
#     k, v = np.concatenate([k_past, k], axis=2), np.concatenate([v_past, v], axis=2)  # (B, H, S, E)
#     scores = q @ k.swapaxes(2, 3) / E**0.5  # (B, H, L, E) @ (B, H, E, S) -> (B, H, L, S)
#     mask = causal_mask(x.shape[1], k_past.shape[2])  # (L, S)
#     shares = ops.softmax(np.where(mask, scores, np.float32(-1e30)))
#     return shares, ops.merge_heads(shares @ v)
# ```
#
# </details>

# %% [markdown]
# **3. Read the question once.** How likely is each of several continuations of one prompt? That is the sum of the log
# probabilities of its tokens. Compute the prompt only once: the check counts the tokens that you compute.
#
# <details><summary>A hint</summary>
#
# The last logits of the *prompt* predict the first token of a continuation, and the logits of its tokens predict the
# next ones. So the last token of a continuation need not be computed, but it may be. `ops.log_softmax(logits)`.
#
# </details>


# %%
# exercise 3
def scores(model, prompt, continuations):
    """The log probability of each continuation: a list of floats.

    model: a decoder; prompt: (1, L) ids; continuations: a list of ids (1, N), N at least 1.
    """


# %%
# check 3
check(3, scores)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# def scores(model, prompt, continuations):
#     first = model(prompt)
#     found = []
#     for ids in continuations:
#         then = model(ids, past_key_values=first.past_key_values)
#         logits = np.concatenate([first.logits[0, -1:], then.logits[0, :-1]])  # (N, V): each predicts the next
#         found.append(float(ops.log_softmax(logits)[range(ids.shape[1]), ids[0]].sum()))
#     return found
# ```
#
# </details>

# %% [markdown]
# ## Where next
#
# [Notebook 11: one model, many files](11_checkpoints.ipynb) opens the files in which weights travel.
#
# In the package, [cache.py](../minroberta/cache.py) is all that a cache is, `self_attention` in
# [layers.py](../minroberta/layers.py) appends to it, and [text/search.py](../minroberta/text/search.py) writes with it.
# The mask of a decoder is in [Vaswani et al. 2017, section 3.2.3](https://arxiv.org/abs/1706.03762); that BERT reads
# both ways, and why, in [Devlin et al. 2019, section 3.1](https://arxiv.org/abs/1810.04805).
