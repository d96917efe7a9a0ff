"""`python -m marketlens` is the command."""

from marketlens.cli import main

main()
