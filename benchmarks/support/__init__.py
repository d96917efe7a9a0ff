"""Exports and servers that benchmarks need."""
