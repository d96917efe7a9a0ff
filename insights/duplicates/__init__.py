"""Duplicates: links between photos of different listings, and groups of linked listings."""
