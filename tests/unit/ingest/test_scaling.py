"""docs/scaling.md says what its computation says."""

import io

from rich.console import Console

from benchmarks.scaling import RECORD_BYTES, Embedding, memory, nodes, show
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "scaling.md"


def test_the_tables_are_those_that_are_computed() -> None:
    """A figure that is measured anew changes the document as well."""
    printed = io.StringIO()
    show(Console(file=printed, width=160))
    document = DOCUMENT.read_text().splitlines()
    rows = [line for line in printed.getvalue().splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    assert [row for row in rows if row not in document] == []


def test_memory_of_a_flat_index() -> None:
    """By hand: 100 M photos of 512 floats, an id and a record each, on machines of 64 GB filled to 0.7."""
    total = 100_000_000 * (4 * 512 + 8 + RECORD_BYTES)
    assert memory(100_000_000, "IVF_FLAT", Embedding(512)) == total
    assert nodes(total) == 6
