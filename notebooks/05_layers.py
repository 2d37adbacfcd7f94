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
# # 5. A layer, two ways to norm it: why did pre-LN win?
#
# A layer does two things to the vectors of a text, and norms twice. RoBERTa norms *after* each of the two, as BERT and
# the first Transformer did; nearly all large models since norm *before*. Here we open the layer norm and the gelu,
# write both orders, count the norms, and train two deep models that differ in their norms alone. One of them fails at
# a task that could hardly be easier. This takes about 25 minutes. Read
# [1. One sentence](01_walkthrough.ipynb) first.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import activations, layers, ops, plot
from minroberta.config import PRESETS, Config
from minroberta.exercises.layers import check
from minroberta.train import train
from minroberta.weights import shapes

np.set_printoptions(precision=3, suppress=True, linewidth=110)
plt.rcParams.update(plot.STYLE)

model = minroberta.load()
config = model.config
trace = minroberta.trace(model, **model.tokenize("The river flows into the <mask> Ocean."))


# %%
def same(ours, theirs):
    """True if two arrays are equal but for rounding in float32."""
    close = np.abs(ours - theirs) <= 1e-4 * np.abs(theirs).max()
    return ours.shape == theirs.shape and close.all()


# %% [markdown]
# ## What a layer norm does
#
# It takes the vector of *one token*, shifts its D numbers to mean 0 and scales them to variance 1; then each channel is
# multiplied by a weight and gets a bias, both learned. It looks at no other token and at no other text, so that it
# works the same in training and in use. It is equation 3 of [Ba et al. 2016](https://arxiv.org/abs/1607.06450):
#
# ```
# norm(x) = (x - mean(x)) / √(variance(x) + ε) · weight + bias
# ```


