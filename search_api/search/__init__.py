"""A search, from the request body to the response."""
