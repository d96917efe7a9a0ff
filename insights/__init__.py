"""The analysis of the whole collection by `marketlens insights`. Imports catalog and embedding."""
