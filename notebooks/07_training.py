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
# # 7. Training from nothing: when does it understand?
#
# A new model has random weights and knows nothing. Here we make one, with two layers of 64 channels, give it texts with
# gaps, and watch it for four hundred steps, which take a few seconds. We will know beforehand what the best possible
# loss is, and see how the model gets there: not bit by bit, but over a cliff.
#
# This takes about 25 minutes. Read [6. Backwards](06_backwards.ipynb) first: it says where gradients come from. Here
# they are used.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import ops, plot
from minroberta.exercises.training import check
from minroberta.train import Moments, adamw, clipped, decays, masked, train, warm_up_and_decay
from minroberta.weights import flat

np.set_printoptions(precision=3, suppress=True, linewidth=110)
plt.rcParams.update(plot.STYLE)

# %% [markdown]
# ## A language with one rule
#
# Our texts are palindromes: eight random letters, and then the same letters backwards. Whoever knows the rule can fill
# any gap by looking at the mirror image of its position. Whoever does not can only guess one letter of 26.
#
# The vocabulary is laid out as RoBERTa's: `<s>`, `<pad>`, `</s>` and `<unk>` have the ids 0 to 3, then come the tokens,
# and `<mask>` is the last.

# %%
TOKENS = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "<mask>"]
V, HALF, MASK = len(TOKENS), 8, len(TOKENS) - 1
SPECIAL = (0, 1, 2, 3, MASK)


def palindromes(random, count):
    """Texts with <s> before and </s> after: (count, 2 · HALF + 2) ids."""
    half = random.integers(4, MASK, (count, HALF))
    return np.concatenate([np.full((count, 1), 0), half, half[:, ::-1], np.full((count, 1), 2)], axis=1)


# %%
random = np.random.default_rng(0)
texts = palindromes(random, 2000)
for row in texts[:3]:
    print(" ".join(TOKENS[token] for token in row))

assert (texts == np.where(texts == 0, 2, np.where(texts == 2, 0, texts))[:, ::-1]).all()

# %% [markdown]
# ## Which tokens are to be guessed?
#
# Each token is *chosen* with a probability of 15 %. The model has to predict the chosen ones, and only these count in
# the loss. Their ids are the *labels*, and all other labels are −100, "do not ask". Special tokens, padding among them,
# are never chosen.
#
# Of the chosen tokens, 80 % become `<mask>`, 10 % become a random one of all V tokens, and 10 % stay as they are
# ([Devlin et al. 2019](https://arxiv.org/abs/1810.04805), section 3.1). `masked` does this.

# %%
config = minroberta.Config(
    vocab_size=V, hidden_size=64, intermediate_size=256, num_attention_heads=4, num_hidden_layers=2,
    max_position_embeddings=20, type_vocab_size=1, layer_norm_eps=1e-5, initializer_range=1 / math.sqrt(64),
)  # fmt: skip
ids, labels = masked(texts, config, MASK, SPECIAL, seed=0)

print("text  ", " ".join(TOKENS[token] for token in texts[1]))
print("input ", " ".join(TOKENS[token] for token in ids[1]))
print("labels", " ".join("." if token == -100 else TOKENS[token] for token in labels[1]))

# %%
chosen = labels != -100
letters = ~np.isin(texts, SPECIAL)
shares = [chosen[letters].mean(), (ids == MASK)[chosen].mean(), (ids == texts)[chosen].mean()]
print("chosen {:.1%}; of these, <mask> {:.1%}, unchanged {:.1%}".format(*shares))

assert np.allclose(shares, [0.15, 0.8, 0.1 + 0.1 / V], atol=0.02)  # a random token may be the old one
assert not chosen[~letters].any()
assert (labels[chosen] == texts[chosen]).all()  # the label is the true token, whatever the input shows
assert (ids[~chosen] == texts[~chosen]).all()

# %% [markdown]
# Why not mask all of them? A finished model will read texts without `<mask>`. If it had to predict only at `<mask>`, it
# could neglect all other positions. With 10 % random and 10 % unchanged, any token may be one that is asked for, and
# none can be trusted blindly.
#
# BERT chose once, when its data were prepared. RoBERTa chooses anew each time that it reads a text ("dynamic masking",
# [Liu et al. 2019](https://arxiv.org/abs/1907.11692), section 4.1): here, with another seed.

