"""The catalogue: listings, their photos, and where they come from and are stored."""
