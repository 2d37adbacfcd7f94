"""The oracle: where a port of RoBERTa first goes wrong, and why."""

from .compare import Report, Row, compare
from .values import read, record

__all__ = ["Report", "Row", "compare", "read", "record"]