# %%
def layer_norm(x, weight, bias, eps):
    """The layer norm of each vector. x: (..., D); weight, bias: (D,)."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)  # divided by D, not by D - 1
    return centred / np.sqrt(variance + eps) * weight + bias


# %%
name = "encoder.layer.0.attention.output"
x = trace[f"{name}.sum"]  # (B, L, D), what comes into the first norm of layer 0
p = model.p.encoder.layer[0].attention.output.LayerNorm

assert same(layer_norm(x, p.weight, p.bias, config.layer_norm_eps), trace[f"{name}.LayerNorm"])

# %% [markdown]
# A vector that is three times as long, or has 5 added to all of its numbers, gives the same. So a norm forgets the size
# and the mean of its input, and keeps the direction of what is left. Remember this: it is the reason for all that
# follows.

# %%
plain = {"weight": np.ones(config.hidden_size), "bias": np.zeros(config.hidden_size), "eps": 1e-5}
y = layer_norm(x, **plain)

assert same(layer_norm(3 * x + 5, **plain), y)
assert np.allclose(y.mean(-1), 0, atol=1e-4)
assert np.allclose(y.std(-1), 1, atol=1e-2)

# %% [markdown]
# ## Four details that ports get wrong
#
# **ε** keeps a vector of equal numbers from being divided by 0. In RoBERTa's published files it is 1e-5. BERT has
# 1e-12, which is also the default of the configuration's class. It stands *inside* the root. For usual vectors you see
# no difference; for a small one, it is large.

# %%
assert config.layer_norm_eps == PRESETS["roberta-base"]["layer_norm_eps"] == 1e-5
assert Config().layer_norm_eps == 1e-12

small_one = np.linspace(-0.005, 0.005, config.hidden_size)  # its variance is 8e-6
for eps in (1e-12, 1e-5):
    made = layer_norm(small_one, **plain | {"eps": eps})
    print(f"eps = {eps:<6} gives a variance of {made.var():.2f} instead of 1")

# %%
assert np.isclose(made.var(), small_one.var() / (small_one.var() + 1e-5))
outside = small_one / (small_one.std() + 1e-5)  # eps outside the root
assert abs(outside.std() / made.std() - 1) > 0.2

# %% [markdown]
# **The mean is subtracted first.** On paper, the variance is also mean(x²) − mean(x)². In float32 it is not: with a
# mean of 10,000 both terms are about 10⁸, where float32 numbers are 8 apart. A small variance is lost in between,
# and the difference may even be negative.

# %%
far = np.float32(10_000) + np.linspace(-0.2, 0.2, 1000, dtype=np.float32)  # its variance is 0.013
by_difference = (far * far).mean() - far.mean() ** 2

assert np.spacing(np.float32(1e8)) == 8
assert np.isclose(((far - far.mean()) ** 2).mean(), 0.0134, rtol=0.01)
print(f"a variance of {far.astype(float).var():.4f}, by the difference {by_difference:.4f}")
assert by_difference % 8 == 0

# %% [markdown]
# **The variance is biased**: its sum is divided by D. NumPy's `var` does that; torch's does not unless you ask. With
# D − 1, all numbers shrink by a factor of √((D − 1)/D). That is two thousandths at D = 256: too little to change a
# guess, and enough to be wrong.

# %%
D = config.hidden_size
factor = x.std(-1) / x.std(-1, ddof=1)  # ddof=1: divided by D - 1

print(f"with D - 1, numbers are {factor.mean():.4f} of what they should be")
assert np.allclose(factor, math.sqrt((D - 1) / D))

# %% [markdown]
# **The gelu has two formulas.** x·Φ(x) is the exact one, and `hidden_act: "gelu"` means it. Φ(x) = (1 + erf(x/√2)) / 2
# is the probability that a standard normal number is below x; erf is the error function. GPT-2 and others take an
# approximation with tanh, called "gelu_new" or "gelu_pytorch_tanh"
# ([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415), section 2). How far apart are they?

# %%
line = np.linspace(-8, 8, 16_001)
exact = line / 2 * (1 + np.vectorize(math.erf)(line / math.sqrt(2)))
by_tanh = line / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (line + 0.044715 * line**3)))
apart = np.abs(exact - by_tanh)

print(f"at most {apart.max():.2e}, at x = ±{abs(line[apart.argmax()]):.1f}")
assert np.allclose(exact, activations.gelu(line))
assert np.allclose(by_tanh, activations.gelu_tanh(line))
assert 4e-4 < apart.max() < 5e-4

# %% [markdown]
# So the wrong gelu shows in the fourth digit of a value, and hardly ever in a guess. `hidden_act` is for the layers
# only. What is put on top of them does not depend on it: the language modelling head always has the exact gelu, the
# pooler and the classifier always tanh.

# %%
changed = minroberta.Model(config.replace(hidden_act="gelu_new"), model.params, "masked_lm")
other = minroberta.trace(changed, **trace.inputs)
name = "encoder.layer.0.intermediate"  # what the gelu gives
guesses = [found["logits"].argmax(-1) for found in (trace, other)]

print("first guesses that change:", int((guesses[0] != guesses[1]).sum()))
assert config.hidden_act == "gelu"
assert 1e-4 < np.abs(other[name] - trace[name]).max() < 6e-4
assert same(activations.gelu(other["lm_head.dense"]), other["lm_head.gelu"])

# %% [markdown]
# ## The two orders
#
# A layer has two halves. In each, a function f looks at the vectors and says what is to be *added* to them. First f is
# attention, then the feed-forward part: a linear map to four times as many channels, a gelu, and a linear map back.
# What is added to, and handed on from layer to layer, is the *residual stream*. Where does the norm stand?
#
# ```
# post-LN                                  pre-LN
#      ┌───────────┐                            ┌──────────────────┐
# x ───┴──── f ────+──── norm ────►        x ───┴─── norm ─── f ───+────►
# ```


# %%
def post_ln(x, norm, f):
    """The norm stands on the stream: all that is handed on goes through it."""
    return norm(x + f(x))


def pre_ln(x, norm, f):
    """The norm stands on the way into f, beside the stream, which is a plain sum."""
    return x + f(norm(x))


# %% [markdown]
# Let us run a layer in both ways, on two small random models. `halves` gives the norm and the f of each half, from the
# package. A *family* is a model type: RoBERTa, or one of its two pre-LN relatives, RoBERTa-PreLayerNorm and
# XLM-RoBERTa-XL. The parameter tree has the names of the `roberta` family in every family; files and traces have the
# family's own, as we shall see.


# %%
def halves(model, number):
    """Norm and f of the two halves of a layer: attention, then feed-forward."""
    p, eps = model.p.encoder.layer[number], model.config.layer_norm_eps
    yield (lambda x: ops.layer_norm(x, **p.attention.output.LayerNorm.tree, eps=eps),
           lambda x: layers.self_attention(x, p.attention, model.config))  # fmt: skip
    yield (lambda x: ops.layer_norm(x, **p.output.LayerNorm.tree, eps=eps),
           lambda x: layers.feed_forward(x, p, model.config))  # fmt: skip


# %%
D = 32  # of the random models from here on
SIZES = {"vocab_size": 32, "hidden_size": D, "intermediate_size": 4 * D, "num_attention_heads": 4,
         "max_position_embeddings": 10, "type_vocab_size": 1, "layer_norm_eps": 1e-5}  # fmt: skip


def random_model(kind, depth, gain=1.0, seed=0):
    """A model with random weights of standard deviation gain / √D."""
    fields = {**SIZES, "model_type": kind, "num_hidden_layers": depth}
    fields["initializer_range"] = gain / math.sqrt(D)  # the standard deviation
    return minroberta.init(fields, head="masked_lm", seed=seed)


# %%
ids = np.random.default_rng(0).integers(5, 32, (4, 8))  # (B, L)
for kind, order in (("roberta", post_ln), ("roberta-prelayernorm", pre_ln)):
    tiny = random_model(kind, depth=2)
    found = minroberta.trace(tiny, ids)
    x = found["embeddings"]
    for norm, f in halves(tiny, 0):
        x = order(x, norm, f)
    assert same(x, found["encoder.layer.0"])
    print(f"{kind:<22}layer 0 agrees")

# %% [markdown]
# ## Where the norms stand
#
# In post-LN the last thing that happens is a norm. In pre-LN the stream comes out as a sum of any size, so that one
# more norm is needed at the end. The two pre-LN families do not put it in the same node, and differ at the beginning,
# too:
#
# | | RoBERTa | RoBERTa-PreLayerNorm | XLM-RoBERTa-XL |
# |---|---|---|---|
# | order | post-LN | pre-LN | pre-LN |
# | norm of the embeddings | yes | yes | no |
# | norms in 12 layers | 24 | 24 | 24 |
# | final norm | none | `LayerNorm` | `encoder.LayerNorm` |
# | norms of the body | **25** | **26** | **25** |

# %%
families = ("roberta", "roberta-prelayernorm", "xlm-roberta-xl")


def norms(kind, depth):
    """The names, as in a checkpoint, of the norms of a model without a head."""
    config = Config(**SIZES, model_type=kind, num_hidden_layers=depth)
    names = [name for name in shapes(config, "encoder") if name.endswith("LayerNorm.weight")]
    return [config.family.own_name(name).removesuffix(".weight") for name in names]


assert [len(norms(kind, 12)) for kind in families] == [25, 26, 25]

# %%
for kind in families:
    print(f"{kind:<22}", *norms(kind, 1), sep="\n    ")

# %% [markdown]
# Look at the names. In a RoBERTa-PreLayerNorm, the norm *before* attention is `attention.LayerNorm`, and that before
# the feed-forward part is `intermediate.LayerNorm`. In an XLM-RoBERTa-XL they are `attention.self_attn_layer_norm` and
# a `LayerNorm` in the layer itself. Every family has one more norm in its language modelling head,
# `lm_head.layer_norm`.
#
# Which hidden state is which? `hidden_states` has one more item than there are layers. The first is the embeddings,
# after their norm if they have one. The last is where people stumble:

# %%
for kind in families:
    tiny = random_model(kind, depth=3)
    encoder = minroberta.Model(tiny.config, tiny.params, "encoder")
    out = encoder(ids, output_hidden_states=True)
    is_last = same(out.hidden_states[-1], out.last_hidden_state)
    print(f"{kind:<22}hidden_states[-1] is last_hidden_state: {is_last}")
    assert len(out.hidden_states) == 3 + 1
    assert same(out.hidden_states[0], minroberta.trace(encoder, ids)["embeddings"])
    assert is_last == (kind != "roberta-prelayernorm")

# %% [markdown]
# RoBERTa-PreLayerNorm's final norm stands outside the encoder: `hidden_states[-1]` is the stream *before* it, and
# `last_hidden_state` after. XLM-RoBERTa-XL's stands inside, and both are after it.

# %%
tiny = random_model("roberta-prelayernorm", depth=3)
encoder = minroberta.Model(tiny.config, tiny.params, "encoder")
out = encoder(ids, output_hidden_states=True)

normed = ops.layer_norm(out.hidden_states[-1], **encoder.p.LayerNorm.tree, eps=1e-5)
assert same(normed, out.last_hidden_state)

# %% [markdown]
# ## How much of a token is left?
#
# Now the reason. Before training, weights are random, and f(x) is about as large as x and has nothing to do with it.
# Post-LN adds the two and scales the sum back: the token's part shrinks by a factor in *every* half. Pre-LN keeps the
# sum: the token's part stays, and more is added beside it. After n halves the first leaves something like 2^(−n/2) of
# the token, the second 1/√(1 + n), and a layer has two halves.
#
# We measure it by a cosine, 1 for equal directions and 0 for unrelated ones, between the stream and the embeddings.
# From both we first subtract the mean of all tokens: what all have in common says nothing about one of them.


# %%
def what_is_left(model, ids):
    """The mean cosine of each state of the stream and the embeddings: (layers + 1,)."""
    states = model(ids, output_hidden_states=True).hidden_states
    states = [state - state.mean((0, 1)) for state in states]  # (B, L, D)
    units = [state / np.linalg.norm(state, axis=-1, keepdims=True) for state in states]
    return np.array([(unit * units[0]).sum(-1).mean() for unit in units])


# %%
DEPTH = 12
ids = np.random.default_rng(0).integers(5, 32, (16, 8))
left = {kind: what_is_left(random_model(kind, DEPTH), ids) for kind in families[:2]}
for kind, cosines in left.items():
    print(f"{kind:<22}{cosines[[0, 1, 2, 3, 6, 12]]}  after 0, 1, 2, 3, 6, 12 layers")

halves = 2 * np.arange(DEPTH + 1)
assert abs(left["roberta"][-1]) < 0.1
assert left["roberta-prelayernorm"][-1] > 0.15
assert np.abs(left["roberta"] - 2.0 ** (-halves / 2)).max() < 0.2  # something like it: f(x) is not just as large as x
assert np.abs(left["roberta-prelayernorm"] - 1 / np.sqrt(1 + halves)).max() < 0.2

# %% [markdown]
# ## Twelve layers and an easy task
#
# Let us train these two models of twelve layers, 60 steps each, with AdamW and one learning rate. The task: *say the
# token that you see*. Nothing is masked, and the output table is the input table, so the answer lies at hand. There are
# 27 tokens, with the ids 5 to 31. So guessing costs ln 27 = 3.3.
#
# **Predict before you run:** which of the two learns it, and how far does the other get?


# %%
def batches():
    """Texts of 8 random tokens, 16 at a time; each token is its own label."""
    random = np.random.default_rng(0)
    while True:
        ids = random.integers(5, 32, (16, 8))
        yield {"input_ids": ids, "labels": ids}


def losses(kind, gain, warm_up=0):
    """The loss at each of 60 steps. `train` gives each step, and the model after it."""
    model = random_model(kind, DEPTH, gain)
    return [step.loss for step, _ in train(model, batches(), steps=60, learning_rate=3e-3, warm_up=warm_up)]


# %%
chance = math.log(27)
learned = {kind: losses(kind, gain=1.0) for kind in families[:2]}
for kind, values in learned.items():
    print(f"{kind:<22}loss {values[0]:.2f} at first, {np.mean(values[-5:]):.2f} at the end")

assert abs(np.mean(learned["roberta"][-5:]) - chance) < 0.1 * chance  # as good as guessing
assert np.mean(learned["roberta-prelayernorm"][-5:]) < 0.3 * chance

# %% [markdown]
# The post-LN model did not learn to repeat a token in these 60 steps. It has learned that there are 27 of them, and no
# more. The random weights are the same, and so are the data; only the norms stand elsewhere, and pre-LN has one more at
# its end. **This is the picture to remember:**

# %%
figure, (one, two) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
for kind, style, label in zip(families, ("o-", "s--"), ("post-LN", "pre-LN"), strict=False):
    one.plot(left[kind], style, label=label, markersize=4)
    two.plot(range(1, 61), learned[kind], style, label=label, markersize=2.5)
one.set(title="How much of a token is left, before training", ylabel="cosine with the embeddings")
one.set(xlabel="number of layers done (0: the embeddings)")
two.axhline(chance, color="grey", linestyle=":", label="guessing: ln 27")
two.set(title="Learning to repeat the token", xlabel="step", ylabel="loss", ylim=(0, None))
one.legend()
two.legend()
plt.show()

# %% [markdown]
# The left panel explains the right one. When the stream reaches the end of the post-LN model, little of the token is
# left in it, so that there is little to learn from at the start. And the way back is as long: the gradient passes the
# same 24 norms. In pre-LN a sum leads straight from the embeddings to the end, and the gradient goes straight back.

# %% [markdown]
# ## How can RoBERTa work, then?
#
# It is post-LN, with twelve layers. The trick is the size of the random weights. A linear map with weights of standard
# deviation σ multiplies the size of a vector by about σ·√D; call that the *gain*. Above it was 1. The default of
# transformers is σ = 0.02, at any width:

# %%
sigma = Config().initializer_range
widths = {"here": 32, "roberta-base": 768, "roberta-large": 1024, "XLM-RoBERTa-XL": 2560}
for name, width in widths.items():
    print(f"{name:<16} D = {width:<5} gain of σ = {sigma}: {sigma * math.sqrt(width):.2f}")

assert sigma == 0.02
xl = Config(model_type="xlm-roberta-xl")
assert (xl.hidden_size, xl.num_hidden_layers, xl.norm_first) == (2560, 36, True)

# %%
random = np.random.default_rng(0)
vector, weight = random.standard_normal(768), sigma * random.standard_normal((768, 768))

assert abs((weight @ vector).std() / vector.std() - sigma * math.sqrt(768)) < 0.1

# %% [markdown]
# With a gain of 0.1, as 0.02 gives to narrow models, f adds next to nothing: both orders are then nearly the identity,
# and a small experiment at 0.02 shows no difference between them. At roberta-base's 0.55, post-LN still learns.
# XLM-RoBERTa-XL has a gain of 1 and 36 layers: it is pre-LN.

# %%
for gain in (0.11, 0.55):
    for kind in families[:2]:
        end = np.mean(losses(kind, gain)[-5:])
        part = what_is_left(random_model(kind, DEPTH, gain), ids)[-1]
        print(f"gain {gain}: {kind:<22}{part:4.0%} left after {DEPTH} layers, loss {end:.2f}")
        assert part > 0.4
        assert end < 0.5 * chance

# %% [markdown]
# RoBERTa also began with a learning rate that grew from 0 over 24,000 steps (*warm-up*; table 9 of
# [the paper](https://arxiv.org/abs/1907.11692)). That keeps the first steps of a post-LN model from being too long. It
# does not bring back what was lost on the way: at a gain of 1, our model still only guesses.

# %%
end = np.mean(losses("roberta", 1.0, warm_up=40)[-5:])
print(f"post-LN at a gain of 1, with a warm-up of 40 of the 60 steps: loss {end:.2f}")
assert abs(end - chance) < 0.1 * chance

# %% [markdown]
# ## What pre-LN costs
#
# Pre-LN's stream grows with depth, since nothing scales it back, and each layer's share of it shrinks. So does the
# gradient of the last layers' weights: what they say matters less. In post-LN every state has the same size, but the
# gradient of the first layers is anybody's guess. `minroberta.gradients` gives the gradient of a loss with respect to
# every weight; we take the length of that of a layer's weights, for four different seeds.


# %%
def of_layer(gradients, number):
    """The length of the gradient of a layer's weights, all together."""
    name = f"encoder.layer.{number}."
    found = [(x**2).sum() for key, x in gradients.items() if key.startswith(name) and x.ndim == 2]
    return math.sqrt(sum(found))


