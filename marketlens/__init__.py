"""The front door: the `marketlens` command."""
