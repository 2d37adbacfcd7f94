"""`generate`: a decoder's continuation of a text, or an encoder-decoder's new text, such as a summary."""

import math
import numbers
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack, overload

import numpy

from ..backend.arrays import to_host, widen
from ..cache import Cache, KeysValues
from ..errors import InputError, check_integer
from ..model import Network
from .generation import EarlyStopping, Generation
from .running import progress, ready, warn_of_cut
from .search import Ids, Task, search
from .texts import as_given, as_texts, which
from .tokenizer import Tokenizer


class Generated(TypedDict):
    """A prompt and its continuation, or an encoder-decoder's text."""

    generated_text: str


class Options(TypedDict, total=False):
    """The arguments of `generate` other than the text and the number of tokens."""

    temperature: float | None
    top_k: int | None
    seed: int
    top_p: float | None
    num_beams: int | None
    length_penalty: float | None
    early_stopping: EarlyStopping | None
    min_new_tokens: int | None
    no_repeat_ngram_size: int | None
    repetition_penalty: float | None


@overload
def generate(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network, prompt: str, max_new_tokens: int | None = None, **options: Unpack[Options]
) -> list[Generated]: ...
@overload
def generate(
    model: Network, prompt: Iterable[str], max_new_tokens: int | None = None, **options: Unpack[Options]
) -> list[list[Generated]]: ...
def generate(
    model: Network,
    prompt: str | Iterable[str],
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    seed: int = 0,
    top_p: float | None = None,
    num_beams: int | None = None,
    length_penalty: float | None = None,
    early_stopping: EarlyStopping | None = None,
    min_new_tokens: int | None = None,
    no_repeat_ngram_size: int | None = None,
    repetition_penalty: float | None = None,
) -> list[Generated] | list[list[Generated]]:
    """Continue a prompt with a decoder, or generate a new text, such as a summary, with an encoder-decoder.

    Returns a list of one dict, {generated_text}, or such a list for each of several prompts. `generated_text` begins
    with the prompt, except with an encoder-decoder. Generation stops at the end-of-sequence token, which is not
    included, or after `max_new_tokens`.

    temperature: if 0, take the likeliest token; otherwise, sample from softmax(logits / temperature), restricted to the
    `top_k` likeliest tokens and to the fewest likeliest tokens whose probabilities sum to at least `top_p`.
    seed: the same seed gives the same tokens.
    num_beams: if more than 1, do a beam search, and return the finished sequence with the largest
    log p / length^`length_penalty`. early_stopping: True ends the search once `num_beams` sequences are finished, False
    when no beam scores better at its present length, and "never" when none can score better at any length.
    min_new_tokens: minimum number of tokens before the end-of-sequence token. no_repeat_ngram_size: no sequence of this
    many tokens occurs twice. repetition_penalty: a number above 1 makes tokens that have occurred less likely.

    If an argument is None, the setting in the repository's `generation_config.json` or `config.json` is used. Without
    such settings, up to 20 tokens are generated, always the likeliest.

    A decoder reads `<s>` and the prompt, without the `</s>` that transformers' pipeline appends. Positions are counted
    as in any other call, whereas transformers' `generate` counts them from 0. An encoder-decoder gives the tokens of
    transformers' `generate`, text by text. Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "generate", "causal_lm")
    _check_decoder(model)
    check_integer("seed", seed, 0)
    settings = _settings(
        model.generation or Generation(), temperature, top_k=top_k, top_p=top_p, max_new_tokens=max_new_tokens,
        num_beams=num_beams, length_penalty=length_penalty, early_stopping=early_stopping,
        min_new_tokens=min_new_tokens, no_repeat_ngram_size=no_repeat_ngram_size, repetition_penalty=repetition_penalty,
    )  # fmt: skip
    texts = as_texts(prompt)
    sources: Sequence[Ids]
    if model.encoder is None:
        shown, sources, prompts = texts, [[]] * len(texts), _prompts(model, tokenizer, texts)
    else:
        rows = tokenizer.rows(texts, tokenizer.longest)
        warn_of_cut(rows, tokenizer.longest)
        shown, sources, prompts = [""] * len(texts), rows, [[_start(model, settings)]] * len(texts)
    ends = _ends(model, settings)
    longest = [_longest(model, settings, ids, which(index, texts)) for index, ids in enumerate(prompts)]
    results = []
    with progress(len(texts), "texts") as advance:
        for before, source, ids, most in zip(shown, sources, prompts, longest, strict=True):
            task = Task(settings, ids, most, ends, numpy.random.default_rng(seed))
            found = search(Continued(model, source, settings.num_beams), task)
            results.append([_generated(tokenizer, before, ids, found)])
            advance(1)
    return as_given(prompt, results)


# --- settings -------------------------------------------------------------------------------------------------------


def _check_decoder(model: Network) -> None:
    if not model.config.is_decoder:
        raise InputError(
            "generate needs a decoder, but this model attends in both directions: set is_decoder to true in its "
            "config.json, or call load(name, head='causal_lm', config={'is_decoder': True})"
        )


def _settings(base: Generation, temperature: float | None, **given: Any) -> Generation:
    """The settings of a repository, changed by the arguments that are not None. Raises InputError."""
    if temperature is not None:
        temperature = _as_temperature(temperature)
        top_k = base.top_k if base.do_sample else 0
        base = replace(base, do_sample=temperature > 0, temperature=temperature or 1.0, top_k=top_k)
    settings = base.changed(given, InputError)
    for name in ("top_k", "top_p"):
        if given[name] is not None and not settings.do_sample:
            raise InputError(f"{name} is for sampling: give a temperature above 0 as well")
    return settings


def _as_temperature(value: Any) -> float:
    try:
        temperature = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        temperature = math.inf
    if not 0 <= temperature < math.inf:
        raise InputError(f"invalid temperature {reprlib.repr(value)}: give a finite number of at least 0")
    return temperature


def _ends(model: Network, settings: Generation) -> Ids:
    """The ids of end-of-sequence tokens. Raises InputError for a token id that the decoder does not have."""
    V = model.config.vocab_size
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        if max(getattr(settings, name) or (0,)) >= V:
            raise InputError(
                f"{name} is {getattr(settings, name)}, but this model has {V} tokens: correct its settings"
            )
    ends = settings.eos_token_id
    if ends is None:
        ends = () if model.config.eos_token_id is None else (model.config.eos_token_id,)
    return [token for token in ends if token < V]


def _start(model: Network, settings: Generation) -> int:
    """The token with which an encoder-decoder's text begins. Raises InputError."""
    tokens = (settings.decoder_start_token_id, settings.bos_token_id, model.config.bos_token_id)
    start = next((token for token in tokens if token is not None), None)
    if start is None or start >= model.config.vocab_size:
        raise InputError(
            f"the decoder's first token is {start}, but it must be one of its {model.config.vocab_size} tokens: "
            "set decoder_start_token_id in generation_config.json"
        )
    return start


