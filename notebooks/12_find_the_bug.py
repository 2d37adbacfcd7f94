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
# # 12. Find the bug: where does a port first go wrong?
#
# You have written RoBERTa in another language or as a *kernel*, a program for a GPU, and it gives sensible answers. Is
# it right? This notebook says why looking at answers shows so little, how far two right programs may differ, and how to
# find the one step that is wrong. At its end three ports wait for you, with mistakes that your name chooses. This takes
# 25 minutes, and as long again for the ports. Read [notebook 4](04_attention.ipynb) before, where `compare` came first.

# %%
import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta import activations, ops, plot
from minroberta.exercises import bugs
from minroberta.testing import audit, compare, diagnose
from minroberta.testing import inputs as telling_inputs
from minroberta.testing.changes import to_bits
from minroberta.testing.mistakes import PRECISIONS, catalogue

plt.rcParams.update(plot.STYLE)

model = minroberta.load()
config = model.config

# %% [markdown]
# ## Rounding: how far may two right programs differ?
#
# A float32 keeps 24 binary digits of a number, the leading one included, which is about seven decimal digits. Every sum
# and product is rounded to that. So sums depend on their order, and two matrix libraries, two numbers of threads or two
# GPUs give different last digits. Nobody is wrong. To ask for *equal* outputs is to ask for the same machine.

# %%
a, b, c = np.float32(1), np.float32(1e-8), np.float32(-1)
print("(1 + 1e-8) - 1 =", (a + b) + c, "   but 1e-8 + (1 - 1) =", b + (a + c))
assert (a + b) + c != b + (a + c)

eps = 2.0**-23  # the ε of float32, see below
assert np.finfo("float32").eps == eps

# %% [markdown]
# The formats differ in the digits that they keep and in the size of the exponent. ε is the distance from 1 to the next
# number:
#
# | | bits of sign, exponent, fraction | digits kept | ε | largest number |
# |---|---|---|---|---|
# | float64 | 1, 11, 52 | 53 | 2.2e-16 | 1.8e308 |
# | float32 | 1, 8, 23 | 24 | 1.2e-7 | 3.4e38 |
# | TF32 | 1, 8, 10 | 11 | 9.8e-4 | 3.4e38 |
# | float16 | 1, 5, 10 | 11 | 9.8e-4 | 65,504 |
# | bfloat16 | 1, 8, 7 | 8 | 7.8e-3 | 3.4e38 |
#
# TF32 is not a format of arrays. A GPU that is set to it rounds the two factors of each float32 matrix product to 11
# digits, and keeps everything else in float32. So it hides well: the arrays still say float32.

# %%
assert np.finfo("float16").max == 65504
with np.errstate(over="ignore"):
    assert math.isinf(np.float32(70000).astype("float16"))  # float16 overflows where bfloat16 does not
assert [np.finfo(dtype).eps for dtype in ("float64", "float16")] == [2.0**-52, 2.0**-10]

# %% [markdown]
# Here is what TF32 does to one product: the embeddings times the query's weight of layer 0. (`to_bits(n)` rounds to n
# binary digits after the leading one.)

# %%
text = "She was the first woman to win the <mask> Prize."
asked = model.tokenize(text)
x = minroberta.trace(model, **asked)["embeddings"].astype("float64")
weight = model.p.encoder.layer[0].attention.self.query.weight.astype("float64")
query, short = x @ weight.T, to_bits(10)(x) @ to_bits(10)(weight).T  # (B, L, D) @ (D, D) -> (B, L, D)

print(f"off by {np.abs(short - query).max() / np.abs(query).max():.1e} of the largest, where ε of float32 is {eps:.1e}")
assert 1e-5 < np.abs(short - query).max() / np.abs(query).max() < 1e-2

# %% [markdown]
# How much is that in a whole model? We run ours in float64, and then again with every named value rounded to fewer
# digits. (`edit` replaces a value on the way.)

# %%
precise = minroberta.load(dtype="float64")
truth = minroberta.trace(precise, **asked)
names = [name for name, value in truth.items() if value.dtype.kind == "f"]


def error_with(bits):
    """The largest error of the logits, as a share of the largest logit, if all values keep this many digits."""
    rounded = minroberta.trace(precise, **asked, edit=dict.fromkeys(names, to_bits(bits)))
    return np.abs(rounded["logits"] - truth["logits"]).max() / np.abs(truth["logits"]).max()


