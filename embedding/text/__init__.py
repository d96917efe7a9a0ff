"""The text tower: titles and queries in words -> embeddings that are compared with those of photos."""
