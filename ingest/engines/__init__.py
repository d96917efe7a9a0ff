"""Where the stages of an ingest run: this machine, or a Ray cluster."""