# %%
errors = {bits: error_with(bits) for bits in (23, 10, 7)}
for bits, name in ((23, "float32"), (10, "float16"), (7, "bfloat16")):
    print(f"{name:<9} logits are off by {errors[bits]:.1e} of the largest, which is {errors[bits] * 2**bits:.1f} ε")

assert errors[23] < 1e-4 < errors[10] < errors[7]
assert all(8 < error * 2**bits < 20 for bits, error in errors.items())
assert 2**10 < errors[10] / errors[23] < 2**16  # 13 digits fewer: the error is about 2^13 times as large

# %% [markdown]
# The error is ten to twenty ε, whatever ε is. That is the key to all that follows: rounding is not "about 1e-5" or
# "about 1e-3", it is a *multiple of ε that can be measured*, and it is different for each value of each model. (A real
# program in float32 is further off than that, since it rounds inside its sums too. The next picture shows by how much.)
#
# ## What does a tolerance let through?
#
# The usual test is a flat tolerance: outputs may differ by 1e-3, or in half precision by 1e-2, or the first guesses
# must agree. Let us try these tests. The package has a catalogue of mistakes that ports of RoBERTa make, each as a
# change that the reference can make to itself. We plant them in our model one by one.
#
# **Predict before you run:** we ask for the hidden words of four sentences. With how many of the planted mistakes does
# the model still give the same four answers? With one in ten? One in five?

# %%
texts = [text, "The river flows into the <mask> Ocean.", "Hamlet is a tragedy by William <mask>."]
four = model.tokenize([*texts, "Mozart was an Austrian composer of classical <mask>."])
masks, tokens = four["input_ids"] == model.tokenizer.mask_token_id, four["attention_mask"] == 1
right = minroberta.trace(model, **four)["logits"]
rounding = np.abs(right - minroberta.trace(precise, **four)["logits"])[tokens].max() / np.abs(right).max()


def planted(change):
    """The error of the logits with this mistake, as a share of the largest, and whether all guesses stay the same."""
    with np.errstate(all="ignore"):
        logits = bugs.values_with(model, four, [change])["logits"]  # the model's values, with this mistake
    same = (logits[masks].argmax(-1) == right[masks].argmax(-1)).all()
    return np.abs(logits - right)[tokens].max() / np.abs(right).max(), same


print(f"the right model in float32 is off by {rounding:.1e} of the largest logit")
assert errors[23] < rounding < 1e-3


# %%
known = {one.name: one for one in catalogue(model) if one.name != "mask-as-token-types"}  # this model has one type
found = {name: planted(one.ways[0]) for name, one in known.items() if one not in PRECISIONS}
found = {name: pair for name, pair in found.items() if pair[0] > 0}  # others need another head, a cache, a longer text
kept = [name for name, (_, same) in found.items() if same]

print(f"{len(kept)} of {len(found)} mistakes leave all four answers as they were")
assert len(kept) > len(found) / 5
assert {"bias-missing-key", "eps-1e-6"} <= set(kept)

# %%
order = sorted(found, key=lambda name: found[name][0])
figure, ax = plt.subplots(figsize=(9, 5.2), layout="constrained")
for same, marker, label in ((True, "o", "all four answers unchanged"), (False, "x", "an answer changed")):
    some = [place for place, name in enumerate(order) if found[name][1] == same]
    ax.plot([found[order[place]][0] for place in some], some, marker, label=label)
for limit, words in ((rounding, "rounding of float32"), (1e-3, "tolerance 1e-3"), (1e-2, "tolerance 1e-2")):
    ax.axvline(limit, linestyle=":", color="0.4")
    ax.text(limit * 1.1, len(order) - 1, words, va="top", rotation=90, color="0.3")
for name in ("bias-missing-key", "eps-1e-6", "gelu-float16", "gelu-tanh", "bias-missing-query", "positions-from-0"):
    ax.annotate(name, (found[name][0], order.index(name)), (10, -8), textcoords="offset points", fontsize=9,
                bbox={"color": "white", "pad": 0})  # fmt: skip
