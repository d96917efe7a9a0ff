"""Find an export and bring its tables to this machine; photos stay where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from catalog.errors import ExportUnreadable, PhotoUnusable
from catalog.photo_files.addresses import PROTOCOLS, folder_of, host_of, is_url, join_below, name_of
from catalog.photo_files.files import copy_file, members

TABLES = ("Products.csv", "Images.csv")
MANIFESTS = (".csv", ".parquet", ".jsonl")

_ARCHIVES = (".zip", ".tar")
_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_LAYOUT = (
    "An export folder holds Products.csv, Images.csv and images/<photo id>.jpg. "
    "For another layout write a manifest, see docs/exports.md."
)
_FORMS = "Give an export folder, a .zip or .tar of one, or a manifest (.csv, .parquet or .jsonl)."
_S3 = (
    " The environment gives AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a store other than Amazon's, "
    "AWS_ENDPOINT_URL."
)


@dataclass(frozen=True)
class Source:
    """Photo paths start at `root`; `tables` are Products.csv and Images.csv, or one manifest, on this machine."""

    root: str
    tables: tuple[Path, ...]
    copies: TemporaryDirectory[str] | None = None  # holds the copied tables; deleted together with this object


def find_source(location: str) -> Source:
    """Determine the kind of export at `location`, without reading its tables. Raises ExportUnreadable."""
    local = Path(location) if "://" not in location else None
    if local is None and not is_url(location):
        raise ExportUnreadable(
            f"{location} is not a URL of {', '.join(sorted(PROTOCOLS))}.", hint="For a local file, give its path."
        )
    if local and not local.exists():
        raise ExportUnreadable(f"There is no export at {location}.", hint=_FORMS)
    if local and local.is_dir():
        _require([name for name in (*TABLES, "images") if not (local / name).exists()], location)
        return Source(location, tuple(local / name for name in TABLES))
    name = name_of(location).lower()
    if name.endswith(_COMPRESSED_TARS):
        raise ExportUnreadable(
            f"{location} is a compressed tar, which can only be read from its start to its end.",
            hint="Decompress it to a .tar, or use a .zip.",
        )
    if name.endswith(_ARCHIVES):
        return _archive_source(name[-3:], str(local.resolve()) if local else location)
    if name.endswith(MANIFESTS):
        return Source(folder_of(location), (local,)) if local else _copy_tables(folder_of(location), [location])
    if local:
        raise ExportUnreadable(f"{location} is neither an export folder nor a manifest.", hint=_FORMS)
    return _copy_tables(location, [join_below(location, name) for name in TABLES])


def _archive_source(kind: str, archive: str) -> Source:
    """Find the export folder in an archive: at its top, or in the only top folder that is an export."""
    if "::" in archive:
        raise ExportUnreadable(f"{archive} has '::' in its path, which is a separator.", hint="Rename it.")
    try:
        names = members(kind, archive)
    except PhotoUnusable as error:
        raise ExportUnreadable(error.message, hint=_access_hint(archive)) from error
    tops = {name.removesuffix(TABLES[0]) for name in names if name.split("/")[-1] == TABLES[0] and name.count("/") <= 1}
    if len(tops) > 1 and "" not in tops:
        raise ExportUnreadable(
            f"{archive} contains several exports: {', '.join(sorted(tops))}", hint="Put each into its own archive."
        )
    top = "" if "" in tops else min(tops, default="")
    missing = [name for name in TABLES if top + name not in names]
    if not any(name.startswith(f"{top}images/") for name in names):
        missing.append("images")
    _require(missing, archive)
    root = f"{kind}://{top.rstrip('/')}::{archive}"
    return _copy_tables(root, [join_below(root, name) for name in TABLES])


def _copy_tables(root: str, uris: Sequence[str]) -> Source:
    """Copy the tables: a run may take hours, and no host keeps a connection open that long."""
    copies = TemporaryDirectory(prefix="marketlens-")
    tables = []
    for uri in uris:
        # In the URI of an archive's member, the member's name comes before the archive's name.
        tables.append(Path(copies.name) / name_of(uri.rpartition("::")[0] or uri))
        try:
            copy_file(uri, tables[-1])
        except PhotoUnusable as error:
            hint = _LAYOUT if error.reason == "missing" and len(uris) > 1 else _access_hint(uri)
            raise ExportUnreadable(error.message, hint=hint) from error
    return Source(root, tuple(tables), copies)


def _access_hint(location: str) -> str:
    if not host_of(location):
        return "Is the file complete? Copy it again."
    return "Is the address right, and does the host answer?" + (_S3 if host_of(location).startswith("s3:") else "")


def _require(missing: Sequence[str], location: str) -> None:
    if missing:
        raise ExportUnreadable(f"The export folder {location} has no {' and no '.join(missing)}.", hint=_LAYOUT)
