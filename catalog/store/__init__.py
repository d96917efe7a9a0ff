"""The Milvus store: the connection, the builds of a catalogue, and the photos of a collection."""
