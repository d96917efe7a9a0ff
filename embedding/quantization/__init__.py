"""int8 weights on disk and int8 arithmetic."""
