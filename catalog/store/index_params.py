"""Parameters of the vector index, as Milvus names them. Pure: no client."""

from catalog.settings import IndexSettings

# Lite also accepts any other name, but then searches by brute force and fails at the next load.
LITE_INDEXES = frozenset({"FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW"})


def build_params(index: IndexSettings) -> dict[str, int]:
    """Return the parameters to build the index with."""
    if index.type == "HNSW":
        return {"M": index.hnsw_m, "efConstruction": index.ef_construction}
    if index.type == "IVF_PQ":
        return {"nlist": index.nlist, "m": index.pq_m, "nbits": 8}
    return {"nlist": index.nlist} if index.type.startswith("IVF") else {}
