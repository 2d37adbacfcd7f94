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
# # 9. Sinks: what are these layers for?
#
# In the upper layers of this model most attention goes to `<s>`, a token that says nothing about the text. Is it
# wasted? We measure it, find out what `<s>` hands over, and switch parts off in two ways, of which the usual one
# misleads. In the end more than a third of the attention heads are gone, with most of the guesses kept, and we know
# what one of the others is for. This takes about 25 minutes. Read [4. Who reads whom?](04_attention.ipynb) first.
#
# A *head* is a head of attention here; the part that guesses is called the language modelling head. Layers are counted
# from 0.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import heads, ops, plot
from minroberta.exercises.sinks import check
from minroberta.weights import flat, tree

# %%
np.set_printoptions(precision=2, suppress=True, linewidth=110)
plt.rcParams.update(plot.STYLE)

model = minroberta.load()
config = model.config
N, H, E = config.num_hidden_layers, config.num_attention_heads, config.head_size

# %% [markdown]
# Eight sentences to measure with, and twelve others to test with. They have to be different ones, or we would fool
# ourselves.

# %%
MEASURE = """The village has a population of about three hundred people and a small school.
She won the gold medal at the Olympic Games and later became a teacher.
The film was directed by a young man from Italy and received good reviews.
They moved to the capital, where their father had found work in a factory.
The lake is the largest in the country and is used by many birds in winter.
After the storm the ship returned to the harbour with most of its crew.
The band released its first single before the singer left the group.
The old bridge over the river was destroyed by a fire in the same year.""".splitlines()

# %%
TEST = """The river flows into the Atlantic Ocean.
The old man walked slowly along the road to the village, and then he sat down.
In 1976 the company was founded in a small garage in California by two friends.
The cat that lived in the house next door was often seen on the roof at night.
She wrote many books about the history of France, but few people read them.
The club plays its home games at a stadium in the north of the city.
He was born in London in 1850 and studied law at the University of Cambridge.
The first season of the series was released on television in the United States.
The church was built in the 12th century and is a protected building.
During the war he served in the army and was promoted to the rank of captain.
The species is found in the forests of South America, where it feeds on insects.
Their second album was recorded in New York and sold more than a million copies.""".splitlines()

# %% [markdown]
# ## Where does the attention go?
#
# Of the attention of each token of a text (not of `<s>` and `</s>` themselves), how much goes to `<s>`, and how much to
# `</s>`? In a padded batch, `</s>` is the last token of each text, not the last column.

# %%
batch = model.tokenize(MEASURE)
trace = minroberta.trace(model, **batch)
real = batch["attention_mask"] == 1  # (B, L)

# %%
last = real.sum(1) - 1  # (B,): the position of </s>

inner = real.copy()  # the tokens of the texts
inner[:, 0] = False
inner[np.arange(len(last)), last] = False


# %%
def rest(layer):
    """The mean share that goes to <s>, and to </s>, in each head of a layer: (H,) each."""
    shares = trace[f"encoder.layer.{layer}.attention.self.probs"]  # (B, H, L, S)
    to_first = shares[..., 0]  # (B, H, L)
    to_last = np.stack([text[..., position] for text, position in zip(shares, last, strict=True)])
    return [to.swapaxes(1, 2)[inner].mean(0) for to in (to_first, to_last)]  # (tokens, H) -> (H,)


resting = np.array([rest(layer) for layer in range(N)])  # (layers, 2, H)

# %%
even = (1 / real.sum(1)).mean()
print(f"one token in such a text would get {even:.1%} if all got the same")
for layer in range(N):
    first, final = resting[layer].mean(-1)
    print(f"layer {layer}: {first:4.0%} to <s>, {final:4.0%} to </s>")

# %%
sinks = [layer for layer in range(N) if resting[layer].mean(-1).sum() > 0.5]
print("layers that rest for the most part:", sinks)
assert sinks
assert all(resting[layer].mean(-1).sum() > 5 * even for layer in sinks)

