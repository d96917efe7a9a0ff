"""What goes into the vector index. Pure: names and numbers for Milvus, no client."""

from catalog.settings import IndexSettings

# Lite takes any other name as well, searches by brute force, and fails at the next load.
LITE_INDEXES = frozenset({"FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW"})


def build_params(index: IndexSettings) -> dict[str, int]:
    """Parameters the index is built with, in Milvus' names."""
    if index.type == "HNSW":
        return {"M": index.hnsw_m, "efConstruction": index.ef_construction}
    if index.type == "IVF_PQ":
        return {"nlist": index.nlist, "m": index.pq_m, "nbits": 8}
    return {"nlist": index.nlist} if index.type.startswith("IVF") else {}