ax.set(
    xscale="log",
    xlim=(5e-7, 30),
    xlabel="largest error of the logits, as a share of the largest logit",
    ylabel="mistakes, sorted",
)
ax.set_title(f"{len(found)} known mistakes, planted one by one")
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# Each mark is a wrong program. The circles pass a test that looks at answers. Everything left of a line passes a test
# with that tolerance. The first line is the right model's rounding: float32 against float64. The leftmost mark, a
# missing bias of the keys, changes nothing but the rounding, since the softmax ignores it (notebook 4 says why): *no*
# test of the logits can find it. And a port in bfloat16, whose logits are off by a tenth, needs a tolerance that a good
# part of all mistakes pass.

# %%
for limit in (1e-2, 1e-3, 1e-4):
    passed = sum(error <= limit for error, _ in found.values())
    print(f"a tolerance of {limit:g} lets {passed} of {len(found)} mistakes pass")

assert "bias-missing-key" in order[:3]
assert found["bias-missing-key"][0] < 10 * rounding
in_float64 = bugs.values_with(precise, asked, known["bias-missing-key"].ways)["logits"]
assert np.abs(in_float64 - truth["logits"]).max() < 1e-10  # without rounding there is no difference
assert sum(error <= 1e-2 for error, _ in found.values()) >= 5
assert sum(error <= errors[7] for error, _ in found.values()) >= len(found) / 5  # a tolerance that bfloat16 needs

# %% [markdown]
# ## Judge each step alone
#
# The way out has two parts. First, do not compare ends. Take the port's *own* input of a step, compute the step from it
# in float64, and compare with the port's output. Errors of earlier steps are in both, so that they cancel. Here a port
# without the bias of the keys, by hand:

# %%
values = bugs.values_with(model, asked, known["bias-missing-key"].ways)
key = "encoder.layer.0.attention.self.key"
own = precise.p.encoder.layer[0].attention.self.key
step = ops.linear(values["embeddings"].astype("float64"), **own.tree)  # from the port's own embeddings, in float64

off = np.abs(values[key] - step).max()
print(f"the port's key is off by {off:.2g}")

# %% [markdown]
# Second, measure what rounding can do to *this* step: change its input by random amounts of at most one ε, and see how
# far the result moves. The error is then a multiple of that *noise*.

# %%
random = np.random.default_rng(0)
x = values["embeddings"].astype("float64")
moved = x * (1 + eps * random.uniform(-1, 1, x.shape))
noise = np.abs(ops.linear(moved, **own.tree) - step).max()

reference = minroberta.trace(model, **asked)
of_right = np.abs(reference[key] - ops.linear(reference["embeddings"].astype("float64"), **own.tree)).max()
print(f"noise {noise:.1e}: the right model is off by {of_right / noise:.1f} times that, the port by {off / noise:.0e}")
assert of_right / noise < 64 < 1000 < off / noise

# %% [markdown]
# A gap of several powers of ten, where the logits showed nothing. `compare` does that for every value. What counts as
# rounding is 2·√n times the noise, where n is the length of the longest sum, here the 1,024 of the feed-forward. A
# program that adds n numbers one by one rounds n times, up or down, and like a random walk that leads about √n
# roundings away. The 2 is a margin, since some walks lead further.

# %%
report = compare(reference, values)
print(report.first_bad, "after", report.last_good)
assert report.bound == 2 * math.sqrt(config.intermediate_size)
assert report.first_bad == key
assert not report.ok

right_report = compare(reference, dict(reference))
assert right_report.ok
assert max(row.error for row in right_report.rows) < right_report.bound

# %% [markdown]
# Every value gets a *verdict*. `good`: right up to rounding. `wrong`: this step itself is wrong. `follows`: the step is
# right, but its input was off already. `layout`: the right numbers in another order of axes, which is accepted.
# `shape`: no order of axes explains the shape. `suspicious`: within the bound, but further off than right programs are.
# You look for `wrong`: when that is mended, all `follows` vanish.

# %%
verdicts = {row.name: row.verdict for row in report.rows}
right_verdicts = [row.verdict for row in right_report.rows]
for verdict in sorted(set(verdicts.values())):
    port_has = list(verdicts.values()).count(verdict)
    print(f"{verdict:<10} the port has {port_has:>2}, the right model {right_verdicts.count(verdict):>3}")
assert set(right_verdicts) == {"good"}

wrong = [name for name, verdict in verdicts.items() if verdict == "wrong"]
assert wrong == [key.replace("layer.0", f"layer.{i}") for i in range(config.num_hidden_layers)]  # one bug, six layers

