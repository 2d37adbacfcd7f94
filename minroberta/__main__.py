"""`python -m minroberta`: the command without its entry point."""

from .cli import main

main()