def at_the_start(kind, depth, seed):
    """The size of the last state, and the gradients' lengths of the first and the last layer."""
    model = random_model(kind, depth, seed=seed)
    last = model(ids[:4], output_hidden_states=True).hidden_states[-1]
    g = minroberta.gradients(model, ids[:4], labels=ids[:4])
    return last.std(-1).mean(), of_layer(g, 0), of_layer(g, depth - 1)


# %%
measured = {}
for kind in families[:2]:
    for depth in (6, 48):
        runs = np.array([at_the_start(kind, depth, seed) for seed in range(4)])  # (4, 3)
        measured[kind, depth] = runs
        print(f"{kind}, {depth} layers")
        for what, column in zip(("stream", "first gradient", "last gradient"), runs.T, strict=True):
            print(f"    {what:<15}{column.min():6.2f} to {column.max():5.2f}")

# %%
post, pre = (np.array([measured[kind, depth] for depth in (6, 48)]) for kind in families[:2])

assert np.allclose(post[..., 0], 1, atol=0.01)  # a norm's output has size 1
assert (pre[1, :, 0] > 2 * pre[0, :, 0]).all()  # the stream grows
assert pre[1, :, 2].mean() < 0.7 * pre[0, :, 2].mean()  # the last layer's gradient shrinks
assert np.ptp(np.log(post[1, :, 1])) > 2 * np.ptp(np.log(pre[1, :, 1]))  # post-LN's varies more
assert post[1, :, 2].min() > 3 * pre[1, :, 2].max()  # and its last layer's does not shrink

