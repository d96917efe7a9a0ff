"""Commands with sub-commands or options of their own."""
