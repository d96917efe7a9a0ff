"""Embeddings: photo decoding, the model, the embedder."""