# %% [markdown]
# [Xiong et al. 2020](https://arxiv.org/abs/2002.04745), section 3, prove what we see of the last layer, for the start
# of training. A post-LN model's gradient stays large there however deep the model is, which is why it wants a warm-up.
# A pre-LN model's gets smaller with depth, and it can do without. Pre-LN won because it can be made deep with less
# care, not because it computes anything that post-LN could not.

# %% [markdown]
# ## Three exercises
#
# Replace the stub and run the cell; the check says what is wrong. A solution is folded below each check.
#
# **1. Layer norm.** Write it again, without looking. The check has vectors of very different sizes, so that it sees
# where your ε is.


# %%
# exercise 1
def my_norm(x, weight, bias, eps):
    """x: (B, L, D); weight, bias: (D,). Returns (B, L, D)."""


# %%
# check 1
check(1, my_norm)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def my_norm(x, weight, bias, eps):
#     centred = x - x.mean(-1, keepdims=True)
#     return centred / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias
# ```
#
# </details>

# %% [markdown]
# **2. A pre-LN body.** Run all layers of a pre-LN model and its end. You get the embeddings, a list of pairs (norm, f),
# one for each half, in order, and the final norm; all of them are functions of (B, L, D). Return the list of all states
# of the stream, one after each half, and last of all what the final norm makes of the end. The oracle judges each of
# them. (Hint: one of the two functions above, in a loop.)


