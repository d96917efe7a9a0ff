"""The Wrong category and Duplicates pages."""
