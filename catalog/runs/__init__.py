"""Ingest runs: the report, the ledger of rows, and the claim that prevents a second run at the same time."""
