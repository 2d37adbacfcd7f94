"""The oracle: where a port of RoBERTa first goes wrong, and why.

report = compare(trace(model, ids), read("port.npz"))                   # where: report.first_bad, print(report)
diagnose(model, {"input_ids": ids}, read("port.npz"))                   # why, if it is a known mistake
assert_matches(record(port, **inputs), trace(model, **inputs))          # the same in a test

Here lives everything that judges other implementations. The model does not know of it: formulas, families and file
formats belong to other rooms. A file imports only from those above it in this list, and no file imports this one:

runs             runs of the reference: exact, with random rounding; the noise of every value
layout           the layouts in which a port may give a value
values           a port's values: from files, from a live module, and under our names
result           the result of a comparison as data: `Row`, `Finding`, `Result`
sentences        the words and short numbers of a result, the same wherever it is shown
table            a result in a terminal
picture          the error through the depth, as SVG
page             a result as HTML
report           `Report`: a result that shows itself
compare          the comparison, step by step
mistakes         the catalogue of known mistakes
diagnose         the search for mistakes that explain a port
asserts          `assert_matches`, for tests
cases            the small models and calls of the golden suite
portable         an array library with the same bits on every machine
golden           golden files and the suite
gradients        the loss's gradients, by JAX
plugin           the fixture `roberta_oracle`; its hooks are in `minroberta_pytest`, outside the package
"""

from . import golden
from .asserts import Mismatch, assert_matches
from .compare import compare
from .diagnose import diagnose
from .gradients import reference_gradients
from .report import Report
from .result import Finding, Row
from .values import read, record

__all__ = [
    "Finding",
    "Mismatch",
    "Report",
    "Row",
    "assert_matches",
    "compare",
    "diagnose",
    "golden",
    "read",
    "record",
    "reference_gradients",
]
