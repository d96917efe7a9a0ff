"""Promotion: the conditions for making a build live. The command and the API both call it."""

from catalog.errors import BuildRefused
from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from index_builds.difference import compare


def promote(photos: PhotoCollection, build: CollectionInfo, *, force: bool = False) -> None:
    """Make the build live, in one step. Raises BuildRefused as `require_promotable` does."""
    require_promotable(photos, build, force=force)
    photos.builds.promote(build)


def require_promotable(photos: PhotoCollection, build: CollectionInfo, *, force: bool = False) -> None:
    """Raise BuildRefused if the build is incomplete or, without `force`, does not hold exactly the live photos."""
    photos.builds.require_promotable(build)
    if not force:
        require_same(photos, build)


def require_same(photos: PhotoCollection, build: CollectionInfo) -> None:
    """Raise BuildRefused unless the build holds exactly the photos of the live collection."""
    live = photos.at(photos.builds.live())
    difference = compare(live, photos.at(build))
    if difference.total:
        raise BuildRefused(
            f"{build.name} differs from the live collection in {difference.total:,} of {live.reader.count():,} photos: "
            f"{difference}.",
            hint="Bring it up to date: marketlens index build --resume. --force promotes it as it is.",
        )