# %%
again, _ = masked(texts, config, MASK, SPECIAL, seed=1)

assert (again != ids).any()
assert (masked(texts, config, MASK, SPECIAL, seed=0)[0] == ids).all()

# %% [markdown]
# ## The loss
#
# The loss is the *cross entropy*: the mean of −log of the probability that the right token got, over all labels that
# count. With the natural logarithm its unit is the *nat*. The sum over all texts of the batch is divided once, by the
# number of labels that count: a text with three gaps weighs three times as much as one with one.

# %%
model = minroberta.init(config, "masked_lm", seed=0)
output = model(ids[:100], labels=labels[:100])
logits, wanted = output.logits, labels[:100]  # (B, L, V), (B, L)

rows, columns = np.nonzero(wanted != -100)
of_right = ops.softmax(logits)[rows, columns, wanted[rows, columns]]  # the chance of each right token: (n,)

assert np.isclose(output.loss, -np.log(of_right).mean(), rtol=1e-5)
print(f"{len(rows)} labels count; loss {output.loss:.2f}")

# %% [markdown]
# exp(loss) is the *perplexity*: among how many equally likely tokens the model hesitates, as it were. If all V tokens
# are equally likely, the loss is ln V and the perplexity V. So **ln V is what a new model should show**: logits near 0.
# Much more means that it is sure of nonsense, or that something is wrong. Ours shows a little more, since its first
# weights are rather large. That is on purpose, as you will see below.

# %%
equal = np.zeros_like(logits)
assert np.isclose(ops.cross_entropy(equal, wanted), math.log(V))

for name, size in [("ours", V), ("the package's", 8000), ("roberta-base", 50265)]:
    print(f"{name:<20} ln {size:<6} = {math.log(size):.2f}")
print(f"our new model: {output.loss:.2f}, with a perplexity of {math.exp(output.loss):.0f}")

assert 1.05 < output.loss / math.log(V) < 1.3

# %% [markdown]
# ## What can be known?
#
# Our language is so simple that we can compute the best possible loss. It is the *conditional entropy* of a letter,
# given what one looks at. We compute it for three readers, from the probabilities of what is shown for a letter. In
# `shown`, that is a row for each of the 26 letters, and a column for each token that may stand there.

# %%
true = np.eye(V)[4:MASK]  # (26, V): the letter itself
shown = 0.8 * np.eye(V)[MASK] + 0.1 / V + 0.1 * true  # of a chosen position
mirrored = 0.85 * true + 0.15 * shown  # of its mirror image, which may be chosen as well


def entropy(joint):
    """The mean of -ln P(letter | seen). joint: P(letter, seen), (26, ...)."""
    given = joint / np.maximum(joint.sum(0), 1e-300)
    return -(joint * np.log(np.maximum(given, 1e-300))).sum()


# %%
bounds = {
    "knows only the letters": math.log(26),
    "copies what stands there": entropy(shown / 26),
    "looks at the mirror image": entropy(shown[:, :, None] * mirrored[:, None, :] / 26),
}
for reader, bound in bounds.items():
    print(f"a reader who {reader:<26} at best {bound:.2f} nats")

assert list(bounds.values()) == sorted(bounds.values(), reverse=True)

# %% [markdown]
# Who understands everything still has a loss: if the mirror image is masked too, nobody can know. And copying is worth
# a little, since one chosen token in ten is left as it was. Keep these numbers in mind.
#
# ## From gradients to steps: AdamW
#
# A step against the gradient, w − rate · g, would do for a curve with one slope. But the gradients of a network differ
# by factors of thousands from weight to weight. **Adam** therefore divides each by its own usual size. It keeps two
# running means for each weight, of the gradient g (m) and of its square (v). β₁ and β₂ say how much of the old mean is
# kept:
#
# $$m = \beta_1 m + (1 - \beta_1)\,g, \qquad v = \beta_2 v + (1 - \beta_2)\,g^2$$
#
# They start at 0, so at first they are too small. After t steps, the shares of the t gradients in the mean sum to
# 1 − βᵗ only, and the rest is the 0 of the start. Dividing by this sum makes it a mean: the *bias correction*.
#
# $$\hat m = \frac{m}{1 - \beta_1^t}, \qquad \hat v = \frac{v}{1 - \beta_2^t}, \qquad
# w = w - \mathrm{rate}\cdot\Bigl(\frac{\hat m}{\sqrt{\hat v} + \varepsilon} + \lambda w\Bigr)$$
#
# Usual values are β₁ = 0.9, β₂ = 0.999, λ = 0.01, and ε = 10⁻⁸, which only keeps the division from one by 0. The last
# term is the *weight decay* of Adam**W** ([Loshchilov and Hutter 2019](https://arxiv.org/abs/1711.05101), algorithm 2):
# each weight shrinks by the share rate · λ in a step, whatever its gradient. It is *decoupled*: if λw were added to g
# instead, it would be divided by √v as well.