# %% [markdown]
# A token that collects attention without having anything to say is called a *sink*
# ([Xiao et al. 2023](https://arxiv.org/abs/2309.17453), section 3.1). BERT's sink is `[SEP]`
# ([Clark et al. 2019](https://arxiv.org/abs/1906.04341), section 3.2), GPT's is the first token, whatever it is. The
# reason is the softmax: shares have to sum to 1, also in a head that finds nothing to read in this text. It needs
# somewhere to rest, and a token that is in every text is the best choice.

# %% [markdown]
# ## What does a sink hand over?
#
# A share says how much of a *value* is taken, not how large that value is
# ([Kobayashi et al. 2020](https://arxiv.org/abs/2004.10102)). How long is the value vector of `<s>`, beside those of
# other tokens? And how much does the state of `<s>` differ from text to text? For the second we take the part of its
# squared length that is not the mean of all texts.


# %%
def varying(x):
    """The part of the squared length of vectors, (n, D), that is not their mean: from 0 to 1."""
    return ((x - x.mean(0)) ** 2).sum() / (x**2).sum()


# %%
for layer in range(N):
    value = trace[f"encoder.layer.{layer}.attention.self.value"]  # (B, L, D)
    sizes = np.linalg.norm(value, axis=-1)
    state = trace[f"encoder.layer.{layer - 1}" if layer else "embeddings"]  # (B, L, D)
    print(
        f"layer {layer}: value of <s> {sizes[:, 0].mean():4.1f}, of others {sizes[inner].mean():4.1f}; "
        f"state of <s> varies by {varying(state[:, 0]):.3%}, of others {varying(state[inner]):.0%}"
    )
    assert varying(state[:, 0]) < 0.1 * varying(state[inner])
    assert layer not in sinks or sizes[:, 0].mean() < sizes[inner].mean()
    if resting[layer, 1].mean() > 0.2:  # </s> is a sink, too
        ends = np.arange(len(last)), last
        assert sizes[ends].mean() < sizes[inner].mean()
        assert varying(state[ends]) < 0.1 * varying(state[inner])

# %% [markdown]
# So `<s>` has *the same* state in every text, to a fraction of a per cent. (All other tokens share a mean, too. Before
# the last layer it is nearly all of their length: what differs is small beside it, and has to say which word it is.)
#
# In the layers that rest, the value of `<s>` is shorter than others. Where much rests on `</s>`, as in layer 3, the
# same holds for it. A head that rests takes one vector that is always the same: its output is a constant. Is that true
# of the output of attention as a whole, of all heads through the output map?

# %%
names = [f"encoder.layer.{layer}.attention.output.dense" for layer in range(N)]
outputs = [trace[name][real] for name in names]  # (tokens, D) each
for layer, x in enumerate(outputs):
    length = np.linalg.norm(x.mean(0))
    print(f"layer {layer}: the mean output is {length:3.0f} long; {varying(x):5.1%} differs between tokens")

assert all(varying(outputs[layer]) < 0.05 for layer in sinks)

# %% [markdown]
# In the layers that rest, about 99 % of what attention adds to the stream is one vector, the same for every token of
# every text. That is what a *bias* does. (99 % is a part of the squared length, as above.) Layers 0 to 2 have a large
# constant, too, but what little varies there cannot be spared, as we shall see.

# %% [markdown]
# ## Two ways to switch something off
#
# What is a part good for? The usual test is to switch it off and see how many answers become wrong. `trace` can do it:
# `edit` takes the name of a value and a function, and the run goes on with what the function returns. It has to have
# the same shape and dtype. For a measure, we mask every fourth token of the test sentences in turn, and count how often
# the first guess is right.

# %%
ids, mask = (model.tokenize(TEST)[name] for name in ("input_ids", "attention_mask"))
chosen = [(row, at) for row in range(len(TEST)) for at in range(2, mask[row].sum() - 1, 4)]
rows, positions = np.array(chosen).T
answers, masks = ids[rows, positions], mask[rows]
masked = ids[rows]  # a row for each masked token: (n, L)
masked[np.arange(len(rows)), positions] = model.tokenizer.mask_token_id


