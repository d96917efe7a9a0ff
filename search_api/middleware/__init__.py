"""What every request passes: limits, authentication, the request log."""
