"""The command `minroberta`; no logic of its own."""

from .app import main

__all__ = ["main"]
