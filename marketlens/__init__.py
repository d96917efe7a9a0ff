"""The `marketlens` command."""
