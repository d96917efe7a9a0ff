"""The REST API for apps."""
