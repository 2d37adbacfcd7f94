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
# # 2. What does the model see?
#
# A model of text never sees letters. It sees whole numbers, one for each *token*, and all that it knows about words it
# has learned from these. Here we build the way from text to numbers in plain Python, until it agrees with the library
# that the model uses, and look at what is lost on the way. It takes about 20 minutes, and the exercises as long again.
# Read [notebook 1](01_walkthrough.ipynb) first.

# %%
import json
import random
import re
import textwrap
import unicodedata

import matplotlib.pyplot as plt
import numpy as np

import minroberta
from minroberta.exercises.tokens import check

model = minroberta.load()
tokenizer = model.tokenizer
library = tokenizer.library  # of the tokenizers package, which is written in Rust


# %% [markdown]
# Two helpers: the ids of a text, and the same as readable tokens. `entry` looks up a token by its id.


# %%
def ids_of(text, pair=None, **options):
    return tokenizer.tokenize(text, pair, **options)["input_ids"][0].tolist()


def tokens_of(text, pair=None, **options):
    return [tokenizer.entry(token) for token in ids_of(text, pair, **options)]


print(tokens_of("The river flows."), ids_of("The river flows."))
assert tokens_of("The river flows.")[0] == "<s>"
assert tokens_of("The river flows.")[-1] == "</s>"

# %% [markdown]
# ## An alphabet of 256 letters
#
# A text is stored as bytes, numbers from 0 to 255, and these 256 are the tokenizer's alphabet. To be able to print
# them, it writes each byte as one visible character. 188 bytes are visible characters already, in the table Latin-1.
# The other 68, such as the space and the end of a line, get the characters with the numbers 256, 257 and so on.

# %%
visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
moved = [byte for byte in range(256) if byte not in visible]
letters = {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(moved)}


def spell(text):
    """The text's bytes, each as its visible character."""
    return "".join(letters[byte] for byte in text.encode())


print([spell(text) for text in (" river", "\n", "café", "🌊")])
assert (len(visible), len(moved)) == (188, 68)
assert spell(" ") == "Ġ" == chr(256 + moved.index(32))

# %% [markdown]
# So `Ġ` is a space, `Ċ` is the end of a line, and `cafÃ©` is not damaged: é is two bytes, and you see both. Each of the
# 256 is a token in its own right. This is why no text is unknown: whatever it holds, it can at worst be spelled byte by
# byte. The token `<unk>` exists, but a text gets it only by spelling it out.

# %%
vocabulary = library.get_vocab()  # the id of each token
random.seed(0)
blocks = [(0x20, 0x700), (0x4E00, 0x9FA6), (0x1F300, 0x1F580)]  # Latin to Arabic, Chinese, pictures
signs = [chr(n) for start, end in blocks for n in range(start, end)]
signs = [sign for sign in signs if unicodedata.category(sign) != "Cn"]  # without numbers that have no sign
noise = ["".join(random.choices(signs, k=20)) for _ in range(500)]

assert set(letters.values()) <= vocabulary.keys()
assert all(tokenizer.unk_token_id not in ids_of(text) for text in noise)
assert all(model.decode(ids_of(text)[1:-1]) == text for text in noise)  # and every text can be had back
assert ids_of("<unk>")[1:-1] == [tokenizer.unk_token_id]

# %% [markdown]
# Nothing is unknown, but strangers pay more. This tokenizer was made from English, where it needs about one token for
# four letters. Japanese has three bytes for each character, and here each of them becomes a token. 512 tokens are a
# long English paragraph, and a short Japanese one.

# %%
same_sentence = [
    "All human beings are born free and equal in dignity and rights.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "すべての人間は生まれながらにして自由であり尊厳と権利とについて平等である。",
]
for text in same_sentence:
    count = len(ids_of(text)) - 2  # without <s> and </s>
    print(f"{len(text)} characters, {len(text.encode()):>3} bytes, {count:>3} tokens   {text[:20]}…")

counts = [len(ids_of(text)) - 2 for text in same_sentence]
assert counts == sorted(counts)
assert counts[0] < len(same_sentence[0]) / 3

