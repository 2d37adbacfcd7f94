"""The command `minroberta`: it parses arguments, calls the package, and prints what comes back.

In import order: `console` (tables, lines of JSON, errors and warnings in a line), `options` (options that several
commands share, and the model that they name), `texts` (texts from arguments, files and standard input, and asking a
task about them), then the commands: `tasks`, `checkpoints` (info, convert, verify), `look` (trace, bench), `bench`
(the measurements), `golden` (golden files); and `app`, the group of all commands.

Nothing is computed here. What only one command needs and is slow to import is imported in that command.
"""

from .app import main

__all__ = ["main"]