# %%
def right(model, edit=None):
    """The part of the masked tokens that the first guess finds."""
    found = minroberta.trace(model, masked, attention_mask=masks, edit=edit)
    logits = found["logits"]  # (n, L, V)
    return (logits[np.arange(len(rows)), positions].argmax(-1) == answers).mean()


whole = right(model)
print(f"the whole model finds {whole:.0%} of {len(rows)} masked tokens")
assert whole > 0.4

# %% [markdown]
# We switch off the attention of one layer, for all tokens, in two ways. *Zero*: nothing is added to the stream. *Mean*:
# every token gets the same vector, the mean output over the tokens of the other sentences. In both, no token learns
# anything of any other in this layer.
#
# **Predict before you run:** of six layers, for how many does it matter which of the two we take?


# %%
def switched_off(name):
    """How many guesses are right if a value is replaced by zeros, and if by its mean."""
    mean = trace[name][real].mean(0)  # (D,)
    return right(model, {name: lambda x: 0 * x}), right(model, {name: lambda x: 0 * x + mean})


# %%
attention = [switched_off(name) for name in names]
for layer, (zero, mean) in enumerate(attention):
    print(f"attention of layer {layer}: {zero:4.0%} right with zeros, {mean:4.0%} with the mean")

# %%
gain = {layer: mean - zero for layer, (zero, mean) in enumerate(attention)}

assert all(gain[layer] > 0.3 for layer in sinks)
assert all(gain[layer] < 0.2 for layer in range(N) if layer not in sinks)
assert all(zero < 0.2 * whole for zero, _ in attention)

# %%
for layer in sinks:  # the constant is longer than the stream to which it is added
    stream = trace[f"encoder.layer.{layer - 1}"][real]
    assert np.linalg.norm(outputs[layer].mean(0)) > np.linalg.norm(stream, axis=-1).mean()

# %% [markdown]
# By zeroing, the attention of *every* layer is vital: without it, hardly anything is right. By the mean, most of the
# guesses survive in the layers that rest. Both are true, of different questions. Zeroing takes away what attention says
# *and* the constant, on which the norm that follows relies: it is longer than the stream itself. The mean takes away
# only what attention says. **This is the picture to remember:**

# %%
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
at = np.arange(N)
for shift, label, values in ((-0.2, "replaced by zeros", 0), (0.2, "replaced by its mean", 1)):
    bars = ax.bar(at + shift, [100 * both[values] for both in attention], 0.38, label=label)
    ax.bar_label(bars, fmt="%.0f", padding=2, bbox={"color": "white", "pad": 1})  # above the dotted line
ax.axhline(100 * whole, color="black", linestyle=":", label="the whole model")
labels = [f"layer {i}\nrests: {resting[i].mean(-1).sum():.0%}" for i in range(N)]
ax.set_xticks(at, labels)
ax.set_ylabel("right first guesses, %")
ax.set_ylim(0, 130 * whole)
ax.set_title("One layer's attention switched off, in two ways")
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# Layers 0 to 2 are another matter: there the heads read neighbours (notebook 4), and no constant can stand in for that.
# And the feed-forward parts? They look at one token at a time, so that nothing rests, and what they add differs from
# token to token. Neither replacement will do. Nor is the mean always the milder one: in some layers more guesses stay
# right with zeros.

# %%
feed_forward = []
for layer in range(N):
    name = f"encoder.layer.{layer}.output.dense"
    zero, mean = switched_off(name)
    feed_forward.append((zero, mean))
    part = varying(trace[name][real])
    print(f"layer {layer}: {zero:4.0%} with zeros, {mean:4.0%} with the mean; {part:.0%} differs")

assert all(max(both) < 0.7 * whole for both in feed_forward)
assert any(zero > mean for zero, mean in feed_forward)

# %% [markdown]
# ## When is the answer there?
#
# Another way to ask what layers are for: read off the stream after each, with the language modelling head, as if it
# were the end. This is the *logit lens*, which notebook 1 drew for one sentence. Here it is for all the masked tokens.

