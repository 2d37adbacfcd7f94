"""An oracle for ports of RoBERTa: it finds where a port first goes wrong, and why.

report = compare(trace(model, ids), read("port.npz"))                   # where: report.first_bad, print(report)
diagnose(model, {"input_ids": ids}, read("port.npz"))                   # why, if it is a known mistake
assert_matches(record(port, **inputs), trace(model, **inputs))          # the same in a test
diagnose_gradients(model, {"input_ids": ids}, gradients, labels)        # why, of a backward pass

This package contains everything that judges other implementations, but no formulas, families or file formats. The model
does not depend on it. Each module imports only from modules above it in this list, and none imports
`minroberta.testing` itself:

pooling              sentence embeddings as a value of the reference
runs                 runs of the reference: exact, or with random rounding errors; the noise of every value
layout               the layouts that a port's value may have
values               a port's values, from files, under minroberta's names
recording            the outputs of a live model's modules, by name
recorders            the values of a live model in another framework
result               the result of a comparison as data: `Row`, `Finding`, `Result`
sentences            the sentences and short numbers that describe a result, wherever it is shown
table                a result as a table for a terminal
picture              the error by depth, as SVG
page                 a result as HTML
report               `Report`: a result that prints as a table, and converts to HTML and JSON
changes              changes of the reference that make a mistake
mistakes             the catalogue of known mistakes
calls                inputs that show what depends on padding, masks and ids; what a model makes of its inputs
audit                what inputs, values and weights can show
compare              the comparison, step by step
candidate            a port's values, judged by the reference with some mistakes made
partly               mistakes of some layers, and permutations of layers, heads and rows
diagnose             the search for mistakes that explain a port's errors
gradients            gradients of the loss in float64, and backward passes with mistakes
gradient_mistakes    the catalogue of known mistakes of the backward pass
diagnose_gradients   the search for mistakes that explain a port's gradients
asserts              `assert_matches`, for tests
cases                the small models and calls of the golden suite
portable             an array library with bit-identical results on every machine
golden               golden files and the suite
plugin               the fixture `roberta_oracle`; pytest's hooks are in `minroberta_pytest`, outside the package
"""

from . import golden
from .asserts import Mismatch, assert_matches
from .audit import Audit, audit
from .calls import telling_inputs as inputs
from .compare import compare
from .diagnose import diagnose
from .diagnose_gradients import diagnose_gradients
from .gradients import reference_gradients
from .recorders import record
from .report import Report
from .result import Finding, Findings, Row
from .values import read

__all__ = [
    "Audit",
    "Finding",
    "Findings",
    "Mismatch",
    "Report",
    "Row",
    "assert_matches",
    "audit",
    "compare",
    "diagnose",
    "diagnose_gradients",
    "golden",
    "inputs",
    "read",
    "record",
    "reference_gradients",
]
