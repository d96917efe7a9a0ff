"""docs/scaling.md agrees with benchmarks/scaling.py."""

import io

from rich.console import Console

from benchmarks.scaling import RECORD_BYTES, Embedding, memory, nodes, show
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "scaling.md"


def test_the_document_has_the_computed_tables() -> None:
    """When a figure is measured again, the document changes as well."""
    printed = io.StringIO()
    show(Console(file=printed, width=160))
    document = DOCUMENT.read_text().splitlines()
    rows = [line for line in printed.getvalue().splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    assert [row for row in rows if row not in document] == []


def test_memory_of_a_flat_index() -> None:
    """Calculated by hand: 100 M photos of 512 floats, an id and a record each, on machines with 0.7 of 64 GB usable."""
    total = 100_000_000 * (4 * 512 + 8 + RECORD_BYTES)
    assert memory(100_000_000, "IVF_FLAT", Embedding(512)) == total
    assert nodes(total) == 6
