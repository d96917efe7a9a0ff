"""A backup: everything that makes up a catalogue, in a folder that restores into any Milvus, Lite or a server.

manifest.json            a description of the contents, and the sha256 of every other file
photos/<number>.parquet  records and embeddings of the live collection
model/                   the model folder that made the embeddings
verdicts.jsonl           decisions of the staff
uploads/                 photos that came through the API
ledger/, insights/, golden.parquet
"""