# %% [markdown]
# ## First, words
#
# Before anything is merged, the text is cut into words by a pattern. It is tried at each position, and the first
# part that fits is taken: an English ending such as `'s`; letters, with at most one space before them; digits, with
# such a space; other signs, with such a space; and what is left, white space. No token ever crosses these cuts.

# %%
every = map(chr, range(0x110000))
odd = "".join(sign for sign in every if unicodedata.category(sign) in ("No", "Nl"))  # ², ½, Ⅷ and so on
letter, digit, sign = rf"[^\W\d_{odd}]", rf"[\d{odd}]", r"(?:[^\s\w]|_)"
pattern = re.compile(rf"'s|'t|'re|'ve|'m|'ll|'d| ?{letter}+| ?{digit}+| ?{sign}+|\s+(?!\S)|\s+")


def cut(text):
    """The words of a text, each with the space on its left."""
    return pattern.findall(text)


print(cut("In 1969 they'd landed on the  Moon!"))

# %% [markdown]
# Of the two spaces before "Moon", one belongs to the word and the other stands alone: `\s+(?!\S)` takes white space but
# leaves its last character to what follows. Our pattern cuts as the library does, and joined, the words are the text.

# %%
texts = ["In 1969 they'd landed on the  Moon!", "x² + ½ = 7_a\n\n\tb ", "don't, DON'T", "cafe\u0301 🌊🌊 日本"]
for text in [*texts, *noise]:
    theirs = [word for word, _ in library.pre_tokenizer.pre_tokenize_str(text)]
    assert [spell(word) for word in cut(text)] == theirs
    assert "".join(cut(text)) == text

print(cut("don't, DON'T"))  # the endings are in small letters only

# %% [markdown]
# ## Then, merges by rank
#
# Within a word, neighbours are merged. Which ones, a list says that was made before training: the commonest pair of
# letters in a large text, then the commonest after that was merged, and so on. A pair's number in this list, from 0, is
# its *rank*. To split a word, merge the neighbours with the lowest rank, wherever they stand, until none are in
# the list. (Notebook 1 replays it. In exercise 1 you write it yourself.)

# %%
merges = [tuple(pair) for pair in json.loads(library.to_str())["model"]["merges"]]
rank = {pair: number for number, pair in enumerate(merges)}

print(len(merges), "merges:", merges[:5], "…", merges[-2:])
assert len({a + b for a, b in merges}) == len(merges)  # each makes another token
assert rank["Ġ", "t"] == 0

# %% [markdown]
# **Predict before you run:** the vocabulary has a token `Ġnote` and a token `book`. Into how many tokens is the word
# `Ġnotebook` split, and which?

# %%
print("Ġnote" in vocabulary, "book" in vocabulary)
print(tokens_of(" notebook")[1:-1])

pieces = tokens_of(" notebook")[1:-1]
assert {"Ġnote", "book"} <= vocabulary.keys()
assert pieces == ["Ġnot", "eb", "ook"]

# %% [markdown]
# Three, and none of them is a part that we would cut. Nothing looks for long tokens, or for few. Only ranks
# count: `e` and `b` have rank 1164, while the merge that makes `Ġnote` has 4903, and that of `book` 5092. So `e` and
# `b` are merged first, and then neither `Ġnote` nor `book` can be made. Here is the picture to remember.

# %%
made_of = {a + b: (a, b) for a, b in merges}


def draw(ax, piece, left, colour, top=True):
    """Draw a token as the tree of the merges that make it. Returns where its root stands."""
    if piece not in made_of:
        ax.text(left, 0.6, piece, ha="center", va="baseline", fontsize=15, family="monospace")
        return left, 0.9
    a, b = made_of[piece]
    ends = draw(ax, a, left, colour, False), draw(ax, b, left + len(a), colour, False)
    x, y = (ends[0][0] + ends[1][0]) / 2, 1 + np.log10(1 + rank[a, b])
    for end in ends:
        ax.plot((end[0], x), (end[1], y), color=colour, linewidth=2, zorder=0)
    box = {"boxstyle": "round", "facecolor": colour if top else "white", "edgecolor": colour}
    label, ink = f"{piece}\n{rank[a, b]}", "white" if top else "black"
    ax.text(x, y, label, ha="center", va="center", fontsize=12, family="monospace", color=ink, bbox=box)
    return x, y


# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained", dpi=80)
panels = [
    (pieces, "#0072B2", "What happens: e and b are merged first"),
    (["Ġnote", "book"], "#C04F00", "What would need later merges"),
]
for ax, (parts, colour, title) in zip(axes, panels, strict=True):
    for n, part in enumerate(parts):
        draw(ax, part, len("".join(parts[:n])), colour)
    ax.set_title(title, loc="left", fontsize=14)
    ax.set_xticks([])
    ax.set_ylim(0.4, 5.2)
ticks = [0, 10, 100, 1000, 5000]
axes[0].set_yticks([1 + np.log10(1 + n) for n in ticks], ticks, fontsize=12)
axes[0].set_ylabel("rank of the merge: higher is later", fontsize=12)
plt.show()

assert rank["e", "b"] < rank["Ġnot", "e"] < rank["b", "ook"]

# %% [markdown]
# It is no exception: to take the longest token that fits, again and again, as BERT's WordPiece does, gives another
# split for many words. Whoever ports a tokenizer must go by rank.


# %%
def longest_match(word):
    """Split a word as WordPiece would: the longest token that fits, then on from there."""
    width = next(n for n in range(len(word), 0, -1) if word[:n] in vocabulary)
    return [word[:width], *longest_match(word[width:])] if word[width:] else [word]


for word in (" afternoon", " copyright", " whatever", " tasks", " datasets"):
    print(tokens_of(word)[1:-1], "instead of", longest_match(spell(word)))
    assert tokens_of(word)[1:-1] != longest_match(spell(word))

# %% [markdown]
# Numbers are split in the same way, by what was frequent and not by the value of a digit: whoever hopes that the model
# can count should know that it never sees digits in columns.

# %%
for text in (" 1999", " 1969", " 2025", " 12345", " 1000000"):
    print(f"{text:<9}", tokens_of(text)[1:-1])

assert len(tokens_of(" 1999")) < len(tokens_of(" 12345"))
assert len({len(tokens_of(f" {year}")) for year in range(1900, 2030)}) > 1  # some years take more

# %% [markdown]
# ## What looks alike to us
#
# A token is a number, and numbers have no letters in common. At the start of a text, after a space, with a
# capital letter: each is another token, or several. RoBERTa keeps the case of letters, and changes nothing in the text
# beforehand: é as one character and é as e with an accent are different tokens.

# %%
spellings = ["water", " water", "Water", " Water", " WATER", "café", "cafe\u0301"]
for text in spellings:
    print(f"{text!r:<10} {tokens_of(text)[1:-1]}")

assert len({tuple(ids_of(text)) for text in spellings}) == len(spellings)
assert unicodedata.normalize("NFC", "cafe\u0301") == "café"

# %% [markdown]
# Nothing tells the model that `water` and `Ġwater` mean the same. It has a row of numbers for each, and all rows
# started at random. Has training found out? The cosine of two rows is 1 if they point in the same direction. We compare
# the two rows of each token that exists with a space and without, and then mix the pairs up.

# %%
table = model.p.embeddings.word_embeddings.weight  # (V, D)
unit = table / np.linalg.norm(table, axis=1, keepdims=True)
words = [word for word in sorted(vocabulary) if word.isalpha() and len(word) > 2 and f"Ġ{word}" in vocabulary]
a, b = (unit[[vocabulary[space + word] for word in words]] for space in ("", "Ġ"))  # (n, D) each

