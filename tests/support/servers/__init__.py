"""Servers for tests: Milvus, PostgreSQL, a website, the service itself, and a network that can be cut."""
