"""Run the `minroberta` command as `python -m minroberta`."""

from .cli.app import main

main()
