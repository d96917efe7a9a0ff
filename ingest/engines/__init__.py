"""Engines: they run the stages of an ingest on this machine or on a Ray cluster."""
