"""The pure part of a search: search plans, and photos grouped into pages of hits."""
