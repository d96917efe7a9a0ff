"""What can go wrong, in the words of the domain. No HTTP, no exit codes: each edge has its own table for that."""

from typing import ClassVar


class MarketlensError(Exception):
    """Says what is wrong and where (`message`), and how to mend it (`hint`)."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ExportUnreadable(MarketlensError):
    """The export as a whole cannot be used. Single bad rows are `Rejected` instead."""

    code = "export_unreadable"


class PhotoUnusable(MarketlensError):
    """One photo cannot be read or decoded; `reason` is a short stable code such as `truncated`."""

    code = "photo_unusable"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class HostFailed(PhotoUnusable):
    """The host of a photo did not answer, or said that the trouble is its own: another try may go well."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("unreadable", message)
        self.retry_after = retry_after


class ModelMissing(MarketlensError):
    """There is no model folder where one was expected."""

    code = "model_missing"


class ModelBroken(MarketlensError):
    """A model folder is incomplete, damaged, or not what its fingerprint says."""

    code = "model_broken"


class ModelMismatch(MarketlensError):
    """The collection holds embeddings of another model: comparing would give nonsense."""

    code = "model_mismatch"


class StoreUnreachable(MarketlensError):
    """Milvus does not answer."""

    code = "store_unreachable"


class StoreLocked(MarketlensError):
    """The embedded database file is in use by another process."""

    code = "store_locked"


class StoreFailed(MarketlensError):
    """Milvus answered, but refused or failed."""

    code = "store_failed"


class IngestRunning(MarketlensError):
    """Another ingest writes to this catalogue."""

    code = "ingest_running"


class WorkersFailed(MarketlensError):
    """The cluster that does the work is away, or lost more than it can make good."""

    code = "workers_failed"


class CollectionReplaced(MarketlensError):
    """Another build was promoted while this one was written to."""

    code = "collection_replaced"


class BuildRefused(MarketlensError):
    """What was asked of a build would lose photos or searches."""

    code = "build_refused"


class CollectionMissing(MarketlensError):
    """Nothing has been ingested yet, or a build was dropped."""

    code = "collection_missing"


class InsightsMissing(MarketlensError):
    """Nobody has looked at the collection as a whole yet, or what was found cannot be read."""

    code = "insights_missing"


class BackupBroken(MarketlensError):
    """A backup is incomplete, damaged, or of another version."""

    code = "backup_broken"


class LedgerBroken(MarketlensError):
    """A file of the ledger is damaged. The store knows what it holds without it."""

    code = "ledger_broken"


class InvalidFilter(MarketlensError):
    """A filter value that no store could be asked about."""

    code = "invalid_filter"


class InvalidQuery(MarketlensError):
    """A search that makes no sense as it stands."""

    code = "invalid_query"


class QueryOutdated(MarketlensError):
    """A query kept from an earlier answer, of a model that answers no longer."""

    code = "query_outdated"


class ListingConflict(MarketlensError):
    """A change to a listing that would take something from another one."""

    code = "listing_conflict"


class InvalidSetting(MarketlensError):
    """A setting, option or environment variable with an impossible value."""

    code = "invalid_setting"


class NotFound(MarketlensError):
    """There is no such listing or photo."""

    code = "not_found"


class VerdictsUnavailable(MarketlensError):
    """The database of verdicts cannot be opened, or does not answer."""

    code = "verdicts_unavailable"


class OutputFailed(MarketlensError):
    """A result could not be written: disk full, folder read-only."""

    code = "output_failed"
