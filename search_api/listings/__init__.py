"""Changes to single listings, and the files of their uploaded photos."""
