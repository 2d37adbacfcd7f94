"""Text in, answers out: each task is a function of a model, and a method of `Model` by the same name.

A str gives its own result, a list of texts a list of such results. Results are dicts with the keys of transformers'
pipelines; a score is a probability, as a Python float, where no docstring says otherwise. They are those of the
pipelines of transformers 4.48.3, and where they are not, a docstring says so.

What is longer than the model reads is cut, with a warning, or read by windows that overlap.
"""

import functools
import itertools
import math
import numbers
import reprlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy

from .. import ops
from ..backend.arrays import Array, namespace, quietly, to_host, widen, widened
from ..config import Config
from ..errors import InputError, NameUnknownError
from ..model import Network
from .tokenizer import Text, Tokenizer, as_texts, tokenizer_of

if TYPE_CHECKING:
    import tokenizers

Answers = list[dict[str, Any]]
"""What a task says about one text."""

Row = Sequence[int]
"""The ids of a text or a window."""

Output = dict[str, Array]
"""The head's outputs at a row's places, each (places, ...)."""

Read = Callable[[Output, Row], Any]
"""What a task wants of a row."""

TOKENS = 4096
"""The most in a batch: enough to keep a processor busy."""

LOGITS = 2**26
"""The most of a batch of several texts, where each token has one for every word of the vocabulary: 256 MiB."""

LONG = 100
"""So many texts are a long list, which gets a progress bar."""

# --- fill_mask --------------------------------------------------------------------------------------------------------


def fill_mask(model: Network, text: str | Sequence[str], top_k: int = 5) -> Any:
    """The likeliest tokens for each `<mask>`: a list of {score, token, token_str, sequence}, best first.

    Of a text with several masks, a list of such lists; each mask is filled by itself, the others left as they are.
    `sequence` is the whole text with the token in its place, and where other masks remain it shows the special tokens.

    Raises InputError, TokenizerError.
    """
    tokenizer = _ready(model, "fill_mask", "masked_lm")
    _check_count("top_k", top_k)
    texts, mask = as_texts(text), tokenizer.mask_token_id
    if mask is None:
        raise InputError("this model's tokenizer has no <mask>")
    rows, cut_off = tokenizer.cut(texts, tokenizer.longest)
    for index, (row, rest) in enumerate(zip(rows, cut_off, strict=True)):
        which = _which(index, texts)
        if mask in rest:
            raise InputError(f"{which} has a <mask> behind the {tokenizer.longest} tokens that this model reads")
        if mask not in row:
            raise InputError(f"{which} has no <mask>: write one where a token is to be told, as in 'Hello <mask>!'")
    _warn_of_cut(tokenizer, cut_off)
    asked = [[place for place, token in enumerate(row) if token == mask] for row in rows]
    found = _run(model, rows, functools.partial(_read_likeliest, top_k=top_k), asked)
    return _as_given(text, [_fillings(tokenizer, *one) for one in zip(rows, found, strict=True)])


def _read_likeliest(output: Output, _: Row, top_k: int) -> list[list[tuple[int, float]]]:
    probabilities = _softmax(output["logits"])  # (masks, V)
    return [[(int(i), float(row[i])) for i in _best(row, top_k)] for row in probabilities]


def _fillings(tokenizer: Tokenizer, ids: list[int], likeliest: list[list[tuple[int, float]]]) -> Any:
    """For each mask of a text its tokens. likeliest: for each mask tokens and their probabilities."""
    places = [place for place, token in enumerate(ids) if token == tokenizer.mask_token_id]

    def filling(place: int, token: int, score: float) -> dict[str, Any]:
        filled = [*ids[:place], token, *ids[place + 1 :]]
        filled = [token for token in filled if token != tokenizer.pad_token_id]
        return {
            "score": score,
            "token": token,
            "token_str": tokenizer.library.decode([token], skip_special_tokens=False),
            "sequence": tokenizer.library.decode(filled, skip_special_tokens=len(places) == 1),
        }

    result = [
        [filling(place, token, score) for token, score in found] for place, found in zip(places, likeliest, strict=True)
    ]
    return result[0] if len(result) == 1 else result


