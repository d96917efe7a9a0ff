"""`marketlens embed` writes embeddings to a Parquet table."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from catalog.errors import OutputFailed
from catalog.exports.export import open_export
from catalog.runs.report import Report
from catalog.settings import IngestSettings
from embedding.embedder import Embedder
from embedding.photos import open_photo
from ingest.vector_export import embed_export
from tests.support.data.exports import MakeExport
from tests.support.data.models import DIM


def test_one_row_per_usable_photo(make_export: MakeExport, embedder: Embedder, tmp_path: Path) -> None:
    """A row has ids, category and the embedding that a search would use; a bad photo is only in the report."""
    export = make_export(listings=4, photos_each=2)
    (export / "images" / "l0-1.jpg").write_bytes(b"")
    report = Report(export=str(export))
    out = tmp_path / "deep" / "vectors.parquet"
    embed_export(open_export(export), embedder, out, IngestSettings(batch_size=3), report, lambda _: None)
    table = pq.read_table(out)
    assert table.column_names == ["photo_id", "listing_id", "category", "embedding"]
    rows = {row["photo_id"]: row for row in table.to_pylist()}
    assert (report.read, report.written, report.rejected, len(rows)) == (8, 7, 1, 7)
    assert (rows["l2-1"]["listing_id"], rows["l2-1"]["category"]) == ("l2", "Home")
    image = open_photo((export / "images" / "l2-1.jpg").read_bytes())
    embeddings = np.asarray(rows["l2-1"]["embedding"], np.float32)
    assert embeddings.shape == (DIM,)
    assert np.allclose(embeddings, embedder.embed([image])[0])


def test_no_half_written_file(make_export: MakeExport, embedder: Embedder, tmp_path: Path) -> None:
    """If the file cannot be written, the error names it, and no partial file remains."""
    target = tmp_path / "taken"
    target.mkdir()
    report = Report(export="x")
    with pytest.raises(OutputFailed, match="taken"):
        embed_export(open_export(make_export()), embedder, target, IngestSettings(), report, lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "taken"]
