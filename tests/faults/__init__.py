"""Fault injection and a soak test: `make test-faults`, `make soak`. They write docs/reliability.md.

`make test` does not run them: they take minutes, and some need root.
"""
