"""Exports: the folder or file that listings come from, read row by row."""
