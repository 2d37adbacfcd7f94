"""The oracle: where a port of RoBERTa first goes wrong, and why.

report = compare(trace(model, ids), read("port.npz"))       # where: report.first_bad, print(report)
diagnose(model, {"input_ids": ids}, read("port.npz"))       # why, if it is a mistake that is known by name
assert_matches(record(port, input_ids=ids), trace(model, ids))          # the same in a test
"""

from . import golden
from .asserts import Mismatch, assert_matches
from .compare import Report, Row, compare
from .diagnose import Finding, diagnose
from .gradients import reference_gradients
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
