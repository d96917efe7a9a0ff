"""Exports: the folders or files that listings come from, read row by row."""
