"""A backup: all that a catalogue is made of, in a folder that any Milvus, Lite or a server, can be filled from.

manifest.json            what it holds, and the sha256 of every other file
photos/<number>.parquet  records and embeddings of the live collection
model/                   the model folder that made the embeddings
verdicts.jsonl           what staff decided
uploads/                 photos that came through the API
ledger/, insights/, golden.parquet
"""
