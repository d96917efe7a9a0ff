"""API keys and signed photo addresses."""