by_head = ops.split_heads(reference[key], config.head_size)  # (B, H, L, E), where the reference has (B, L, D)
assert compare(reference, {key: by_head}).rows[0].verdict == "layout"

# %% [markdown]
# ## Locate, explain, name: one bug to the end
#
# Here is a port whose activation is not quite right. Locating it takes one line.

# %%
port = minroberta.Model(config.replace(hidden_act="gelu_new"), model.params, "masked_lm", model.tokenizer)
values = dict(minroberta.trace(port, **asked))
report = compare(reference, values)
print("first wrong:", report.first_bad)
print("last good:  ", report.last_good)
assert report.first_bad == "encoder.layer.0.intermediate"

# %% [markdown]
# Now explain it. The step takes one array and gives one of the same shape. Does each output depend on its own input
# alone? And at which inputs is it off? (A step over rows, such as a norm or a softmax, would show other traits: a sum
# that is not 1, a mean that is not 0.) We look in layer 5, since in layer 0 nearly all inputs are below 0.

# %%
before, after = (values[f"encoder.layer.5.intermediate{end}"].ravel() for end in (".dense", ""))
difference = after - activations.gelu(before.astype("float64"))
for x in (-4, -2.7, -1, 0, 1, 2.7):
    nearest = np.abs(before - x).argmin()  # the input that is nearest to x
    print(f"at {before[nearest]:+.2f} the port has {after[nearest]:+.5f}, off by {difference[nearest]:+.5f}")

tanh_form = before / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (before + 0.044715 * before**3)))
assert np.abs(after - tanh_form).max() < 1e-5 < np.abs(difference).max()

# %% [markdown]
# The curve has the right shape and is a little off nearly everywhere: an approximation. [Notebook 5](05_layers.ipynb)
# showed one, GELU by tanh, which is at most 5e-4 off, and the last line above finds it to be this one. The checkpoint
# means the exact GELU, with erf. Only now ask the catalogue. `diagnose` makes each known mistake in the reference and
# names it if with it *every* step of the port is right up to rounding; it names several if together they achieve that.
# An empty answer is honest: then the mistake is not a known one.

# %%
findings = diagnose(model, asked, values)
print(findings[0])
print("seen in", findings[0].seen_in)
assert [finding.name for finding in findings] == ["gelu-tanh"]

# %% [markdown]
# ## What your inputs cannot show
#
# A mistake only shows if the input lets it. One text without padding says nothing about the mask. And RoBERTa's
# positions count only tokens that are not padding; a port that counts padding too ("positions-by-place") gives the same
# numbers unless there is padding on the left. `audit` says what a call cannot show, and `minroberta.testing.inputs`
# makes inputs that can.

# %%
print(textwrap.fill(audit(model, asked).of_inputs, 100, break_on_hyphens=False))
telling = telling_inputs(model)
print({name: array.shape for name, array in telling.items()})

assert {"mask-ignored", "positions-by-place"} <= set(audit(model, asked).inputs)
assert "mask-ignored" not in audit(model, telling).inputs

# %% [markdown]
# A text of one token hides even more. With a single key, its share is 1, whatever the score: the scale, the queries and
# the keys may all be wrong, and the answer is right.
#
# Weights can hide mistakes too. A new model has biases of 0 and norms with weights of 1. So a bias or the weight of a
# norm can be left out, or two norms exchanged, unnoticed. Test a port with trained weights, or with random numbers in
# all of them.

