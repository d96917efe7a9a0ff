"""A search, from the body of the request to the response."""
