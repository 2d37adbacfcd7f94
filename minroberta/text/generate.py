"""`generate`: a decoder's continuation of a text, token by token."""

import itertools
import math
import numbers
import reprlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypedDict, overload

import numpy

from .. import ops
from ..backend.arrays import quietly, to_host, widen
from ..errors import InputError, check_integer
from ..model import Network
from .running import best, progress, ready
from .texts import as_given, as_texts, which
from .tokenizer import Tokenizer


class Generated(TypedDict):
    """A prompt and its continuation."""

    generated_text: str


@overload
def generate(  # type: ignore[overload-overlap]  # a str is an iterable of str as well
    model: Network,
    prompt: str,
    max_new_tokens: int = 20,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
) -> list[Generated]: ...
@overload
def generate(
    model: Network,
    prompt: Iterable[str],
    max_new_tokens: int = 20,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
) -> list[list[Generated]]: ...
def generate(
    model: Network,
    prompt: str | Iterable[str],
    max_new_tokens: int = 20,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
) -> list[Generated] | list[list[Generated]]:
    """Continue a prompt with a decoder, token by token. Returns a list of one dict, {generated_text}.

    `generated_text` includes the prompt. temperature: if 0, the likeliest token is taken; otherwise, a token is sampled
    from softmax(logits / temperature). top_k: if given, only the `top_k` likeliest tokens are sampled from. The same
    seed gives the same tokens. Generation stops at the end-of-sequence token, which is not included.

    The model reads `<s>` and the prompt, without the `</s>` that transformers' pipeline appends. Positions are counted
    as in any other call, whereas transformers' `generate` counts them from 0. Raises InputError, TokenizerError.
    """
    tokenizer = ready(model, "generate", "causal_lm")
    _check_decoder(model)
    check_integer("max_new_tokens", max_new_tokens, 1)
    sampling = _checked_sampling(temperature, top_k, seed)
    prompts = as_texts(prompt)
    rows = _rows(model, tokenizer, prompts, max_new_tokens)
    results = []
    with progress(len(rows), "texts") as advance:
        for text, row in zip(prompts, rows, strict=True):
            new = list(itertools.islice(_continue(model, row, _chooser(*sampling)), max_new_tokens))
            results.append([_generated(tokenizer, text, row, new)])
            advance(1)
    return as_given(prompt, results)


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_decoder(model: Network) -> None:
    if not model.config.is_decoder:
        raise InputError(
            "generate needs a decoder, but this model attends in both directions: set is_decoder to true in its "
            "config.json, or call load(name, head='causal_lm', config={'is_decoder': True})"
        )


def _checked_sampling(temperature: Any, top_k: int | None, seed: int) -> tuple[float, int | None, int]:
    if top_k is not None:
        check_integer("top_k", top_k, 1)
    check_integer("seed", seed, 0)
    temperature = _as_temperature(temperature)
    if top_k is not None and temperature == 0:
        raise InputError("top_k is for sampling: give a temperature above 0 as well")
    return temperature, top_k, seed


def _as_temperature(value: Any) -> float:
    try:
        temperature = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        temperature = math.inf
    if not 0 <= temperature < math.inf:
        raise InputError(f"invalid temperature {reprlib.repr(value)}: give a finite number of at least 0")
    return temperature


def _rows(model: Network, tokenizer: Tokenizer, prompts: list[str], max_new_tokens: int) -> list[list[int]]:
    begin = [] if model.config.bos_token_id is None else [model.config.bos_token_id]
    rows = [begin + ids for ids in tokenizer.cut(prompts, add_special_tokens=False)[0]]
    for index, row in enumerate(rows):
        if not row:
            raise InputError(f"{which(index, rows)} has no tokens, and this model has no bos_token_id: give some text")
        if len(row) + max_new_tokens > model.config.longest:
            raise InputError(
                f"{which(index, rows)} has {len(row)} tokens and {max_new_tokens} new ones are requested, but this "
                f"model takes {model.config.longest} in all: shorten the text, or request fewer new tokens"
            )
    return rows


# --- token by token -------------------------------------------------------------------------------------------------

Choose = Callable[[numpy.ndarray], int]
"""A function that chooses a token from the logits, (V,)."""


def _continue(model: Network, ids: list[int], choose: Choose) -> Iterator[int]:
    """The new tokens, without the end-of-sequence token. Keys and values are cached, so each token is read once."""
    cache = None
    while True:
        output = model([ids], past_key_values=cache, use_cache=True)
        token = choose(to_host(widen(output.logits[0, -1])))
        if token == model.config.eos_token_id:
            return
        yield token
        ids, cache = [token], output.past_key_values


def _chooser(temperature: float, top_k: int | None, seed: int) -> Choose:
    random = numpy.random.default_rng(seed)

    @quietly
    def sample(logits: numpy.ndarray) -> int:
        candidates = best(logits, top_k)
        scores = logits[candidates].astype(float)
        p = ops.softmax((scores - scores[0]) / temperature)  # a small temperature gives -inf, and so p = 0
        return int(random.choice(candidates, p=p))

    return sample if temperature else lambda logits: int(logits.argmax())


def _generated(tokenizer: Tokenizer, prompt: str, row: list[int], new: list[int]) -> Generated:
    known, whole = (tokenizer.library.decode(ids, skip_special_tokens=True) for ids in (row, row + new))
    return {"generated_text": prompt + whole[len(known) :]}
