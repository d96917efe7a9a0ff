"""Runs of `marketlens ingest`, from its ledger."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from search_api.dependencies import LedgerDep, needs
from search_api.openapi import problems
from search_api.schemas import MAX_PAGE, IngestRun, RejectedResponse, RejectedRow, RunsResponse

router = APIRouter(prefix="/v1", tags=["operations"], dependencies=[Depends(needs("admin"))])

_MAX_ROWS = 10_000


@router.get("/runs", responses=problems())
def runs(ledger: LedgerDep, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20) -> RunsResponse:
    """List the ingest runs in this service's ledger folder, newest first."""
    fields = set(IngestRun.model_fields)
    return RunsResponse(
        runs=[IngestRun.model_validate(report.model_dump(include=fields)) for report in ledger.runs(limit)]
    )


@router.get("/runs/{run_id}/rejected", responses=problems(404))
def rejected(
    run_id: str,
    ledger: LedgerDep,
    after: Annotated[int, Query(ge=0, le=2**31, description="`next_after` of the previous page.")] = 0,
    limit: Annotated[int, Query(ge=1, le=_MAX_ROWS)] = 100,
) -> RejectedResponse:
    """List the rows that a run rejected, with reasons, in the order of its ledger."""
    lines, total = ledger.find(run_id).rejected(after, limit)
    rows = [RejectedRow.model_validate(asdict(line)) for line in lines]
    end = after + len(rows)
    return RejectedResponse(rows=rows, total=total, next_after=end if rows and end < total else None)
