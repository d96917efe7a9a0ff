"""Stores, withdraws and lists verdicts."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query

from catalog import verdicts as stored_verdicts
from catalog.verdicts import Decision, Duplicate, Kind, WrongCategory
from search_api import schemas
from search_api.dependencies import CallerDep, VerdictsDep, needs
from search_api.openapi import problems
from search_api.schemas import MAX_PAGE, PutVerdict, Verdict, VerdictsResponse

router = APIRouter(prefix="/v1", tags=["verdicts"], dependencies=[Depends(needs("read"))])
write_router = APIRouter(prefix="/v1", tags=["verdicts"], dependencies=[Depends(needs("write"))])

_MAX_ID = 2**63 - 1
_EXAMPLES = {
    "a wrong category": {
        "question": {
            "kind": "wrong_category",
            "listing_id": "243809c0-9cfc-4486-ad12-3b7a16605ba9",
            "category": "Other Goods",
            "suggested_category": "Home & Garden",
        },
        "decision": "accept",
    },
    "a duplicate": {
        "question": {"kind": "duplicate", "listing_ids": ["l2", "l3"]},
        "decision": "reject",
        "note": "Two lamps of a pair.",
    },
}


@write_router.post("/verdicts", responses=problems(400, 408, 413, 507))
def decide(
    put: Annotated[PutVerdict, Body(openapi_examples={name: {"value": value} for name, value in _EXAMPLES.items()})],
    verdicts: VerdictsDep,
    caller: CallerDep,
) -> Verdict:
    """Store a decision; it replaces any other on the same question, which is not asked again."""
    sent = put.question
    question = (
        Duplicate.of(sent.listing_ids)
        if isinstance(sent, schemas.Duplicate)
        else WrongCategory(sent.listing_id, sent.category, sent.suggested_category)
    )
    return _response(verdicts.decide(question, put.decision, put.note, caller.name))


@write_router.delete("/verdicts/{verdict_id}", responses=problems(404, 507))
def withdraw(verdict_id: Annotated[int, Path(ge=1, le=_MAX_ID)], verdicts: VerdictsDep) -> Verdict:
    """Withdraw a verdict, so that its question is asked again. Returns the verdict."""
    return _response(verdicts.withdraw(verdict_id))


@router.get("/verdicts", responses=problems())
def page(
    verdicts: VerdictsDep,
    kind: Kind | None = None,
    decision: Decision | None = None,
    before: Annotated[int | None, Query(ge=1, le=_MAX_ID, description="`next_before` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> VerdictsResponse:
    """List verdicts, newest first."""
    found, total = verdicts.page(limit + 1, kind=kind, decision=decision, before=before)
    listed = [_response(verdict) for verdict in found[:limit]]
    more = len(found) > limit
    return VerdictsResponse(verdicts=listed, total=total, next_before=listed[-1].verdict_id if more else None)


def _response(verdict: stored_verdicts.Verdict) -> Verdict:
    question = asdict(verdict.question) | {"kind": verdict.question.kind}
    return Verdict.model_validate(asdict(verdict) | {"question": question})
