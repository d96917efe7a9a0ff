"""Reports as tables for the terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from catalog.listing import Rejected
from catalog.runs.report import Report
from catalog.text import make_quotable

SHOWN_REJECTED = 20
SHOWN_WARNINGS = 10


def render(report: Report) -> Group:
    """Show the counts, stages, rejected rows and warnings of a run."""
    state = "" if report.finished else f" ({report.state})"
    title = f"Ingest of {report.export}{state}: {report.seconds:.1f} s, {report.photos_per_second:.1f} photos/s"
    counts = Table(title=Text(title))
    for heading in ("read", "written", "updated", "unchanged", "rejected", "removed"):
        counts.add_column(heading, justify="right")
    numbers = (report.read, report.written, report.updated, report.unchanged, report.rejected, report.removed)
    counts.add_row(*(f"{n:,}" for n in numbers))
    counts.caption = "read = written + unchanged + rejected; updated: of those written, with the embedding kept"
    parts: list[Table | Text] = [counts]
    if report.stage_seconds:
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report.stage_seconds.items())
        parts.append(Text(f"Stages, seconds of all threads together: {stages}"))
    if report.idle_warning:
        parts.append(Text(report.idle_warning, style="yellow"))
    if report.rejected_rows:
        columns = {"row": "row", "photo": "photo_id", "reason": "reason", "detail": "detail"}
        rows, all_in = report.rejected_rows, "; all of them are in the ledger"
        parts.append(rejected_table("Rejected rows", columns, rows, report.rejected, all_in=all_in))
    if report.warnings:
        more = len(report.warnings) - SHOWN_WARNINGS
        lines = [*report.warnings[:SHOWN_WARNINGS], *([f"… and {more:,} more, see the report"] if more > 0 else [])]
        parts.append(Text("Warnings (the rows were used):\n  " + "\n  ".join(lines)))
    return Group(*parts)


def rejected_table(
    title: str, columns: Mapping[str, str], rows: Sequence[Rejected], total: int, *, all_in: str = ""
) -> Table:
    """Show the first rejected rows. `columns` maps headings to fields; `all_in` says where the other rows are."""
    table = Table(title=title)
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for row in rows[:SHOWN_REJECTED]:
        # Text of an export must not act as markup or as a terminal command.
        table.add_row(*(Text(make_quotable(getattr(row, field))) for field in columns.values()))
    if total > SHOWN_REJECTED:
        table.caption = f"the first {SHOWN_REJECTED} of {total:,}{all_in}"
    return table
