"""Index builds: fill a new collection beside the live one, check it and promote it."""
