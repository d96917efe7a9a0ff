"""Faults made on purpose, and a soak: `make test-faults`, `make soak`. They write docs/reliability.md.

Not among the tests of `make test`: they take minutes, and some need root.
"""
