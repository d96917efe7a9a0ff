"""The commands and their options, one module per group of commands."""
