"""The batch command: it embeds the photos of an export and writes them to Milvus."""