alike, by_chance = (a * b).sum(1), (a * np.roll(b, len(b) // 2, axis=0)).sum(1)  # (n,)
print(f"{len(words)} tokens without and with a space: cosine {alike.mean():.2f} ± {alike.std():.2f}")
print(f"the same pairs, mixed up:            cosine {by_chance.mean():.2f} ± {by_chance.std():.2f}")

assert abs(by_chance.mean()) < 0.1
assert (alike > by_chance).mean() > 0.9
assert alike.mean() < 0.6

# %% [markdown]
# In part. Nearly every token is more like its own form with a space than like another's, but far from the same. (Some
# of these tokens are pieces of words, and are used otherwise than the word with the same letters.)
#
# Most byte-level tokenizers can be told to put a space before the text, so that its first word is like all the others:
# `add_prefix_space`. For RoBERTa it is off, and the first word of a text stays without a space. (It is needed if you
# hand over words that were split already: minroberta refuses these otherwise.)

# %%
assert library.pre_tokenizer.add_prefix_space is False
assert tokens_of("water")[1] == "water"
assert tokens_of(" water")[1] == "Ġwater"

try:
    tokenizer.tokenize([["In", "the", "water"]], is_split_into_words=True)
except minroberta.TokenizerError as error:
    print(textwrap.fill(str(error), 100))

# %% [markdown]
# ## Ids, and five special tokens
#
# A token's id is its row in the table of embeddings. The first four ids are special, and `<mask>` is the last. `<s>` is
# also called the bos or cls token, and `</s>` eos or sep: RoBERTa has no `[CLS]` and no `[SEP]`, these two do their
# work.

# %%
print({name: vocabulary[name] for name in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")})
assert [vocabulary[name] for name in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
assert vocabulary["<mask>"] == len(vocabulary) - 1 == model.config.vocab_size - 1

assert len(vocabulary) == 4 + 256 + len(merges) + 1  # special tokens, letters, merges, <mask>
assert all(vocabulary[a + b] == 4 + 256 + rank[a, b] for a, b in merges)  # numbered by rank

# %% [markdown]
# The real roberta-base has the same five, with `<mask>` at 50,264, and 50,265 tokens in all: 4 special tokens, 256
# letters and 50,000 merges, which are GPT-2's, GPT-2's `<|endoftext|>`, three entries `madeupword0000` to `0002` that
# fill the number up to a multiple of 8, and `<mask>`.
#
# Its ids are *not* GPT-2's. They are the lines of fairseq's dictionary, which is sorted by frequency, so that `Ġthe`
# has id 5 and not GPT-2's 262. A port that numbers by rank reads the wrong rows.

# %%
filled = 4 + 256 + 50_000 + 1 + 3
assert filled % 8 == 0
assert filled + 1 == 50_265

assert all(ids_of(name)[1:-1] == [vocabulary[name]] for name in ("<s>", "</s>", "<pad>", "<mask>"))
print(tokens_of("a text that ends </s> twice"))

# %% [markdown]
# The last line shows something to know about texts from strangers: whoever writes `</s>` in a text gets the special
# token. The library looks for special tokens before it cuts words.
#
# `<mask>` has one more rule: it takes the white space on its left with it. The token that is guessed brings its
# own space, as `ĠOcean` does. Without the rule a lone `Ġ` would stand before the mask, as it hardly ever did in
# training, and the space would be there twice. White space on its right stays with the next word.

# %%
with_space, without = ids_of("into the <mask> Ocean"), ids_of("into the<mask> Ocean")
print(tokens_of("into the \n  <mask> Ocean"))

assert with_space == without == ids_of("into the \n  <mask> Ocean")
assert with_space != ids_of("into the <mask>Ocean")
assert model.fill_mask("The river flows into the Atlantic <mask>.")[0]["token_str"].startswith(" ")

# %% [markdown]
# ## Pairs
#
# Some tasks need two texts, such as a question and a paragraph. RoBERTa writes them in one row, `<s> A </s></s> B
# </s>`: four special tokens, two of them in the middle. BERT also numbers the texts, with *token types* 0 and 1.
# RoBERTa has a single type, 0 for both, in a table of one row; only the `</s></s>` shows where B begins.

# %%
question, paragraph = "Who wrote Hamlet?", "Hamlet is by Shakespeare."
print(" ".join(tokens_of(question, paragraph)))

a, b = ids_of(question)[1:-1], ids_of(paragraph)[1:-1]
assert ids_of(question, paragraph) == [0, *a, 2, 2, *b, 2]
assert ids_of(question, paragraph) == ids_of(f"{question}</s></s>{paragraph}")  # or written out
assert "token_type_ids" not in tokenizer.tokenize(question, paragraph)
assert model.p.embeddings.token_type_embeddings.weight.shape == (1, model.config.hidden_size)

# %% [markdown]
# ## Too long, too short
#
# The model reads at most 512 tokens, and the special tokens count: a text has room for 510, a pair for 508. Longer
# texts are truncated at their end, and `</s>` is put after what is kept. In a pair, *longest first* takes tokens
# from the longer text until both fit; *only first* and *only second* touch one text alone.

# %%
long = ids_of("one " * 600)
assert len(long) == tokenizer.longest == 512
assert long[-1] == vocabulary["</s>"]

numbers, colours = "one two three four five six seven", "red green"
kept = tokens_of(numbers, colours, max_length=10)
print(kept)
assert kept.count("</s>") == 3
assert len(kept) == 10
assert kept[-3:] == ["red", "Ġgreen", "</s>"]  # the shorter text is whole
assert kept == tokens_of(numbers, colours, max_length=10, truncation="only_first")

halves = tokens_of(numbers, "red green blue " * 4, max_length=12)  # two texts that are both too long
assert halves.index("</s>") == 1 + 4

# %% [markdown]
# If both texts are longer than half of the room, each gets a half, and of an odd room the shorter one less. To answer
# questions, people truncate the paragraph only; a long one is better split into windows that overlap, as `model.answer`
# does.
#
# Texts of different lengths go into one array with `<pad>`, id 1, on the right. The *attention mask* says which are
# tokens, 1, and which are padding, 0. Always hand it to the model: without it, tokens read the pads as if they were
# words. (Only the count of positions knows pads by their id; [notebook 3](03_positions.ipynb) shows both.)

# %%
batch = tokenizer.tokenize(["Water.", "The river flows into the ocean."])
print(batch["input_ids"])
print(batch["attention_mask"])

assert (batch["attention_mask"] == (batch["input_ids"] != vocabulary["<pad>"])).all()
assert batch["input_ids"][0, -1] == vocabulary["<pad>"] == 1
assert not np.allclose(model(**batch).logits[0, :4], model(batch["input_ids"]).logits[0, :4], atol=0.01)

# %% [markdown]
# ## The way back
#
# *Offsets* say which characters of the text a token comes from, without the space on its left. Special tokens have
# (0, 0), and the bytes of one character share it. A space that is a token of its own, as before the wave, has an empty
# span. With offsets, the words that a model marks can be found in the text.

# %%
text = "A café by the 🌊"
found = tokenizer.tokenize(text, return_offsets=True)
spans = found["offset_mapping"][0].tolist()
for token, (start, end) in zip(tokens_of(text), spans, strict=True):
    print(f"{token:<7} {start:>2} to {end:<2} {text[start:end]!r}")

assert spans[0] == spans[-1] == [0, 0]
assert spans[-2] == [14, 15]  # the last byte of the wave, which is one character
assert spans[tokens_of(text).index("Ġ")] == [14, 14]  # the space before it

# %% [markdown]
# `decode` turns ids into text. It is the inverse for plain texts, as we saw with the noise, but not always: what
# `<mask>` took is gone, and a part of a character's bytes is no character, which is shown as `�`. (With
# `add_prefix_space`, the decoded text also begins with a space that the text did not have.)

# %%
print(model.decode(ids_of("into the <mask> Ocean")))
print(model.decode(ids_of("into the <mask> Ocean"), skip_special_tokens=True))

wave = ids_of("🌊")[1:-1]
assert model.decode(wave) == "🌊"
assert model.decode(wave[:1]) == "\ufffd"
assert "the<mask>" in model.decode(ids_of("into the <mask> Ocean"))

# %% [markdown]
# ## Three exercises
#
# Together they are a tokenizer in plain Python. Complete each function, run the cell, and run the check below it, which
# says where it goes wrong. A solution is folded below each check.
#
# **1. Merge by rank.** Write the heart of byte-pair encoding. The check compares it with the library on more than two
# thousand words.
#
# <details><summary>A hint</summary>
#
# `zip(pieces, pieces[1:])` gives the neighbours. Of those that are in `rank`, `min(…, key=rank.get)` is the pair to
# merge, everywhere in the word. Then look again, with the new pieces. Stop if there are none.
#
# </details>


# %%
# exercise 1
def pieces_of(word):
    """The tokens of a word as `spell` writes it: "Ġnotebook" gives ["Ġnot", "eb", "ook"]."""


# %%
# check 1
check(1, pieces_of)

# %% [markdown]
# <details><summary>A solution of exercise 1</summary>
#
# ```python
# def merged(pieces, pair):
#     """The pieces, with this pair of neighbours merged wherever it stands."""
#     result = []
#     for piece in pieces:
#         if result and (result[-1], piece) == pair:
#             result[-1] += piece
#         else:
#             result.append(piece)
#     return result
#
#
# def pieces_of(word):
#     pieces = list(word)
#     while known := [pair for pair in zip(pieces, pieces[1:]) if pair in rank]:
#         pieces = merged(pieces, min(known, key=rank.get))
#     return pieces
# ```
#
# </details>

# %% [markdown]
# **2. From text to ids.** Now all steps in a row: cut the text into words, spell each, split it, and look up the ids,
# without special tokens. The check compares ids on a thousand texts.
#
# <details><summary>A hint</summary>
#
# Each step stands above: `cut(text)`, `spell(word)`, your `pieces_of`, `vocabulary[piece]`. One line is enough.
#
# </details>


# %%
# exercise 2
def encode(text):
    """The ids of a text, a list of integers, without `<s>` and `</s>`."""


# %%
# check 2
check(2, encode)

# %% [markdown]
# <details><summary>A solution of exercise 2</summary>
#
# ```python
# def encode(text):
#     return [vocabulary[piece] for word in cut(text) for piece in pieces_of(spell(word))]
# ```
#
# </details>

# %% [markdown]
# **3. A pair that fits.** Put two texts into one row of at most `longest` tokens. If they do not fit, take tokens from
# the end of the longer one until they do, or until both are equally long; then take from both in turn, first
# from the text that was shorter (or from the first, if neither was).
#
# <details><summary>A hint</summary>
#
# The texts have `longest - 4` tokens to share. While they have more, remove the last token of the longer one. (Do not
# change the lists that you are given: take copies.)
#
# </details>


# %%
# exercise 3
def pair_of(a, b, longest):
    """The ids of a pair, special tokens included, from the ids of each text, two lists."""


# %%
# check 3
check(3, pair_of)

# %% [markdown]
# <details><summary>A solution of exercise 3</summary>
#
# ```python
# def pair_of(a, b, longest):
#     a, b = list(a), list(b)
#     was_shorter = b if len(a) > len(b) else a
#     while len(a) + len(b) > longest - 4:
#         (was_shorter if len(a) == len(b) else max(a, b, key=len)).pop()
#     return [0, *a, 2, 2, *b, 2]
# ```
#
# </details>

# %% [markdown]
# ## Where next
#
# The model now has ids, but ids in a row are only a set to it until it knows which comes first. That is
# [notebook 3: why start at 2?](03_positions.ipynb)
#
# In the package, [text/tokenizer.py](../minroberta/text/tokenizer.py) pads, truncates and pairs, and
# [text/plain.py](../minroberta/text/plain.py) is the rest of a tokenizer in plain Python. Byte-pair encoding of words
# is due to [Sennrich et al. 2016, section 3.2](https://arxiv.org/abs/1508.07909); bytes as its alphabet came with
# GPT-2, and [Liu et al. 2019, section 4.4](https://arxiv.org/abs/1907.11692) took them over. Other families differ:
# XLM-RoBERTa and CamemBERT use sentencepiece, which also normalises the text and writes a space as `▁`.