# --- classify ---------------------------------------------------------------------------------------------------------


def classify(
    model: Network,
    texts: str | tuple[str, str] | Sequence[str | tuple[str, str]],
    top_k: int | None = 1,
) -> Any:
    """The labels of a text, or of a pair of texts in a tuple: a list of {label, score}, best first; None gives all.

    A score is a softmax's; with problem_type "multi_label_classification", or one label, a sigmoid's; and with
    problem_type "regression" the number itself. Raises InputError, TokenizerError.
    """
    tokenizer = _ready(model, "classify", "sequence_classification")
    if top_k is not None:
        _check_count("top_k", top_k)
    rows, cut_off = tokenizer.cut(_as_texts_or_pairs(texts), tokenizer.longest)
    _warn_of_cut(tokenizer, cut_off)
    scores = _run(model, rows, functools.partial(_read_scores, config=model.config), [[0]] * len(rows))
    results = [_ranked(_labels(model.config), row)[:top_k] for row in scores]
    return results[0] if isinstance(texts, str | tuple) else results


def _read_scores(output: Output, _: Row, config: Config) -> numpy.ndarray:
    return to_host(_label_scores(widen(output["logits"]), config))[0]  # (1, N) -> (N,)


def _label_scores(logits: Array, config: Config) -> Array:
    """(1, N) -> (1, N)."""
    if config.problem_type == "regression":
        return logits
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return ops.sigmoid(logits)
    return ops.softmax(logits)


# --- tag --------------------------------------------------------------------------------------------------------------


def tag(
    model: Network,
    texts: str | Sequence[str],
    aggregation_strategy: Literal["first", "none"] = "first",
) -> Any:
    """The label of each word, in order, or of each piece of a word; the label "O" is left out.

    "none": of each piece {entity, score, index, word, start, end}, where `word` is the tokenizer's name for it.
    "first": a word has the label of its first piece. With plain labels, of each word {entity, score, word, start, end};
    words are what the tokenizer splits a text into before it makes pieces, and those of blanks alone are left out.
    With labels that begin with B- or I-, words of one kind are grouped: {entity_group, score, word, start, end}, the
    score their mean. There, as in the pipeline, words are parted by spaces alone: a full stop belongs to its word.
    `word` is text[start:end] without blanks around it; the pipeline's may have some, or be a part of a character.

    A long text is read by windows that overlap, and each piece's label comes from the one that shows more around it.
    Raises InputError, NameUnknownError, TokenizerError.
    """
    tokenizer = _ready(model, "tag", "token_classification")
    if aggregation_strategy not in ("first", "none"):
        raise NameUnknownError(f'aggregation_strategy is "first" or "none", not {aggregation_strategy!r}')
    labels = _labels(model.config)
    grouped = any(label.startswith(("B-", "I-")) for label in labels)
    say = _tagged_pieces if aggregation_strategy == "none" else _tagged_groups if grouped else _tagged_words
    read = functools.partial(_read_tags, labels=labels)
    return _as_given(texts, [say(*pieces) for pieces in _read_pieces(model, tokenizer, texts, read)])


class Tag(NamedTuple):
    """A piece's label and its probability."""

    entity: str
    score: float


def _read_tags(output: Output, _: Row, labels: Sequence[str]) -> list[Tag]:
    scores = _softmax(output["logits"])  # (L, N)
    best = zip(scores.argmax(-1).tolist(), scores.max(-1).tolist(), strict=True)
    return [Tag(labels[i], score) for i, score in best]


def _tagged_pieces(text: str, pieces: list["Piece"]) -> Answers:
    return [
        {
            **piece.made._asdict(),
            "index": piece.number,
            "word": text[piece.start : piece.end] if piece.unknown else piece.token,
            "start": piece.start,
            "end": piece.end,
        }
        for piece in pieces
        if piece.made.entity != "O"
    ]


def _tagged_words(text: str, pieces: list["Piece"]) -> Answers:
    seen = [piece for piece in pieces if text[piece.start : piece.end].strip()]  # a space may be a piece of its own
    words = _runs(seen, lambda before, piece: before.word == piece.word)
    found = [{**word[0].made._asdict(), **_place(text, word[0].start, word[-1].end)} for word in words]
    return [word for word in found if word["entity"] != "O"]


