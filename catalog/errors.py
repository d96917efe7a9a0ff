"""The errors of the domain. They know neither HTTP statuses nor exit codes: each edge maps them with its own table."""

from typing import ClassVar


class MarketlensError(Exception):
    """An error that says what is wrong and where (`message`), and how to fix it (`hint`)."""

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
    """The host of a photo timed out or failed; a retry may succeed. `retry_after` is in seconds, None if unknown."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("unreadable", message)
        self.retry_after = retry_after


class ModelMissing(MarketlensError):
    """The model folder does not exist."""

    code = "model_missing"


class ModelBroken(MarketlensError):
    """A model folder is incomplete or damaged, or its fingerprint does not match its content."""

    code = "model_broken"


class ModelMismatch(MarketlensError):
    """The collection holds embeddings of another model, so comparing with them would be meaningless."""

    code = "model_mismatch"


class StoreUnreachable(MarketlensError):
    """Milvus does not answer."""

    code = "store_unreachable"


class StoreLocked(MarketlensError):
    """The embedded database file is in use by another process."""

    code = "store_locked"


class StoreFailed(MarketlensError):
    """Milvus answered with an error."""

    code = "store_failed"


class IngestRunning(MarketlensError):
    """Another ingest writes to this catalogue."""

    code = "ingest_running"


class WorkersFailed(MarketlensError):
    """The cluster that does the work is unreachable, or lost more workers than it can replace."""

    code = "workers_failed"


class CollectionReplaced(MarketlensError):
    """Another build was promoted while this collection was being written to."""

    code = "collection_replaced"


class BuildRefused(MarketlensError):
    """The requested change to a build would lose photos or break searches."""

    code = "build_refused"


class CollectionMissing(MarketlensError):
    """Nothing has been ingested yet, or a build was dropped."""

    code = "collection_missing"


class InsightsMissing(MarketlensError):
    """There are no insights for this collection yet, or their files cannot be read."""

    code = "insights_missing"


class BackupBroken(MarketlensError):
    """A backup is incomplete, damaged, or of another version."""

    code = "backup_broken"


class LedgerBroken(MarketlensError):
    """A file of the ledger is damaged. The stored photos are not affected."""

    code = "ledger_broken"


class InvalidFilter(MarketlensError):
    """A filter value that cannot be written as a filter expression."""

    code = "invalid_filter"


class InvalidQuery(MarketlensError):
    """A search request that contradicts itself or lacks something."""

    code = "invalid_query"


class QueryOutdated(MarketlensError):
    """A query token from an earlier response, made with a model that is no longer live."""

    code = "query_outdated"


class ListingConflict(MarketlensError):
    """A change to a listing that would take a photo from another listing."""

    code = "listing_conflict"


class InvalidSetting(MarketlensError):
    """A setting, option or environment variable with an impossible value."""

    code = "invalid_setting"


class NotFound(MarketlensError):
    """The listing, photo, build, run or other named item does not exist."""

    code = "not_found"


class VerdictsUnavailable(MarketlensError):
    """The database of verdicts cannot be opened or does not answer."""

    code = "verdicts_unavailable"


class OutputFailed(MarketlensError):
    """A result could not be written, for example because the disk is full or the folder read-only."""

    code = "output_failed"