# %%
# exercise 2
def my_body(x, pairs, final_norm):
    """x: (B, L, D), the embeddings. Returns a list of len(pairs) + 1 arrays (B, L, D)."""


# %%
# check 2
check(2, my_body)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def my_body(x, pairs, final_norm):
#     states = []
#     for norm, f in pairs:
#         x = x + f(norm(x))
#         states.append(x)
#     return [*states, final_norm(x)]
# ```
#
# </details>

# %% [markdown]
# **3. How many weights?** Count the numbers in the body of a model, embeddings and layers, without pooler and head, for
# all three families. (Hint: three tables; four linear maps of D × D and two of D × F in a layer, each with a bias; a
# norm has 2·D. `config.norm_first` is true for both pre-LN families, and `config.embedding_norm` is false for
# XLM-RoBERTa-XL.)


# %%
# exercise 3
def my_count(config):
    """The number of weights, from the fields of a Config, such as config.hidden_size."""


# %%
# check 3
check(3, my_count)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# def my_count(config):
#     D, F = config.hidden_size, config.intermediate_size
#     tables = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * D
#     layer = 4 * (D * D + D) + (D * F + F) + (F * D + D)
#     norms = 2 * config.num_hidden_layers + config.embedding_norm + config.norm_first
#     return tables + config.num_hidden_layers * layer + norms * 2 * D
# ```
#
# </details>

# %% [markdown]
# **Where to go on.** Next is [6. Backwards](06_backwards.ipynb), where the gradients come from. The code is in
# `minroberta/layers.py`, of which `residual` is the function with the two orders, in `minroberta/ops.py`
# (`layer_norm`), and in `minroberta/activations.py`; the families are a table in `minroberta/config.py`. Papers:
# [Ba et al. 2016](https://arxiv.org/abs/1607.06450), section 3;
# [Xiong et al. 2020](https://arxiv.org/abs/2002.04745), figure 1 and section 3;
# [Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415), section 2.
