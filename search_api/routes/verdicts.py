"""Verdicts: decided, taken back, listed."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query

from catalog import verdicts as kept
from catalog.verdicts import Decision, Duplicate, Kind, WrongCategory
from search_api import schemas
from search_api.dependencies import CallerDep, VerdictsDep, needs
from search_api.openapi import problems
from search_api.schemas import MAX_PAGE, PutVerdict, Verdict, VerdictsResponse

router = APIRouter(prefix="/v1", tags=["verdicts"], dependencies=[Depends(needs("read"))])
changes = APIRouter(prefix="/v1", tags=["verdicts"], dependencies=[Depends(needs("write"))])

_LARGEST = 2**63 - 1
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


@changes.post("/verdicts", responses=problems(400, 408, 413, 507))
def decide(
    put: Annotated[PutVerdict, Body(openapi_examples={name: {"value": one} for name, one in _EXAMPLES.items()})],
    verdicts: VerdictsDep,
    caller: CallerDep,
) -> Verdict:
    """Keep a decision, in the place of any other on the same question, which is not asked again."""
    asked = put.question
    question = (
        Duplicate.of(asked.listing_ids)
        if isinstance(asked, schemas.Duplicate)
        else WrongCategory(asked.listing_id, asked.category, asked.suggested_category)
    )
    return _shown(verdicts.decide(question, put.decision, put.note, caller.name))


@changes.delete("/verdicts/{verdict_id}", responses=problems(404, 507))
def withdraw(verdict_id: Annotated[int, Path(ge=1, le=_LARGEST)], verdicts: VerdictsDep) -> Verdict:
    """Take a verdict back: its question is asked again. Answers with what it was."""
    return _shown(verdicts.withdraw(verdict_id))


@router.get("/verdicts", responses=problems())
def page(
    verdicts: VerdictsDep,
    kind: Kind | None = None,
    decision: Decision | None = None,
    before: Annotated[int | None, Query(ge=1, le=_LARGEST, description="From the page before: `next_before`.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> VerdictsResponse:
    """Verdicts, newest first."""
    found, total = verdicts.page(limit + 1, kind=kind, decision=decision, before=before)
    shown = [_shown(one) for one in found[:limit]]
    more = len(found) > limit
    return VerdictsResponse(verdicts=shown, total=total, next_before=shown[-1].verdict_id if more else None)


def _shown(verdict: kept.Verdict) -> Verdict:
    question = asdict(verdict.question) | {"kind": verdict.question.kind}
    return Verdict.model_validate(asdict(verdict) | {"question": question})