# %%
def our_adamw(w, g, m, v, t, rate, decay=0.01, one=0.9, two=0.999, eps=1e-8):
    """A step of AdamW, the t-th, counted from 1: the new weight and means."""
    m, v = one * m + (1 - one) * g, two * v + (1 - two) * g * g
    step = (m / (1 - one**t)) / (np.sqrt(v / (1 - two**t)) + eps)
    return w - rate * (step + decay * w), m, v


# %%
weights = flat(model.params)  # a dict of all weights by name
found = minroberta.gradients(model, ids[:100], labels=wanted)
after, moments = adamw(weights, found, Moments.of(weights), rate=1e-3)  # no steps yet: m = v = 0
after, moments = adamw(after, found, moments, rate=1e-3)  # and a second step

name = "encoder.layer.0.intermediate.dense.weight"
w, m, v = our_adamw(weights[name], found[name], 0, 0, 1, 1e-3)
w, m, v = our_adamw(w, found[name], m, v, 2, 1e-3)
assert np.allclose(w, after[name], rtol=1e-5, atol=1e-7)

# %% [markdown]
# The first step has the length of the rate for *every* weight, however small its gradient: m̂ / √v̂ is g / |g|. Without
# the correction, it would be (1 − β₁) / √(1 − β₂) = 3.2 times as long. Biases and the weights of norms do not decay.

# %%
g = np.array([1e-3, -5.0, 200.0])
moved, _, _ = our_adamw(np.zeros(3), g, 0, 0, 1, rate=0.1)

assert np.allclose(moved, -0.1 * np.sign(g), rtol=1e-4)
assert np.isclose((1 - 0.9) / math.sqrt(1 - 0.999), 3.16, rtol=1e-2)
print("no decay:", *[name for name in weights if not decays(name)][:4], sep="\n    ")
assert not any(decays(name) for name in weights if name.endswith("bias") or "norm" in name.lower())

# %% [markdown]
# **The learning rate** is not constant. It rises linearly from 0 in the *warm-up*, while v is still a poor estimate.
# Then it falls linearly to 0, so that the last steps settle. **Clipping**: if the norm of all gradients together
# exceeds a limit, usually 1, all are scaled down by one factor, so that a single odd batch cannot throw the model far.

# %%
STEPS, WARM_UP = 400, 40
factors = [warm_up_and_decay(step, WARM_UP, STEPS) for step in (0, 20, 40, 220, 400)]
assert factors == [0, 0.5, 1, 0.5, 0]

short = clipped(found, 0.5)
length, kept = (math.sqrt(sum((g.astype(float) ** 2).sum() for g in some.values())) for some in (found, short))
assert np.isclose(kept, min(length, 0.5), rtol=1e-3)
print(f"all gradients together have the norm {length:.2f}, clipped {kept:.2f}")

# %% [markdown]
# ## Four hundred steps
#
# That is all there is to training: texts, masks, loss, gradients, a step, and again. `train` is this loop, with AdamW,
# warm-up and decay of the rate, and clipping at 1. It yields each step, with the model after it. Each batch has 32 new
# palindromes, with new masks.


# %%
def batches(seed):
    """Batches without end: a call's inputs, with labels."""
    random, step = np.random.default_rng(seed), 0
    while True:
        ids, labels = masked(palindromes(random, 32), config, MASK, SPECIAL, seed=(seed, step))
        yield {"input_ids": ids, "labels": labels}
        step += 1


def trained(model, steps=STEPS):
    """The loss at each step, and the models after it."""
    steps = list(train(model, batches(seed=1), steps=steps, learning_rate=3e-3, warm_up=WARM_UP))
    return np.array([step.loss for step, _ in steps]), [after for _, after in steps]


