"""What operators ask: whether the service lives, whether it is ready, who they are to it, and its figures."""

from fastapi import APIRouter, Depends, Response

from catalog.errors import CollectionMissing
from search_api.dependencies import ActivityDep, CallerDep, CatalogueDep, MetricsDep, RingDep, needs, unauthorized
from search_api.openapi import problems
from search_api.schemas import ActivityResponse, Caller, Health
from search_api.telemetry.activity import SECONDS
from search_api.telemetry.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"])


@router.get("/livez")
async def livez() -> Health:
    """Whether the process answers."""
    # A coroutine: it waits for none of the threads that others may have taken.
    return Health(status="alive")


@router.get("/readyz", responses=problems())
def readyz(catalogue: CatalogueDep, caller: CallerDep) -> Health:
    """Whether searches can be answered: the collection is there, by this model, and a real search found something.

    `pending` says why a build that was promoted does not answer yet, `lost_photos` that the store lost rows. Without a
    key, where keys are needed, the answer is the status alone.
    """
    live, found, count, lost = catalogue.answer(
        lambda live: (live, live.photos.reader.probe(), live.photos.reader.count(), live.photos.notes.lost())
    )
    if not found:
        raise CollectionMissing("The catalogue is empty.", hint="Ingest something first: marketlens ingest EXPORT")
    if not caller.may("read"):
        return Health(status="ready")
    return Health(
        status="ready",
        collection=live.info.name,
        model_fingerprint=live.info.fingerprint,
        photos=count,
        lost_photos=lost,
        pending=catalogue.pending or None,
    )


for path, probe in (("/livez", livez), ("/readyz", readyz)):
    router.add_api_route(path, probe, methods=["HEAD"], include_in_schema=False)  # what load balancers like to send


@router.get(
    "/metrics",
    dependencies=[Depends(needs("admin"))],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problems()},
)
def metrics(figures: MetricsDep) -> Response:
    """The service's figures as Prometheus reads them, over all workers. Needs a key with the scope admin."""
    return Response(figures.render(), media_type=CONTENT_TYPE)


@router.get("/v1/whoami", responses=problems())
def whoami(caller: CallerDep, ring: RingDep) -> Caller:
    """Who asks, and whether a key is needed. Needs none itself; a wrong one gets the 401 that it gets everywhere."""
    if caller.scope is None and caller.sent_key:
        raise unauthorized()
    return Caller(name=caller.name, scope=caller.scope or "", keys_needed=ring.required)


@router.get("/v1/activity", dependencies=[Depends(needs("admin"))], responses=problems())
def activity(past: ActivityDep) -> ActivityResponse:
    """What the service did in the last three hours, over all workers, and the recall that the probe measured."""
    return ActivityResponse(seconds=SECONDS, points=past.points(), recall=past.recall())
