"""Write photos with their embeddings to Parquet and read them, batch by batch."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.listing import Embeddings, StoredPhoto
from catalog.store.records import FIELDS, from_row, to_row

FILE_ROWS = 100_000
BATCH_ROWS = 4_000
_NUMBERS = {"price": pa.float64(), "listed_at": pa.int64(), "ingested_at": pa.int64()}
# Encoded as dictionaries; values of other columns rarely repeat.
_REPEATED = ["category", "subcategory", "currency", "location"]

Batches = Iterable[tuple[list[StoredPhoto], Embeddings]]


def write_photos(folder: Path, batches: Batches, dim: int) -> Iterator[int]:
    """Write photos with their embeddings (n, dim) to `folder`; yield the size of each batch. Raises OSError."""
    fields = [(name, _NUMBERS.get(name, pa.string())) for name in FIELDS]
    schema = pa.schema([*fields, ("embedding", pa.list_(pa.float32(), dim))])
    folder.mkdir()
    number, rows = 0, FILE_ROWS
    with ExitStack() as file:
        for photos, embeddings in batches:
            if rows >= FILE_ROWS:
                file.close()
                path = folder / f"{number:05d}.parquet"
                writer = file.enter_context(
                    pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=_REPEATED)
                )
                number, rows = number + 1, 0
            columns = pa.Table.from_pylist([to_row(stored) for stored in photos], pa.schema(fields)).columns
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), dim)
            writer.write_table(pa.table([*columns, vectors], schema=schema))
            rows += len(photos)
            yield len(photos)


def read_photos(path: Path, dim: int) -> Iterator[tuple[list[StoredPhoto], Embeddings]]:
    """Read a file that `write_photos` wrote: photos with their embeddings (n, dim)."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            vectors = batch.column("embedding").flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
            yield [from_row(row) for row in batch.select(list(FIELDS)).to_pylist()], np.asarray(vectors, np.float32)
