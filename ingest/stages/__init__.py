"""The stages of an ingest: look-up, reading, decoding, embedding, writing."""
