"""Helpers shared by tests; no module in here is a test."""
