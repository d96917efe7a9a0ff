"""Results of benchmarks, and the document that they are written to."""
