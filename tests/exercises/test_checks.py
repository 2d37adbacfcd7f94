"""What every check says of a function that raises an error."""

import numpy
import pytest

from minroberta import ops
from minroberta.exercises import attention, positions, training
from minroberta.exercises.checks import NotYet, result_of


def raising(x, flag):
    return x[99]


def raising_inside(x, flag):
    return ops.linear(x, numpy.ones((9, 9)))


@pytest.mark.parametrize("function", [raising, raising_inside])
def test_an_error_is_one_sentence_with_the_shapes_and_the_readers_line(function):
    line = function.__code__.co_firstlineno + 1
    with pytest.raises(
        NotYet, match=rf"called with an array \(2, 3\) of float64, True, raises .*Error in line {line}: "
    ):
        result_of(function, numpy.ones((2, 3)), True)


def test_an_error_of_a_builtin_has_no_line():
    with pytest.raises(NotYet, match="raises TypeError: "):
        result_of(len, 3)


@pytest.mark.parametrize(
    ("check", "number", "answer"),
    [
        (attention.check, 1, lambda *given: ([[1], [1, 2]], 0, 0)),
        (training.check, 1, lambda *given: ([[1], [1, 2]], 0)),
        (positions.check, 3, [[1], [1, 2]]),
    ],
)
def test_a_list_of_unequal_rows_is_a_sentence(check, number, answer, capsys):
    check(number, answer)
    assert " is not an array of numbers: " in capsys.readouterr().out
