"""`Checks`, which a notebook calls as `check(n, answer)`; how an answer is judged, by its values or by the oracle."""

import copy
import reprlib
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from ..backend.arrays import to_host
from ..errors import InputError
from ..loading import Model
from ..testing import compare, diagnose
from ..trace import trace

SHARE = 1e-4
"""The largest difference that counts as rounding, as a share of the largest number: float32 keeps seven digits."""

LIMIT = 10.0
"""Number of seconds that the oracle may search for a known mistake."""


class NotYet(Exception):
    """A sentence that says what is wrong with an answer."""


class Checks:
    """The exercises of a notebook: a call prints "right", or a sentence that says what is wrong.

    exercises: a function for each exercise, in order. It takes the answer, raises NotYet if that is wrong, and returns
    None, or a remark to be printed after "right".
    """

    def __init__(self, *exercises: Callable[[Any], str | None]) -> None:
        self.exercises = exercises

    def __call__(self, number: int, answer: Any) -> None:
        """Judge the answer to an exercise, counted from 1. None: not answered yet."""
        if not 1 <= number <= len(self.exercises):
            raise InputError(f"unknown exercise {number}: this notebook has exercises 1 to {len(self.exercises)}")
        if answer is None:
            print(f"exercise {number} is not answered yet")
            return
        try:
            remark = self.exercises[number - 1](answer)
        except NotYet as wrong:
            print(f"not yet: {wrong}")
        else:
            print(f"right: {remark}" if remark else "right")


def result_of(function: Any, *arguments: Any) -> Any:
    """Result of the reader's function for copies of these arguments. Raises NotYet for an error in it, and for None."""
    if not callable(function):
        raise NotYet(f"a function is asked for, not {type(function).__name__}")
    given = copy.deepcopy(arguments)
    try:
        result = function(*given)
    except Exception as error:
        raise NotYet(_failure(function, arguments, error)) from error
    if result is None:
        raise NotYet("your function returns None: is it written, and does it end with return?")
    return result


def _failure(function: Any, arguments: tuple[Any, ...], error: Exception) -> str:
    """A sentence about an error in the reader's function: the arguments, the reader's line, and the error."""
    given = ", ".join(map(_shown, arguments))
    words = " ".join(str(error).split())
    return f"your function raises {type(error).__name__}{_line(function, error)} if called with {given}: {words}"


def _shown(argument: Any) -> str:
    """An argument in a few words: the shape of an array, and the start of a long text or list."""
    if isinstance(argument, numpy.ndarray):
        return f"an array of shape {argument.shape}"
    if isinstance(argument, int | float | str):
        return reprlib.repr(argument)
    if isinstance(argument, list):
        return f"a list of {len(argument)}"
    return "a function" if callable(argument) else f"a {type(argument).__name__}"


def _line(function: Any, error: Exception) -> str:
    """The last line in the file or cell of the reader's function that an error came through, or nothing."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" in line {lines[-1].lineno}, `{lines[-1].line}`," if lines else ""


def numbers_of(answer: Any, what: str = "the result") -> numpy.ndarray:
    """The answer as an array of numbers of any shape, finite or not. what: a noun in the singular."""
    try:
        found = numpy.asarray(to_host(answer))
    except (TypeError, ValueError):
        raise NotYet(f"{what} is not an array of numbers: do all its rows have one length?") from None
    if found.dtype.kind not in "biuf":
        raise NotYet(f"{what} is not an array of numbers, but of {found.dtype}")
    return found


def array_of(answer: Any, shape: tuple[int, ...], what: str = "the result") -> numpy.ndarray:
    """The answer as an array of finite numbers of this shape. what: a noun in the singular."""
    found = numbers_of(answer, what)
    if found.shape != shape:
        raise NotYet(f"{what} has shape {found.shape}, not {shape}")
    if not numpy.isfinite(found).all():
        raise NotYet(f"{what} has values that are not finite")
    return found


def _distance(found: numpy.ndarray, right: numpy.ndarray) -> numpy.ndarray:
    """|found - right|, for booleans and unsigned integers too."""
    return numpy.abs(numpy.subtract(found, right, dtype=float))


def same(found: numpy.ndarray, right: numpy.ndarray) -> bool:
    """True if two arrays of one shape are equal but for rounding in float32."""
    return bool(_distance(found, right).max(initial=0) <= SHARE * numpy.abs(right).max(initial=0))


def expect(answer: Any, right: Any, known: Mapping[str, Any] | None = None, what: str = "the result") -> None:
    """Raise NotYet if the answer is not the right array, but for rounding.

    known: the results of likely mistakes, each under the sentence to say if the answer equals it. what: a noun in the
    singular.
    """
    right = numpy.asarray(to_host(right))
    found = array_of(answer, right.shape, what)
    if same(found, right):
        return
    for sentence, wrong in (known or {}).items():
        if found.shape == numpy.shape(wrong) and same(found, numpy.asarray(to_host(wrong))):
            raise NotYet(sentence)
    place = numpy.unravel_index(_distance(found, right).argmax(), right.shape)
    where = f" at {tuple(map(int, place))}" if place else ""
    raise NotYet(f"{what} is {found[place]:.4g}{where}, where {right[place]:.4g} is right")


def expect_values(model: Model, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise NotYet if the oracle finds one of these named values wrong: which is the first, and why if it is known.

    values: values that the reader computed, under the names of the trace. Each is judged by the values before it.
    """
    report = compare(trace(model, **inputs), values)
    if report.ok:
        return
    found = diagnose(model, inputs, values, limit=LIMIT)
    reason = f". It looks like the known mistake {found[0]}" if found else ""
    raise NotYet(f"the first wrong value is {report.first_bad}{reason}")
