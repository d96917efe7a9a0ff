"""API keys and signed photo URLs."""
