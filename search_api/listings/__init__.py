"""Changes of single listings, and the photos that come with them."""