def _tagged_groups(text: str, pieces: list["Piece"]) -> Answers:
    def of_one_word(before: Piece, piece: Piece) -> bool:
        parted = piece.unknown or " " in text[piece.start - 1 : piece.start + 1]
        return not parted or piece.start < before.end  # two pieces of one character

    def of_one_group(before: list[Piece], word: list[Piece]) -> bool:
        entity = word[0].made.entity
        return _kind(entity) == _kind(before[0].made.entity) and not entity.startswith("B-")

    found = [
        {
            "entity_group": group[0][0].made.entity.split("-", 1)[-1],
            "score": math.fsum(word[0].made.score for word in group) / len(group),
            **_place(text, group[0][0].start, group[-1][-1].end),
        }
        for group in _runs(_runs(pieces, of_one_word), of_one_group)
    ]
    return [group for group in found if group["entity_group"] != "O" and group["word"]]


def _kind(entity: str) -> str:
    """A label without its B- or I-."""
    return entity[2:] if entity.startswith(("B-", "I-")) else entity


def _runs(items: Sequence[Any], go_on: Callable[[Any, Any], bool]) -> list[list[Any]]:
    """The items in order, in lists: one goes into the list of the one before it if the two go on."""
    runs: list[list[Any]] = []
    for item in items:
        if runs and go_on(runs[-1][-1], item):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _place(text: str, start: int, end: int) -> dict[str, Any]:
    """A word and its place in the text, without the blanks around it."""
    word = text[start:end]
    start += len(word) - len(word.lstrip())
    return {"word": word.strip(), "start": start, "end": start + len(word.strip())}


# --- answer -----------------------------------------------------------------------------------------------------------