# %%
states = minroberta.trace(model, masked, attention_mask=masks)
stages = ["embeddings", *(f"encoder.layer.{layer}" for layer in range(N))]
early = []
for stage in stages:
    at_mask = states[stage][np.arange(len(rows)), positions][None]  # (B, L, D) -> (1, n, D)
    guesses = heads.lm_head(at_mask, model.p, config)[0].argmax(-1)
    early.append((guesses == answers).mean())
    print(f"after {stage:<16} {early[-1]:4.0%} of the first guesses would be right")

# %%
assert early[-1] == whole
assert max(early[:3]) < 0.5 * whole
assert min(np.diff(early)) < 0  # it falls on the way

# %% [markdown]
# It need not rise steadily, and here it falls on the way. That does not mean that the stream has forgotten it: a layer
# may write what the next can use, in a form that the language modelling head cannot read. So a lens that shows nothing
# proves nothing.
#
# ## Which way does a word go?
#
# The strongest test is a *patch*. Take two sentences that differ in one word and have different answers. Run the first,
# but at one stage and one position put in the vector of the second. If the answer changes, this vector held what the
# answer needs.

# %%
one = model.tokenize("The old houses near the river <mask> built in 1850.")
two = model.tokenize("The old house near the river <mask> built in 1850.")
of_one, of_two = minroberta.trace(model, **one), minroberta.trace(model, **two)
at = int((one["input_ids"][0] == model.tokenizer.mask_token_id).argmax())
were, was = (int(found["logits"][0, at].argmax()) for found in (of_one, of_two))

# %%
print(repr(model.decode([were])), "and", repr(model.decode([was])))
assert one["input_ids"].shape == two["input_ids"].shape
assert (one["input_ids"] != two["input_ids"]).sum() == 1
assert were != was


# %%
def lead(found):
    """By how much the second answer leads, in logits."""
    return found["logits"][0, at, was] - found["logits"][0, at, were]


def patched(stage, position):
    """How far one vector moves the answer: 0 for not at all, 1 for all the way to the second."""
    mine, theirs = of_one[stage][0], of_two[stage][0]  # (L, D)
    mixed = np.where(np.arange(len(mine))[:, None] == position, theirs, mine)[None]
    moved = lead(minroberta.trace(model, **one, edit={stage: lambda x: mixed}))
    return (moved - lead(of_one)) / (lead(of_two) - lead(of_one))


# %%
tokens = [model.decode([token]).strip() for token in one["input_ids"][0]]
route = np.array([[patched(stage, i) for i in range(len(tokens))] for stage in stages])
print("route", route.shape, "(layers + 1, L)")

subject = tokens.index("houses")
assert np.isclose(route[0, subject], 1, atol=0.02)  # at the start, all is in the word itself
assert route[1].argmax() == subject + 1  # in these weights, after layer 0
assert route[2].argmax() == subject  # and after layer 1
assert np.isclose(route[-1, at], 1, atol=0.02)  # at the end, all is at the mask

# %%
figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
names = ["embeddings", *(f"after layer {layer}" for layer in range(N))]
title = 'Where "houses" or "house" is known: how far one vector moves "were" to "was"'
plot.matrix(ax, route, title, names, tokens, low=0, high=1, unit="part of the way")
plt.show()

# %% [markdown]
# Read it from top to bottom. Whether the noun is singular or plural is known at its own position first, and at `<mask>`
# in the end. On the way it need not stay where its word stands: in these weights it is, after layer 0, at the *next*
# token. After layer 1 it is back. A state at a position is not a state *of the word* at that position.
#
# Such a step needs a head that reads the one token from the other. Both layers have one:

# %%
there, back = (of_one[f"encoder.layer.{layer}.attention.self.probs"][0] for layer in (0, 1))  # (H, L, S)

assert there[:, subject + 1, subject].max() > 0.9  # the next token reads the noun
assert back[:, subject, subject + 1].max() > 0.9  # and the noun reads the next token

# %% [markdown]
# Much of the way to `<mask>`, four tokens off, is taken in a layer that rests. So there is a head that does not. Which
# one?

# %%
arrival = int((route[:, at] > 0.25).argmax()) - 1  # the first layer after which <mask> knows
shares = of_one[f"encoder.layer.{arrival}.attention.self.probs"][0, :, at]  # (H, S), from <mask>
to_noun = shares[:, subject : subject + 2].sum(-1)  # and to the token after it
reader = int(to_noun.argmax())

