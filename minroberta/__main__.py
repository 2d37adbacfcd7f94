"""`python -m minroberta`: the command without its entry point."""

from .cli.app import main

main()