# %%
losses, models = trained(model)
learned = models[-1]
for start in range(0, STEPS, 50):
    print(f"steps {start + 1:>3} to {start + 50:>3}: {losses[start : start + 50].mean():.2f} nats")

assert losses[-50:].mean() < bounds["looks at the mirror image"] + 0.3

# %% [markdown]
# Does it understand? The test is a text that it has never seen, with one gap.

# %%
random = np.random.default_rng(123)
fresh = palindromes(random, 500)
gaps = random.integers(1, 2 * HALF + 1, len(fresh))  # a position in each text
every = np.arange(len(fresh))
asked = fresh.copy()
asked[every, gaps] = MASK


def accuracy(model):
    """The share of gaps that the model fills rightly."""
    return (model(asked).logits[every, gaps].argmax(-1) == fresh[every, gaps]).mean()


# %%
right = accuracy(learned)
print(f"{right:.1%} of {len(fresh)} gaps, where chance is {1 / 26:.1%}")

assert right > 0.97
assert 26**HALF > 1e11  # so many palindromes that it cannot know them by heart
assert STEPS * 32 < 20_000  # of which it has seen so few

# %% [markdown]
# ## How it does it
#
# To fill a gap, a token has to read its mirror image: position 1 the last letter, position 2 the one before. No weight
# was told so. We measure how much of its attention each head gives to the mirror image.


# %%
def mirrors(model):
    """The mean share of attention that letters give to their mirror image: (layers, H)."""
    trace = minroberta.trace(model, asked)
    probs = np.stack([trace[f"encoder.layer.{i}.attention.self.probs"] for i in range(2)])  # (2, B, H, L, L)
    letters = probs[..., 1:-1, 1:-1][..., ::-1]  # reversed, so that the mirror images are on the diagonal
    return np.diagonal(letters, axis1=-2, axis2=-1).mean((1, 3))


# %%
shares = mirrors(learned)
layer, head = np.unravel_index(shares.argmax(), shares.shape)
print(shares)
print(f"layer {layer}, head {head} gives {shares.max():.0%} to the mirror image")

assert shares.max() > 0.6
assert mirrors(model).max() < 0.3  # before training

# %% [markdown]
# **The picture to remember.** On the left, the loss falls to the line of one who knows only the letters and *rests
# there*: for fifty steps nothing seems to happen. Then it falls over a cliff, to the line of one who understands. On
# the right is what was found on the way down: a head that is a mirror. The others of its layer are nearly mirrors, too:
# nothing divides the work among heads.


# %%
def means_of_ten(losses):
    """The mean loss of each ten steps that follow each other."""
    return np.convolve(losses, np.ones(10) / 10, "valid")


figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained", width_ratios=[1.25, 1])
axes[0].plot(np.arange(10, STEPS + 1), means_of_ten(losses), label="loss, the mean of ten steps")
for (reader, bound), style in zip(bounds.items(), (":", "--", "-."), strict=True):
    axes[0].axhline(bound, color="0.4", linestyle=style, linewidth=1.2)
    above = reader == "knows only the letters"
    shift, side = (0.05, "bottom") if above else (-0.08, "top")  # clear of the line
    axes[0].text(0.985 * STEPS, bound + shift, reader, ha="right", va=side, fontsize=9)
axes[0].set(
    title="A plateau, then a cliff", xlabel="step", ylabel="nats for each label", ylim=(0, 4.3), xlim=(0, STEPS)
)
axes[0].legend(loc="center right")

probs = minroberta.trace(learned, fresh[:1])[f"encoder.layer.{layer}.attention.self.probs"][0, head]
names = [TOKENS[token] for token in fresh[0]]
plot.matrix(axes[1], probs, f"Layer {layer}, head {head} is a mirror", names, names, low=0, high=1,
            labels=("this token reads ...", "... this one"), unit="share of attention")  # fmt: skip
plt.show()

# %% [markdown]
# Why a cliff? The gap needs a chain of three: a head that looks at the right position, a value that carries the letter,
# and an output that says it. As long as one is missing, the others are of little use, and their gradients are small.
# When all are there a little, each makes the others worth more. The training of BERT has such a cliff, too, while its
# heads learn which word belongs to which ([Chen et al. 2023](https://arxiv.org/abs/2309.07311)). So look at a plateau
# twice before you stop a training.