def _longest(model: Network, settings: Generation, prompt: Ids, name: str) -> int:
    """Maximum number of tokens, including the prompt. As in transformers, a `max_length` of 20 means 20 new tokens.

    Raises InputError.
    """
    known, limit = len(prompt), model.config.longest
    if settings.max_new_tokens is not None:
        most = known + settings.max_new_tokens
    else:
        most = known + 20 if settings.max_length == 20 else settings.max_length
    if most <= known:
        raise InputError(
            f"{name} has {known} tokens, but max_length in this model's settings is {most}: give max_new_tokens"
        )
    if (least := settings.min_new_tokens or 0) > most - known:
        raise InputError(f"min_new_tokens is {least}, but the maximum is {most - known}: give a larger max_new_tokens")
    if most > limit:
        raise InputError(
            f"{name} has {known} tokens and {most - known} new ones are requested, but this model takes {limit} in "
            "all: shorten the text, or request fewer new tokens"
            if model.encoder is None
            else f"{most - known} new tokens are requested, but the decoder takes {limit} with the first one: "
            f"give max_new_tokens={limit - 1} or less"
        )
    return most


def _prompts(model: Network, tokenizer: Tokenizer, texts: list[str]) -> list[Ids]:
    begin = [] if model.config.bos_token_id is None else [model.config.bos_token_id]
    prompts = [begin + list(ids) for ids in tokenizer.rows(texts, add_special_tokens=False)]
    for index, ids in enumerate(prompts):
        if not ids:
            raise InputError(f"{which(index, texts)} has no tokens, and this model has no bos_token_id: give some text")
    return prompts


# --- token by token -------------------------------------------------------------------------------------------------


class Continued:
    """The logits for the next token of several sequences. Keys and values are cached: each token is read once.

    On JAX, a decoder's cache has room for more tokens, so that calls are compiled for a few sizes of the cache.

    source: the ids that the encoder of an encoder-decoder reads. count: the number of sequences.
    """

    def __init__(self, model: Network, source: Sequence[int], count: int) -> None:
        self.model = model
        self.cache: Any = None  # a `Cache`, or a `compiled.Roomy`
        self.inputs: dict[str, Any] = {"use_cache": True}
        if model.encoder is not None:
            states = model.encoder([source]).last_hidden_state  # (1, S, D)
            self.inputs["encoder_hidden_states"] = model.xp.repeat(states, count, axis=0)  # (N, S, D)

    def __call__(self, rows: Sequence[Ids], parents: Sequence[int]) -> numpy.ndarray:
        """The logits after each row, (N, V) in float32. Row i is the earlier row `parents[i]` and one more token."""
        if self.model.can_continue:
            logits, self.cache = self.model.continued(rows, parents, self.cache)
            return to_host(widen(logits))
        if self.cache is None:
            output = self.model(rows, **self.inputs)
        else:
            past = self._of_parents(self.cache, parents)
            output = self.model([row[-1:] for row in rows], past_key_values=past, **self.inputs)
        self.cache = output.past_key_values
        return to_host(widen(output.logits[:, -1]))

    def _of_parents(self, cache: Cache, parents: Sequence[int]) -> Sequence[KeysValues]:
        """The cache of the rows `parents`. Cross-attention's keys and values are equal in all rows, so they stay.

        With an encoder-decoder, the result is a plain tuple, so that positions are counted as in transformers.
        """
        layers: Sequence[KeysValues] = cache
        if list(parents) != list(range(len(parents))):
            some = self.model.xp.asarray(parents)
            layers = [(layer[0][some], layer[1][some], *layer[2:]) for layer in cache]
        return tuple(layers) if len(cache[0]) > 2 else Cache(layers, cache.tokens)


def _generated(tokenizer: Tokenizer, prompt: str, known: Ids, found: Ids) -> Generated:
    before, whole = (tokenizer.text_of(ids, skip_special_tokens=True) for ids in (known, found))
    return {"generated_text": prompt + whole[len(before) :]}
