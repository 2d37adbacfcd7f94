"""The exercises of the notebook on bugs: three ports with mistakes, which the reader's name chooses.

    mine = ports("Ada")
    report = compare(trace(model, **mine.inputs), mine.first)
    mine.check(1, ("encoder.layer.0.intermediate", "gelu-tanh"))

The first port makes one known mistake, the second makes two, and the third one that the catalogue does not have.
"""

import difflib
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from .. import activations
from ..backend.arrays import Array
from ..loading import Model, load
from ..testing import compare
from ..testing.changes import Change, Here, Setting
from ..testing.mistakes import Mistake, catalogue
from ..testing.runs import run
from ..trace import trace
from .checks import Checks, NotYet, expect, result_of

Values = dict[str, numpy.ndarray]

TEXTS = ("She was the first woman to win the <mask> Prize.", "Mozart wrote <mask>.")
"""Two texts of different lengths, so that there is padding, and a mask that hides it."""

# --- the mistakes ---------------------------------------------------------------------------------------------------

SEEN = {
    "gelu-tanh": "encoder.layer.0.intermediate",
    "scores-scaled-by-hidden": "encoder.layer.0.attention.self.scores",
    "mask-ignored": "encoder.layer.0.attention.self.scores",
    "value-from-key": "encoder.layer.0.attention.self.value",
    "lm-bias-doubled": "lm_head",
    "gelu-without-factor": "encoder.layer.0.intermediate",
}
"""Mistakes for the first port, all seen in real projects, and the first value that each makes wrong."""

EARLY = {
    "positions-from-0": "embeddings.position_ids",
    "positions-from-1": "embeddings.position_ids",
    "token-types-missing": "embeddings.sum",
    "bias-missing-embedding-norm": "embeddings.LayerNorm",
}
"""Mistakes of the embeddings, for the second port."""

LATER = {
    "bias-missing-key": "encoder.layer.0.attention.self.key",
    "softmax-over-heads": "encoder.layer.0.attention.self.probs",
    "gelu-quick": "encoder.layer.0.intermediate",
    "bias-missing-output": "encoder.layer.0.output.dense",
    "lm-bias-missing": "lm_head",
}
"""Mistakes after the embeddings, which those of the embeddings would hide if each step were not judged alone."""


@dataclass(frozen=True)
class Unknown:
    """A mistake that is not in the catalogue: in one layer, `value` is computed as formula(source, parameters)."""

    value: str
    source: str
    formula: Callable[[Array, Here], Array]
    explanation: str


