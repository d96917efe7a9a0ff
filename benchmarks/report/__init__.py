"""Benchmark results, and the document they are written to."""
