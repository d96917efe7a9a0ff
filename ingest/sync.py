"""`--sync`: remove the photos that no row of the export names any more."""

from dataclasses import dataclass

from catalog.runs.ledger import Line, Run
from catalog.runs.report import Report
from catalog.store.collection import PhotoCollection

_LINES = 1_000


@dataclass(frozen=True)
class StalePhotos:
    """Stored photos (photo id, listing id) that the export does not name, of `stored` photos.

    `malformed` counts rows that could not be parsed: nobody can tell which photos they name.
    """

    photos: list[tuple[str, str]]
    stored: int
    malformed: int

    @property
    def share(self) -> float:
        """Share of the collection that would be removed, 0 to 1."""
        return len(self.photos) / self.stored if self.stored else 0.0

    def refusal(self, max_removed: float) -> str:
        """Why nothing is removed; '' if the photos may be removed."""
        if self.photos and self.malformed:
            return (
                f"--sync removed nothing: {self.malformed:,} rows of the export are malformed, so their photos cannot "
                "be told from those that were removed."
            )
        if self.share > max_removed:
            return (
                f"--sync removed nothing: {len(self.photos):,} of {self.stored:,} photos ({self.share:.1%}) of "
                f"{self.listings:,} listings would be removed, more than --max-removed {max_removed:.1%}."
            )
        return ""

    @property
    def listings(self) -> int:
        """How many listings these photos belong to."""
        return len({listing_id for _, listing_id in self.photos})


def find_stale(run: Run, collection: PhotoCollection) -> StalePhotos:
    """Find the stored photos that no row of a run names. A rejected row still names its photo, so it is kept."""
    named: set[str] = set()
    malformed = stored = 0
    for batch in run.batches():
        named.update(batch.column("photo_id").to_pylist())
        malformed += batch.column("reason").to_pylist().count("malformed_row")
    stale = []
    for photo_id, listing_id in collection.reader.ids():
        stored += 1
        if photo_id not in named:
            stale.append((photo_id, listing_id))
    return StalePhotos(sorted(stale), stored, malformed)


def remove_stale(stale: StalePhotos, run: Run, collection: PhotoCollection | None, report: Report) -> None:
    """Remove these photos from Milvus, then add them to the ledger. `collection` is None in a dry run."""
    for start in range(0, len(stale.photos), _LINES):
        part = stale.photos[start : start + _LINES]
        if collection is not None:
            collection.writer.remove([photo_id for photo_id, _ in part])
        run.add([Line("", photo_id, listing_id, "removed") for photo_id, listing_id in part])
        report.add(removed=len(part))
