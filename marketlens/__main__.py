"""Run the command as `python -m marketlens`."""

from marketlens.cli import main

main()
