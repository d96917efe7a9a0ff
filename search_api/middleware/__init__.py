"""The middleware of every request: limits, authentication, the request log."""
