"""What is pure in a search: filters, how far to look, and photos grouped into pages of hits."""