def answer(
    model: Network,
    question: str | Sequence[str],
    context: str | Sequence[str],
    top_k: int = 1,
    max_answer_len: int = 15,
    align_to_words: bool = True,
) -> Any:
    """Where in a context the answer stands: a list of {score, start, end, answer}, best first.

    context[start:end] is the answer, at most `max_answer_len` tokens, widened to whole words with `align_to_words`. Its
    score is the product of the probabilities of its start and its end, among all places of the context and "nowhere"
    (the first place). Several questions take one context, or one each.

    A long context is read by windows of at most 384 tokens that share 128, each with its own probabilities. As in the
    pipeline, one answer may stand in the list twice: from two windows, or from two spans within the same words.

    Raises InputError, TokenizerError.
    """
    tokenizer = _ready(model, "answer", "question_answering")
    _check_count("top_k", top_k)
    _check_count("max_answer_len", max_answer_len)
    questions, contexts = as_texts(question), as_texts(context)
    if isinstance(context, str):
        contexts *= len(questions)
    if len(questions) != len(contexts):
        raise InputError(
            f"{len(questions)} questions and {len(contexts)} contexts: give one context for each, or one for all"
        )
    for name, texts in (("question", questions), ("context", contexts)):
        for index, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"{_which(index, texts, name)} is empty: give some text")
    longest = min(tokenizer.longest, 384)
    stride = min(longest // 2, 128)
    windows = [
        tokenizer.windows(*both, stride=stride, max_length=longest) for both in zip(questions, contexts, strict=True)
    ]

    for index, parts in enumerate(windows):
        if not any(_places(window, 1) for window in parts):
            raise InputError(f"{_which(index, contexts, 'context')} has no tokens: give some text")

    logits = iter(_run(model, [window.ids for parts in windows for window in parts], _read_ends))
    results = []
    for text, parts in zip(contexts, windows, strict=True):
        found = [span for window in parts for span in _spans(window, next(logits), top_k, max_answer_len)]
        best = sorted(found, key=lambda span: span.score, reverse=True)[:top_k]
        results.append([_as_answer(text, span, align_to_words) for span in best])
    return _as_given(question, results)


def _read_ends(output: Output, _: Row) -> list[numpy.ndarray]:
    return [to_host(widen(output[name]))[:, 0] for name in ("start_logits", "end_logits")]  # both (L,)


class Span(NamedTuple):
    """From one token of a window to another, both included."""

    window: "tokenizers.Encoding"
    first: int
    last: int
    score: float


def _spans(
    window: "tokenizers.Encoding", logits: list[numpy.ndarray], top_k: int, max_answer_len: int
) -> Iterator[Span]:
    """The best spans of a window's context. logits: of starts and of ends, both (L,)."""
    places = _places(window, 1)
    starts, ends = (ops.softmax(row[[0, *places]])[1:] for row in logits)  # (L,) -> (places,)
    longest = min(max_answer_len, len(places))
    padded = numpy.concatenate([ends, numpy.zeros(longest - 1, ends.dtype)])
    further_ends = numpy.lib.stride_tricks.sliding_window_view(padded, longest)  # (places, longest)
    scores = starts[:, None] * further_ends
    for i in _best(scores.reshape(-1), top_k):
        first, further = divmod(int(i), longest)
        if first + further < len(places):
            yield Span(window, places[first], places[first + further], float(scores[first, further]))


def _as_answer(context: str, span: Span, align_to_words: bool) -> dict[str, Any]:
    window, first, last = span.window, span.first, span.last
    if align_to_words:
        places, words = _places(window, 1), window.word_ids
        first = next(place for place in places if words[place] == words[first])
        last = next(place for place in reversed(places) if words[place] == words[last])
    start, end = window.offsets[first][0], window.offsets[last][1]
    return {"score": span.score, "start": start, "end": end, "answer": context[start:end]}


# --- choose -----------------------------------------------------------------------------------------------------------


def choose(model: Network, prompt: str, choices: Sequence[str]) -> Answers:
    """The choices by how well they follow the prompt: a list of {label, score}, best first.

    `label` is the choice, and the scores, a softmax over the choices, sum to 1. Raises InputError, TokenizerError.
    """
    tokenizer = _ready(model, "choose", "multiple_choice")
    if not isinstance(prompt, str) or isinstance(choices, str):
        raise InputError("choose takes one prompt, a str, and several choices, a list of them")
    texts = as_texts(choices)
    if not texts:
        raise InputError("no choices: give at least one")
    rows, cut_off = tokenizer.cut(_as_texts_or_pairs([(prompt, text) for text in texts]), tokenizer.longest)
    _warn_of_cut(tokenizer, cut_off)
    logits = _run(model, rows, lambda output, _: to_host(widen(output["logits"]))[0, 0], [[0]] * len(rows))
    return _ranked(texts, ops.softmax(numpy.array(logits)))


# --- encode -----------------------------------------------------------------------------------------------------------


def encode(
    model: Network,
    texts: str | Sequence[str],
    pooling: Literal["mean", "cls", "max"] = "mean",
    normalize: bool = True,
    batch_size: int | None = None,
) -> numpy.ndarray:
    """A vector for each text, (N, D), or (D,) for one str; as sentence-transformers makes them of the same weights.

    pooling: the mean or the maximum of the last hidden states over a text's tokens, special ones included, or "cls",
    that of the first token alone. normalize: to length 1. batch_size: so many texts at once; by default as many as make
    1024 tokens with pads. float32, or float64 of a model in float64.

    On a terminal, a long list shows a progress bar on standard error. Raises InputError, NameUnknownError,
    TokenizerError.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]

    tokenizer = _ready(model, "encode", "encoder")
    if not isinstance(pooling, str) or pooling not in POOLINGS:
        raise NameUnknownError(f"there is no pooling {pooling!r}: give one of {', '.join(POOLINGS)}")
    if batch_size is not None:
        _check_count("batch_size", batch_size)
    rows, cut_off = tokenizer.cut(as_texts(texts), tokenizer.longest)
    _warn_of_cut(tokenizer, cut_off)

    read = functools.partial(_read_vector, pooling=pooling, normalize=normalize)
    asked = [[0]] * len(rows) if pooling == "cls" else None
    with tqdm(total=len(rows), unit=" texts", disable=None if len(rows) >= LONG else True) as bar:
        vectors = _run(model, rows, read, asked, batch_size, bar.update)
    result = numpy.asarray(vectors, widened(model.dtype)).reshape(-1, model.config.hidden_size)
    return _as_given(texts, result)


def _read_vector(output: Output, _: Row, pooling: str, normalize: bool) -> numpy.ndarray:
    vector = POOLINGS[pooling](widen(output["last_hidden_state"]))  # (places, D) -> (D,)
    return to_host(_unit(vector) if normalize else vector)


POOLINGS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda x: x.mean(0),
    "cls": lambda x: x[0],
    "max": lambda x: x.max(0),
}
"""Of the states of a text's tokens, (L, D), or of the first alone: (D,)."""


def _unit(x: Array) -> Array:
    """x / |x|, and 0 for 0."""
    xp = namespace(x)
    return x / xp.maximum(xp.sqrt((x * x).sum(-1, keepdims=True)), 1e-12)


# --- generate ---------------------------------------------------------------------------------------------------------


def generate(
    model: Network,
    prompt: str | Sequence[str],
    max_new_tokens: int = 20,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Any:
    """The prompt continued by a decoder, token by token: a list of one {generated_text}, the prompt included.

    temperature: 0 takes the likeliest token; else one is drawn from softmax(logits / temperature), among the `top_k`
    likeliest where given, and the same seed draws the same. It ends at the end-of-sequence token, which is not shown.

    The prompt stands behind `<s>`, without the `</s>` that the pipeline puts there; and positions are the model's own,
    where the reference's `generate` counts them from 0. Raises InputError, TokenizerError.
    """
    tokenizer = _ready(model, "generate", "causal_lm")
    if not model.config.is_decoder:
        raise InputError(
            "generate needs a decoder, and this model sees both ways: set is_decoder in its config.json, "
            "or load(name, head='causal_lm', config={'is_decoder': True})"
        )
    _check_count("max_new_tokens", max_new_tokens)
    if top_k is not None:
        _check_count("top_k", top_k)
    _check_count("seed", seed, least=0)
    temperature = _as_temperature(temperature)
    if top_k is not None and temperature == 0:
        raise InputError("top_k is for a draw: give a temperature above 0 as well")
    prompts = as_texts(prompt)
    begin = [] if model.config.bos_token_id is None else [model.config.bos_token_id]
    rows = [begin + ids for ids in tokenizer.cut(prompts, add_special_tokens=False)[0]]
    for row in rows:
        if len(row) + max_new_tokens > tokenizer.longest:
            raise InputError(
                f"a prompt of {len(row)} tokens and {max_new_tokens} new ones: this model reads {tokenizer.longest} "
                "in all: shorten the prompt, or ask for less"
            )

    results = []
    for text, row in zip(prompts, rows, strict=True):
        made = list(itertools.islice(_continue(model, row, _chooser(temperature, top_k, seed)), max_new_tokens))
        known, whole = (tokenizer.library.decode(ids, skip_special_tokens=True) for ids in (row, row + made))
        results.append([{"generated_text": text + whole[len(known) :]}])
    return _as_given(prompt, results)


def _as_temperature(value: Any) -> float:
    try:
        temperature = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        temperature = math.inf
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature is a finite number of at least 0, not {reprlib.repr(value)}")
    return temperature


def _continue(model: Network, ids: list[int], choose: Callable[[numpy.ndarray], int]) -> Iterator[int]:
    """The tokens that follow, up to the end of the sequence: each is computed once, the cache holds those before."""
    cache = None
    while True:
        output = model([ids], past_key_values=cache, use_cache=True)
        token = choose(to_host(widen(output.logits[0, -1])))
        if token == model.config.eos_token_id:
            return
        yield token
        ids, cache = [token], output.past_key_values


def _chooser(temperature: float, top_k: int | None, seed: int) -> Callable[[numpy.ndarray], int]:
    """What takes one token by its logits, (V,)."""
    random = numpy.random.default_rng(seed)

    @quietly
    def draw(logits: numpy.ndarray) -> int:
        among = _best(logits, top_k)
        scores = logits[among].astype(float)
        probabilities = ops.softmax((scores - scores[0]) / temperature)  # a small temperature makes them -inf, and so 0
        return int(random.choice(among, p=probabilities))

    return draw if temperature else lambda logits: int(logits.argmax())


# --- predict_all ------------------------------------------------------------------------------------------------------


def predict_all(model: Network, text: str | Sequence[str]) -> Any:
    """What the model would write at each place of a text that it sees whole: a list of dicts, one a token.

    {index, word, start, end, token, token_str, score, word_score}: `word`, text[start:end], is what stands there, and
    `word_score` its token's probability; `token`, `token_str` and `score` are the likeliest token there. A long text is
    read by windows that overlap, as by `tag`. Raises InputError, TokenizerError.
    """
    tokenizer = _ready(model, "predict_all", "masked_lm")

    def say(text: str, pieces: list[Piece]) -> Answers:
        return [
            {
                "index": piece.number,
                "word": text[piece.start : piece.end],
                "start": piece.start,
                "end": piece.end,
                "token": piece.made[0],
                "token_str": tokenizer.library.decode([piece.made[0]], skip_special_tokens=False),
                "score": piece.made[1],
                "word_score": piece.made[2],
            }
            for piece in pieces
        ]

    return _as_given(text, [say(*pieces) for pieces in _read_pieces(model, tokenizer, text, _read_own)])


def _read_own(output: Output, row: Row) -> list[tuple[int, float, float]]:
    """The likeliest token of each place, its probability, and that of the token that stands there."""
    probabilities = _softmax(output["logits"])  # (L, V)
    columns = (probabilities.argmax(-1), probabilities.max(-1), probabilities[numpy.arange(len(row)), row])
    return list(zip(*(column.tolist() for column in columns), strict=True))


# --- what the tasks share -------------------------------------------------------------------------------------------


def _run(
    model: Network,
    rows: Sequence[Row],
    read: Read,
    asked: Sequence[Sequence[int]] | None = None,
    batch_size: int | None = None,
    advance: Callable[[int], Any] = lambda count: None,
) -> list[Any]:
    """What `read` makes of the outputs of each row, at the places that are asked for, or at all."""
    results: list[Any] = []
    for batch in _batches(model, rows, asked, batch_size):
        outputs = model.on_rows(rows[batch], None if asked is None else asked[batch])
        found = [read(output, row) for output, row in zip(outputs, rows[batch], strict=True)]
        results += found
        advance(len(found))
    return results


def _batches(
    model: Network, rows: Sequence[Row], asked: Sequence[Sequence[int]] | None, batch_size: int | None
) -> Iterator[slice]:
    """Rows that are computed together, by their number or by their tokens, or what is as much."""
    each = model.config.vocab_size * TOKENS / LOGITS if model.head == "masked_lm" else 0
    start, cost = 0, 0.0
    for index, row in enumerate(rows):
        own = max(len(row), each * len(row if asked is None else asked[index]))
        full = index - start == batch_size if batch_size else cost + own > TOKENS
        if full and index > start:
            yield slice(start, index)
            start, cost = index, 0.0
        cost += own
    if rows:
        yield slice(start, len(rows))


class Piece(NamedTuple):
    """A token of a text, the special ones around it apart, and what a task makes of it."""

    number: int  # in the whole text, from 1
    token: str
    unknown: bool
    word: int | None  # the number of the word that it is of
    start: int
    end: int
    made: Any


def _read_pieces(
    model: Network, tokenizer: Tokenizer, texts: str | Sequence[str], read: Read
) -> Iterator[tuple[str, list[Piece]]]:
    """Each text with its pieces. `read` makes a sequence of L for each row."""
    stride = tokenizer.longest // 4
    inputs = as_texts(texts)
    windows = [tokenizer.windows(text, stride=stride) for text in inputs]
    made = iter(_run(model, [window.ids for parts in windows for window in parts], read))
    for text, parts in zip(inputs, windows, strict=True):
        yield text, list(_pieces(tokenizer, parts, made, stride))


def _pieces(
    tokenizer: Tokenizer, windows: Sequence["tokenizers.Encoding"], made: Iterator[Sequence[Any]], stride: int
) -> Iterator[Piece]:
    """The pieces of a text, in order. Of the `stride` tokens that two windows share, each gives those off its edge."""
    count = itertools.count(1)
    for window in windows:
        ids, words, offsets, values = window.ids, window.word_ids, window.offsets, next(made)
        first = 0 if window is windows[0] else stride // 2
        last = 0 if window is windows[-1] else stride - stride // 2
        places = _places(window, 0)
        for place in places[first : len(places) - last]:
            token = tokenizer.library.id_to_token(ids[place]) or ""
            unknown = ids[place] == tokenizer.unk_token_id
            yield Piece(next(count), token, unknown, words[place], *offsets[place], values[place])


def _places(window: "tokenizers.Encoding", sequence: int) -> list[int]:
    """Where the tokens of the first text, 0, or the second, 1, stand."""
    return [place for place, number in enumerate(window.sequence_ids) if number == sequence]


def _softmax(logits: Array) -> numpy.ndarray:
    """Probabilities on the host, (..., N)."""
    return to_host(ops.softmax(widen(logits)))


def _best(scores: numpy.ndarray, top_k: int | None) -> numpy.ndarray:
    """The places of the largest numbers, (N,) -> (top_k,), best first; of equal ones the first."""
    places = numpy.arange(len(scores))
    if top_k is not None and top_k < len(scores):  # few of many: only those are sorted
        least = -numpy.partition(-scores, top_k - 1)[top_k - 1]
        places = numpy.flatnonzero(~(scores < least))
    return places[numpy.argsort(-scores[places], kind="stable")][:top_k]


def _ranked(labels: Sequence[str], scores: numpy.ndarray) -> Answers:
    return [{"label": labels[i], "score": float(scores[i])} for i in _best(scores, None)]


def _labels(config: Config) -> list[str]:
    """The labels' names in their order; HF's general name where there is none."""
    return [config.id2label.get(i, f"LABEL_{i}") for i in range(config.num_labels)]


def _as_given(texts: str | Sequence[str], results: Any) -> Any:
    """A str's own result, or all."""
    return results[0] if isinstance(texts, str) else results


def _as_texts_or_pairs(texts: Any) -> list[Text]:
    """Texts and pairs, each looked at."""
    given = [texts] if isinstance(texts, str | tuple) else texts
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        return list(as_texts(texts))  # which says so
    result: list[Text] = []
    for text in given:
        if isinstance(text, tuple) and len(text) == 2:
            first, second = as_texts(text)
            result.append((first, second))
        elif isinstance(text, tuple):
            raise InputError(f"a tuple of {len(text)} is no pair: give two texts in a tuple, and several in a list")
        else:
            result += as_texts([text])
    return result


# --- what can be wrong ----------------------------------------------------------------------------------------------


def _ready(model: Network, task: str, head: str) -> Tokenizer:
    """The model's tokenizer, if it has the head of the task. Raises InputError, TokenizerError."""
    if model.head != head:
        raise InputError(f"{task} needs head {head!r}, and this model has {model.head!r}: load(name, head={head!r})")
    return tokenizer_of(model)


def _check_count(name: str, value: Any, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int | numpy.integer) or value < least:
        raise InputError(f"{name} is a whole number of at least {least}, not {value!r}")


def _which(index: int, texts: Sequence[Any], name: str = "text") -> str:
    """How a message calls one of the texts."""
    return f"the {name}" if len(texts) == 1 else f"{name} {index + 1}"


def _warn_of_cut(tokenizer: Tokenizer, cut_off: Sequence[list[int]]) -> None:
    longer = [_which(index, cut_off) for index, rest in enumerate(cut_off) if rest]
    if longer:
        which = f"{longer[0]} is" if len(longer) == 1 else f"{len(longer)} of {len(cut_off)} texts are"
        warnings.warn(
            f"{which} longer than the {tokenizer.longest} tokens that this model reads: "
            "what comes after them is left out",
            stacklevel=3,
        )