# %%
small = {"vocab_size": 50, "hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 1, "intermediate_size": 20}
fresh = minroberta.init({"model_type": "roberta", **small}, head="masked_lm")
hidden = audit(fresh, {"input_ids": [[0, 5, 6, 2]]}).weights
print(textwrap.fill(", ".join(hidden), 100, break_on_hyphens=False))
assert "bias-missing-key" in hidden
norm = fresh.p.encoder.layer[0].output.LayerNorm
assert (norm.weight == 1).all() and (norm.bias == 0).all()
assert "bias-missing-key" not in audit(model, asked).weights

# %% [markdown]
# ## From the field
#
# Many of these mistakes are old acquaintances. The catalogue names the project for those that were reported:

# %%
seen = {one.name: one.seen_in.removeprefix("https://github.com/") for one in known.values() if one.seen_in}
for name, where in seen.items():
    if "-in-layers" not in name and "-outside" not in name and "-but-" not in name:  # the same eps, in some norms
        print(f"{name:<26} {where}")

assert len(seen) > 20

# %% [markdown]
# ## Precision is a choice, not a mistake
#
# A port in float16 is not wrong, but against float32's bound it looks so. Say in which precision a port computes, and
# the noise is measured with that ε. Only do not say it without need: with a wider bound, less can be seen.

# %%
run = minroberta.trace(precise, **asked, edit=dict.fromkeys(names, to_bits(10)))
half = {name: run[name].astype("float16") for name in names}
as_float32, as_float16 = compare(reference, half), compare(reference, half, precision="float16")
print("judged as float32:", "right" if as_float32.ok else f"wrong from {as_float32.first_bad}")
print("judged as float16:", "right" if as_float16.ok else f"wrong from {as_float16.first_bad}")
assert as_float16.ok
assert not as_float32.ok

# %% [markdown]
# ## Three exercises: your ports
#
# Put your name here. It chooses the mistakes; the same name gives the same ones on every machine. Each port has the
# values that a program in another language would have written to a file, by name.

# %%
mine = bugs.ports("Ada Lovelace")
check = mine.check
reference = minroberta.trace(model, **mine.inputs)
print(mine, "for inputs of shape", mine.inputs["input_ids"].shape)

# %% [markdown]
# **1. A mistake seen in the field.** `mine.first` makes one, everywhere. Which value is the first that is wrong, and
# which mistake is it? (Hint: `compare(reference, mine.first)`. Look at the formula of that step, compute it yourself
# from the port's values, and try to explain the difference before you ask `diagnose(model, mine.inputs, mine.first)`.
# [docs/mistakes.md](../docs/mistakes.md) has the names.)

# %%
# exercise 1
first_port = None  # (name of the first wrong value, name of the mistake)

# %%
# check 1
check(1, first_port)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# report = compare(reference, mine.first)
# first_port = report.first_bad, diagnose(model, mine.inputs, mine.first)[0].name
# ```
#
# </details>

# %% [markdown]
# **2. Two at once.** `mine.second` makes two mistakes, one in the embeddings. After it all values are off, and still
# the second one can be found. Give both, each with the first value that it makes wrong. (Hint: print the names of
# all rows of the report whose verdict is "wrong".)

# %%
# exercise 2
second_port = None  # [(value, mistake), (value, mistake)]

# %%
# check 2
check(2, second_port)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# report = compare(reference, mine.second)
# wrong = [row.name for row in report.rows if row.verdict == "wrong"]  # the second mistake is in every layer, or once
# findings = diagnose(model, mine.inputs, mine.second)
# second_port = [(wrong[0], findings[0].name), (wrong[1], findings[1].name)]
# ```
#
# </details>

# %% [markdown]
# **3. One that nobody has named.** `mine.third` has a mistake in a single layer that is not in the catalogue:
# `diagnose` gives an empty list. Locate the value, and write a function that makes of the value before it *exactly what
# the port makes*. Then you have understood the bug. (Hint: is each number made from one number? Then plot one against
# the other. From a row? Then look at the row's sum, its mean, its ratios. The parameters are in
# `model.p.encoder.layer[i]`.)


# %%
# exercise 3
third_value = None  # the name of the wrong value


def as_the_port_does(x):
    """What the third port makes of x, the value right before the wrong one."""


# %%
# check 3
check(3, third_value and (third_value, as_the_port_does))

# %% [markdown]
# Every name has a formula of its own, one of five. This is the one of the name above.
#
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# third_value = compare(reference, mine.third).first_bad
#
# def as_the_port_does(x):
#     """GELU by tanh, with a slip of the pen: 0.44715 for 0.044715."""
#     return x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.44715 * x**3)))
# ```
#
# </details>

# %% [markdown]
# ## What to remember
#
# Outputs that look right prove little. Compare every step, from the port's own input, with the rounding of that step as
# the measure. The first `wrong` value is the bug; everything after it only follows.
#
# This was the last notebook; [notebook 1](01_walkthrough.ipynb) is the beginning. Your own port is next:
# [docs/testing.md](../docs/testing.md) shows how to record the values of a torch module, a kernel, or a program in any
# language. To read on: [minroberta/testing](../minroberta/testing), and
# [docs/decisions/11-oracle.md](../docs/decisions/11-oracle.md) on why it judges so. GELU is from
# [Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415), section 2, with both forms.
