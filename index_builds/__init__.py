"""Index builds: filling a new collection beside the live one, checking it and promoting it."""