def _base_2(scores: Array, here: Here) -> Array:
    powers = 2.0 ** (scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _one_more(scores: Array, here: Here) -> Array:
    largest = scores.max(-1, keepdims=True).clip(0)  # the 1 is e⁰: a further score of 0
    powers = numpy.exp(scores - largest)
    return powers / (numpy.exp(-largest) + powers.sum(-1, keepdims=True))


def _silu(x: Array, here: Here) -> Array:
    return activations.ACTIVATIONS["silu"](x)


def _misspelt(x: Array, here: Here) -> Array:
    return x / 2 * (1 + numpy.tanh((2 / numpy.pi) ** 0.5 * (x + 0.44715 * x**3)))


def _not_centred(x: Array, here: Here) -> Array:
    scale = numpy.sqrt((x * x).mean(-1, keepdims=True) + here.model.config.layer_norm_eps)
    return x / scale * here.module.weight + here.module.bias


UNKNOWN = (
    Unknown(
        "attention.self.probs",
        "attention.self.scores",
        _base_2,
        "the softmax has powers of 2 instead of e, as in a fast kernel that forgets the factor log₂ e",
    ),
    Unknown(
        "attention.self.probs",
        "attention.self.scores",
        _one_more,
        "the softmax has a 1 more in its sum, so that a head may attend to nothing: some later models want it so",
    ),
    Unknown("intermediate", "intermediate.dense", _silu, "the activation is SiLU, x·σ(x), which later models have"),
    Unknown(
        "intermediate",
        "intermediate.dense",
        _misspelt,
        "the tanh approximation of GELU has the constant 0.44715 instead of 0.044715",
    ),
    Unknown(
        "attention.output.LayerNorm",
        "attention.output.sum",
        _not_centred,
        "the mean is not subtracted, as in the RMS norm of later models",
    ),
)

# --- ports ----------------------------------------------------------------------------------------------------------


def values_with(model: Model, inputs: Mapping[str, Any], changes: Sequence[Change]) -> Values:
    """All named values, in float32, of the model with these mistakes."""
    setting = Setting(model, inputs)
    for change in changes:
        setting = change.applied(setting) or setting
    canonical = model.config.family.canonical_name
    made: Values = {}

    def edit(name: str, value: Array) -> Array:
        made[name] = numpy.asarray(setting.edited(canonical(name), value, made)).astype(value.dtype)
        return made[name]

    computed = run(setting.model, setting.inputs, edit)
    return computed | made


def mistakes(model: Model) -> dict[str, Mistake]:
    """The catalogue, by name."""
    return {one.name: one for one in catalogue(model)}


@dataclass(frozen=True)
class Ports:
    """The values of three ports, by name, the inputs that they were given, and the check of what the reader finds."""

    inputs: Mapping[str, numpy.ndarray]
    first: Values
    second: Values
    third: Values
    check: Checks

    def __repr__(self) -> str:
        return f"three ports, with {len(self.first)} values each"


def ports(name: str) -> Ports:
    """Return the three ports of a reader. The same name gives the same mistakes, on every machine."""
    return made_of(*chosen(name))


Known = tuple[str, str]
"""The name of a mistake of the catalogue, and the first value that it makes wrong."""


def chosen(name: str) -> tuple[list[Known], list[Known], Unknown, int]:
    """Mistakes of a reader's first and second port, that of the third port, and its layer."""
    digest = hashlib.sha256(name.strip().casefold().encode()).digest()

    def choice(place: int, of: Sequence[Any]) -> Any:
        return of[digest[place] % len(of)]

    first, early, later = (choice(i, list(table.items())) for i, table in enumerate((SEEN, EARLY, LATER)))
    layer = choice(4, range(1, load().config.num_hidden_layers - 1))
    return [first], [early, later], choice(3, UNKNOWN), layer


def made_of(first: Sequence[Known], second: Sequence[Known], unknown: Unknown, layer: int) -> Ports:
    """The ports with these mistakes, of which the unknown one is in one layer."""
    model = load()
    inputs = model.tokenize(list(TEXTS))
    value, source = (f"encoder.layer.{layer}.{part}" for part in (unknown.value, unknown.source))
    odd = Change(values={value.replace(".", r"\."): lambda _, here: unknown.formula(here.seen[source], here)})
    known = mistakes(model)
    planted = ([known[name].ways[0] for name, _ in first], [known[name].ways[0] for name, _ in second], [odd])
    one, two, three = (values_with(model, inputs, changes) for changes in planted)

    def of_first(answer: Any) -> str:
        return _judge(model, inputs, one, [_as_pair(answer)], first)

    def of_second(answer: Any) -> str:
        if not isinstance(answer, list | tuple) or len(answer) != 2:
            raise NotYet("give two pairs, one for each mistake: [(value, mistake), (value, mistake)]")
        return _judge(model, inputs, two, [_as_pair(pair) for pair in answer], second)

    def of_third(answer: Any) -> str:
        if not isinstance(answer, list | tuple) or len(answer) != 2:
            raise NotYet("give a pair: the name of the wrong value, and your function")
        _judge_value(model, inputs, three, answer[0], [value])
        right = trace(model, **inputs, edit={source: lambda _: three[source]})[value]
        asked = {"that is what the reference makes: write what the port makes, which is wrong": right}
        others = _other_mistakes(unknown, three[source], Here(value, three, model, inputs))
        result = result_of(answer[1], three[source])
        _judge_overflow(result)
        expect(result, three[value], asked | others, "the result of your function")
        return unknown.explanation

    return Ports(inputs, one, two, three, Checks(of_first, of_second, of_third))


# --- answers --------------------------------------------------------------------------------------------------------


def _as_pair(answer: Any) -> Known:
    """The value and the mistake of an answer."""
    if isinstance(answer, list | tuple) and len(answer) == 2 and all(isinstance(part, str) for part in answer):
        return answer[1], answer[0]
    raise NotYet('give the name of a value and of a mistake, such as ("embeddings.LayerNorm", "eps-1e-12")')


def _judge(
    model: Model, inputs: Mapping[str, Any], values: Values, given: Sequence[Known], right: Sequence[Known]
) -> str:
    """Explain the mistakes if the answer is right. Raises NotYet for the first wrong part of it."""
    known, wanted = mistakes(model), {value: name for name, value in right}
    for name, value in given:
        if value in known and name in values:
            raise NotYet(f"give the value first, and then the mistake: ({name!r}, {value!r})")
        _judge_value(model, inputs, values, value, wanted)
        _judge_name(name, value, wanted[value], known)
    if len(set(given)) < len(right):
        raise NotYet("that is one mistake, given twice: the port makes another one too")
    return " ".join(f"{known[name].explanation} {known[name].seen_in}".strip() for name, _ in right)


def _judge_name(name: str, value: str, wanted: str, known: Mapping[str, Mistake]) -> None:
    """Raise NotYet if the mistake that was given is not the one that makes the value wrong."""
    if name not in known:
        raise NotYet(f"the catalogue has no mistake {name!r}{_meant(name, known) or ': docs/mistakes.md lists them'}")
    if name != wanted:
        raise NotYet(
            f"{value} is where the port goes wrong, but not by {name}: {known[name].explanation} That would give other "
            "numbers"
        )


def _meant(given: str, names: Iterable[str]) -> str:
    """A question for the names that look like the given one, or nothing."""
    close = difflib.get_close_matches(given, names, n=3)
    return f": did you mean {' or '.join(close)}?" if close else ""


def _judge_value(model: Model, inputs: Mapping[str, Any], values: Values, given: Any, right: Collection[str]) -> None:
    """Raise NotYet if no mistake begins at the given value, with the oracle's verdict on it."""
    if not isinstance(given, str):
        raise NotYet(f"the name of a value is a string, such as 'embeddings.LayerNorm', not {type(given).__name__}")
    if given not in values:
        raise NotYet(f"the port has no value {given!r}{_meant(given, values)}")
    if given not in right:
        verdicts = {row.name: row.verdict for row in compare(trace(model, **inputs), values).rows}
        raise NotYet(f"{given} {VERDICTS.get(verdicts.get(given, ''), 'is right in this port, up to rounding')}")


VERDICTS = {
    "wrong": "is wrong, but it is not the first that is wrong for this reason: look before it",
    "follows": "is off, but its own step is right: it follows from a wrong value before it",
}
"""The end of the sentence for a value at which no mistake begins, by the oracle's verdict."""


def _other_mistakes(planted: Unknown, source: Array, here: Here) -> dict[str, Array]:
    """The results of the other unknown mistakes in this step, each under its sentence."""
    return {
        f"that is another mistake than the port's: {other.explanation}": other.formula(source, here)
        for other in UNKNOWN
        if other.value == planted.value and other is not planted
    }


def _judge_overflow(result: Any) -> None:
    """Raise NotYet if an array is not finite: for a softmax, the likely reason is the size of its powers."""
    if isinstance(result, numpy.ndarray) and result.dtype.kind == "f" and not numpy.isfinite(result).all():
        raise NotYet(
            "your function makes values that are not finite: if it takes e to the power of scores, subtract each row's "
            "largest score first, or compute in float64"
        )