# %%
to_sink, to_word, to_next = (shares[reader, i] for i in (0, subject, subject + 1))
print(f"layer {arrival}, head {reader}, at this <mask>:")
print(f"{to_word:.0%} to the noun, {to_next:.0%} to the token after it, {to_sink:.0%} to <s>")

probs = states[f"encoder.layer.{arrival}.attention.self.probs"]  # (B, H, L, S)
elsewhere = probs[np.arange(len(rows)), reader, positions, 0]  # (n,)
print(f"at {len(rows)} other masks: {elsewhere.mean():.0%} to <s>; more than half at {(elsewhere > 0.5).sum()} of them")
assert arrival in sinks
assert to_sink < 0.1 and elsewhere.mean() > 0.7

# %% [markdown]
# In this sentence we see what resting may be for. The head usually looks at `<s>`, and that means *nothing found*. Here
# it has found something: less the noun than the token behind it, which read the noun in layer 0. What it looks for in
# general, one sentence cannot tell. So the sink may be an off switch; and a mean over many tokens hides the few for
# which the head is on. Give each head of that layer its mean, one at a time, and see how sure the model still is:


# %%
def with_mean(layer, head):
    """The probability of the right verb if one head gives what it gives on average."""
    name = f"encoder.layer.{layer}.attention.self"
    mean = trace[name][real].mean(0)  # (D,), of which head h has channels h·E to (h + 1)·E - 1
    mine = np.arange(len(mean)) // E == head
    found = minroberta.trace(model, **one, edit={name: lambda x: np.where(mine, mean, x)})
    return ops.softmax(found["logits"][0, at])[were]


# %%
sure = [with_mean(arrival, head) for head in range(H)]
print("all heads as they are:", ops.softmax(of_one["logits"][0, at])[were].round(2))
print("one at its mean:      ", np.round(sure, 2))
assert np.argmin(sure) == reader

# %% [markdown]
# ## Removing heads
#
# `head_mask` multiplies the shares of a head by 0, in one call. `prune_heads` takes the head out for good: for its E
# channels, E rows of query, key and value, with their biases, and E columns of `attention.output.dense`. The answers
# are the same, and the model is smaller ([Michel et al. 2019](https://arxiv.org/abs/1905.10650)). Heads keep their
# numbers, and each layer keeps at least one head; the configuration remembers which are gone, in `pruned_heads`.

# %%
pruned = model.prune_heads({4: [0, 1]})
head_mask = np.ones((N, H))
head_mask[4, [0, 1]] = 0
a, b = pruned(**one).logits, model(**one, head_mask=head_mask).logits

assert np.abs(a - b).max() < 1e-3 * np.abs(b).max()
assert pruned.config.pruned_heads == {4: [0, 1]}

# %%
before, after = (sum(x.size for x in flat(each.params).values()) for each in (model, pruned))
fewer = before - after
assert fewer == 2 * (4 * config.hidden_size * E + 3 * E)
print(f"two heads have {fewer:,} weights")

# %% [markdown]
# But this is zeroing again. To remove a head without the harm, its constant has to stay; and there is a bias to which
# it can be added, that of `attention.output.dense`. We keep the two heads of each resting layer that rest least, and
# remove all others of these layers. The head that found the verb's subject is one of those that stay.

# %%
by_rest = {layer: resting[layer].sum(0).argsort() for layer in sinks}  # those that rest least first
gone = {layer: sorted(map(int, order[2:])) for layer, order in by_rest.items()}
assert reader not in gone[arrival]


