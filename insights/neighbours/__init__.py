"""Nearest neighbours of every photo of a collection."""
