"""Ingest runs: the report, the ledger of rows, and the claim that keeps a second run out."""