# %%
blind, understood = bounds["knows only the letters"], bounds["looks at the mirror image"]


def half_of_the_way_down(losses):
    """The first step at which the mean of ten losses is nearer to `understood` than to `blind`."""
    return int((means_of_ten(losses) < (blind + understood) / 2).argmax()) + 10


half_way = half_of_the_way_down(losses)
print(f"half of the way down at step {half_way}")
assert abs(losses[30:60].mean() - blind) < 0.15  # the plateau
assert 60 < half_way < 200


# %%
def slope_of_queries(model):
    """The length of the gradient of layer 0's query weight, which decides where its heads look."""
    found = minroberta.gradients(model, ids[:100], labels=wanted)
    return np.linalg.norm(found["encoder.layer.0.attention.self.query.weight"])


slopes = {step: slope_of_queries(models[step - 1]) for step in (50, half_way)}
print("gradient of the queries", ", ".join(f"{slope:.3f} at step {step}" for step, slope in slopes.items()))
assert slopes[half_way] > 5 * slopes[50]  # small on the plateau, large on the cliff

# %% [markdown]
# ## The same, from other random weights
#
# Our weights began as random numbers with a standard deviation of 1/√64 = 0.125. RoBERTa's began with 0.02. Texts and
# masks stay the same; we give it twice as many steps.
#
# **Predict before you run:** with weights that are six times as small, does it reach its cliff sooner, later, or at
# the same step?

# %%
small = minroberta.init(config.replace(initializer_range=0.02), "masked_lm", seed=0)
of_small, models = trained(small, 2 * STEPS)
for start in range(0, 2 * STEPS, 100):
    print(f"steps {start + 1:>3} to {start + 100:>3}: {of_small[start : start + 100].mean():.2f} nats")

# %%
later = half_of_the_way_down(of_small)
print(f"half of the way down at step {later}, where the first model was at step {half_way}")
print(f"gaps right after 300 steps {accuracy(models[299]):.0%}, at the end {accuracy(models[-1]):.1%}")

assert abs(of_small[0] - math.log(V)) < 0.2  # it begins better: nearly ln V
assert later > 3 * half_way
assert accuracy(models[299]) < 0.4 and accuracy(models[-1]) > 0.97

# %% [markdown]
# It began *better*, with logits near 0, and came to its cliff four times as late. Before that it rested on a plateau
# of its own, just below the copier's loss: reading all letters alike, it had learned which letters are in a text, but
# not where. Whoever had stopped after 300 steps would have said that it cannot learn.

# %%
plateau = of_small[200:300].mean()
assert bounds["looks at the mirror image"] + 1.5 < plateau < bounds["copies what stands there"]

guesses = models[299](asked).logits[every, gaps].argmax(-1)  # (n,)
in_text = (guesses[:, None] == asked).any(1).mean()
print(f"after 300 steps, {in_text:.0%} of the guesses are letters that stand in the text")
assert in_text > 0.8

# %% [markdown]
# What is different? A vector of 64 numbers of size 1 times a matrix of numbers of size σ has numbers of size σ·√64.
# With σ = 1/√64 the size stays 1; with 0.02, it is 0.16. A score is a product of two such vectors, so it is forty times
# as small, and all shares are nearly equal. The gradient of the queries is smaller yet, since it comes back through
# values, output and keys, which are each as small: a head that reads all alike hardly learns from where it should read.

# %%
sizes, slopes = [], []
for name, one in [("0.125", model), ("0.02", small)]:
    scores = minroberta.trace(one, asked)["encoder.layer.0.attention.self.scores"]
    sizes, slopes = [*sizes, scores.std()], [*slopes, slope_of_queries(one)]
    print(f"from {name:<6} scores of size {sizes[-1]:.3f}, gradient of the queries {slopes[-1]:.5f}")

assert sizes[1] < sizes[0] / 10
assert slopes[1] < slopes[0] / 10