def bias_without(layer, some):
    """The bias of the output map, with what these heads give on average added to it."""
    p = model.p.encoder.layer[layer].attention.output.dense
    mean = trace[f"encoder.layer.{layer}.attention.self"][real].mean(0)  # (H·E,)
    mean = mean * np.isin(np.arange(H * E) // E, some)  # 0 for heads that stay
    return p.bias + p.weight @ mean


# %%
params = flat(model.params)  # a dict from names to arrays
for layer, some in gone.items():
    params[f"encoder.layer.{layer}.attention.output.dense.bias"] = bias_without(layer, some)
with_constants = minroberta.Model(config, tree(params), "masked_lm", model.tokenizer)

# %%
plain, folded = model.prune_heads(gone), with_constants.prune_heads(gone)
count = sum(map(len, gone.values()))
print(f"without {count} of {N * H} heads: {right(plain):.0%} right, and {right(folded):.0%} with constants")

assert right(folded) > right(plain) + 0.3
assert right(folded) > 0.6 * whole

# %% [markdown]
# So what are these layers for? Their feed-forward parts compute on what layers 0 to 2 have brought together; their
# attention adds a constant, and now and then fetches something from far away. Before you call a part vital or useless,
# ask what it was compared with.

# %% [markdown]
# ## Three exercises
#
# Replace the stub and run the cell; the check says what is wrong. A solution is folded below each check.
#
# **1. How much rests?** Write the measure for one layer of a padded batch: the mean share that goes to `<s>` and `</s>`
# together, for each head, over *all* tokens that are not padding, `<s>` and `</s>` included. (Hint: `</s>` is at
# `mask.sum(1) - 1`. Padding has rows of shares, too, which must not count.)


# %%
# exercise 1
def my_rest(shares, mask):
    """shares: (B, H, L, L); mask: (B, L) of 1 and 0, padding on the right. Returns (H,)."""


# %%
# check 1
check(1, my_rest)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def my_rest(shares, mask):
#     found = []
#     for text, row in zip(shares, mask, strict=True):
#         n = row.sum()
#         found.append(text[:, :n, 0] + text[:, :n, n - 1])  # (H, n): for each token that is not padding
#     return np.concatenate(found, axis=-1).mean(-1)
# ```
#
# </details>

# %% [markdown]
# **2. An edit that gives the mean.** Write a function that makes the edit: from the values of a padded batch and its
# mask, it returns a function for `edit=`, which replaces any array (B, L, D), of any batch, by the mean vector. Padding
# must not count. (Hint: an edit has to return the shape and the dtype that it was given, here float32.)


# %%
# exercise 2
def my_edit(values, mask):
    """A function from an array (b, l, D) to one of the same shape. values: (B, L, D); mask: (B, L)."""


# %%
# check 2
check(2, my_edit)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def my_edit(values, mask):
#     mean = values[mask == 1].mean(0)  # (B, L, D) -> (tokens, D) -> (D,)
#     return lambda x: np.broadcast_to(mean, x.shape).astype(x.dtype)
# ```
#
# </details>

# %% [markdown]
# **3. Remove heads, keep their constants.** Given the weight and the bias of `attention.output.dense` and the mean of
# its input, return the smaller weight, without the columns of the heads that go, and the bias that makes up for them.
# (Hint: head h has columns h·E to (h + 1)·E − 1. The linear map is x Wᵀ + b.)


# %%
# exercise 3
def my_removal(weight, bias, mean, gone, E):
    """The new weight and bias. weight: (D, H·E), bias: (D,), mean: (H·E,), gone: a list of heads."""


# %%
# check 3
check(3, my_removal)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# def my_removal(weight, bias, mean, gone, E):
#     goes = np.isin(np.arange(weight.shape[1]) // E, gone)  # (H·E,)
#     return weight[:, ~goes], bias + weight[:, goes] @ mean[goes]
# ```
#
# </details>

# %% [markdown]
# **Where to go on.** Next is [10. Caches](10_caches.ipynb). The code is in `minroberta/trace.py` (`edit`),
# `minroberta/attend.py` (the head mask) and `minroberta/checkpoints/surgery.py` (`prune_heads`). Papers:
# [Xiao et al. 2023](https://arxiv.org/abs/2309.17453), section 3.1;
# [Kobayashi et al. 2020](https://arxiv.org/abs/2004.10102), sections 3 and 4;
# [Michel et al. 2019](https://arxiv.org/abs/1905.10650), section 3;
# [Clark et al. 2019](https://arxiv.org/abs/1906.04341), section 3.2.
