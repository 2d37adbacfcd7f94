"""The command `minroberta`: it parses arguments, calls the package, and prints the results.

The modules in import order: `console` (tables, JSON lines, one-line errors and warnings), `options` (options that
several commands share, and loading of the model that they name), `texts` (texts from arguments, files and standard
input, and running a task on them), `vectors` (files of vectors), then the commands: `tasks`, `checkpoints` (info,
convert, verify), `look` (trace, bench), `bench` (the measurements), `golden` (golden files); and `app`, the group of
all commands.

Nothing is computed here. If only one command needs a module that is slow to import, the command imports the module.
"""

from .app import main

__all__ = ["main"]