# %% [markdown]
# For 768 channels, 0.02 is large enough: 1/√768 is 0.036, not even twice as much. For 64 it costs time. If a small copy
# of a large model does not learn, look at its first weights before you look for a bug.
#
# In [notebook 5](05_layers.ipynb) it was the other way round: large weights kept a post-LN model from learning. That
# one had twelve layers, and a task that needs no attention. With two layers there is no such harm, and here a head has
# to find its letter.
#
# ## The real one
#
# RoBERTa was trained in the same way, with masks alone: BERT's second task, to tell whether one text follows another,
# was left out (section 4.2 of its paper). From its table 9, for roberta-base: 500,000 steps of 8,000 texts of up to 512
# tokens; a rate of 6e-4 after a warm-up of 24,000 steps, falling linearly; AdamW with β₂ = 0.98, ε = 1e-6 and λ = 0.01;
# no clipping; and *dropout* of 0.1: in training, a random tenth of the values in each layer is set to 0.

# %%
tokens = 500_000 * 8_000 * 512
print(f"up to {tokens / 1e12:.1f} trillion positions, of which {0.15 * tokens / 1e12:.1f} are asked for")
print(f"here: {STEPS * 32 * (2 * HALF + 2):,} positions")

real = minroberta.Config.from_dict(minroberta.config.PRESETS["roberta-base"])
assert real.hidden_dropout_prob == real.attention_probs_dropout_prob == 0.1
assert real.initializer_range == 0.02

# %% [markdown]
# `train` drops values if it gets a `seed`. A call to a model never does, so that answers do not hang on chance.
#
# ## Three exercises
#
# **1. Masks of your own.** Write the masking. `special` holds the ids that are never chosen, and `random` is one of
# NumPy's generators. (Hint: `random.random(ids.shape) < 0.15` chooses. A second such array divides the chosen into 80,
# 10 and 10. `np.where(condition, these, those)` combines arrays. Random tokens come from the whole vocabulary.)


# %%
# exercise 1
def my_masks(ids, special, mask_id, vocabulary, random):
    """The new ids and the labels, both with the shape of ids. vocabulary: the number of tokens."""


# %%
# check 1
check(1, my_masks)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def my_masks(ids, special, mask_id, vocabulary, random):
#     chosen = (random.random(ids.shape) < 0.15) & ~np.isin(ids, special)
#     kind, others = random.random(ids.shape), random.integers(0, vocabulary, ids.shape)
#     shown = np.where(kind < 0.8, mask_id, np.where(kind < 0.9, others, ids))
#     return np.where(chosen, shown, ids), np.where(chosen, ids, -100)
# ```
#
# </details>

# %% [markdown]
# **2. A step of Adam with the old decay.** Before AdamW, weight decay was an *L2 penalty*: λw is added to the gradient,
# and then all goes as in Adam. Write that, to feel the difference. (Hint: it is `our_adamw` with one term moved.)


# %%
# exercise 2
def adam_l2(w, g, m, v, t, rate, decay):
    """The t-th step, counted from 1, with β₁ = 0.9, β₂ = 0.999, ε = 1e-8: the new w, m and v."""


# %%
# check 2
check(2, adam_l2)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def adam_l2(w, g, m, v, t, rate, decay):
#     g = g + decay * w
#     m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
#     return w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v
# ```
#
# </details>

# %% [markdown]
# **3. The lowest loss.** Suppose that *every* chosen token became `<mask>`, without the 10 % and 10 %. What is then
# the lowest possible loss for palindromes, in nats? Give a number. (Hint: when can a letter not be known, how often is
# that, and what is the loss then?)

# %%
# exercise 3
lowest = None

# %%
# check 3
check(3, lowest)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# lowest = 0.15 * math.log(26)  # the mirror image is masked too; else the loss is 0
# ```
#
# </details>

# %% [markdown]
# ## Where to go on
#
# The body can be trained on gaps in any text, and then it is of use for other tasks. How it gives other answers than
# tokens, and from how few examples it learns to, is the subject of [8. Seven heads](08_heads.ipynb).
#
# The code is `minroberta/train.py`; [examples/pretrain.py](../examples/pretrain.py) trains a model on a text file, and
# [decision 7](../docs/decisions/7-tiny.md) tells how the embedded model got off its plateau. The papers: masking in
# [Devlin et al. 2019](https://arxiv.org/abs/1810.04805), section 3.1; RoBERTa's training in
# [Liu et al. 2019](https://arxiv.org/abs/1907.11692), sections 3 and 4; Adam in
# [Kingma and Ba 2015](https://arxiv.org/abs/1412.6980), section 2.
