"""What a vector means: decoding, the model, the embedder."""
