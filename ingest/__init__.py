"""The batch command: an export goes in, photo records come out."""
