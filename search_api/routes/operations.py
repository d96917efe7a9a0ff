"""Routes for operators: liveness, readiness, the caller's scope, metrics, activity."""

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
    """Tell whether the process responds."""
    # A coroutine, so that it needs none of the threads, which other requests may occupy.
    return Health(status="alive")


@router.get("/readyz", responses=problems())
def readyz(catalogue: CatalogueDep, caller: CallerDep) -> Health:
    """Tell whether searches work: the collection exists, matches the model, and a real search found something.

    `pending` says why a promoted build is not in use yet; `lost_photos` counts rows that the store lost. Without a
    valid key, if keys are needed, the response contains only the status.
    """
    live, is_searchable, count, lost = catalogue.run_sync(
        lambda live: (live, live.photos.reader.probe(), live.photos.reader.count(), live.photos.notes.lost())
    )
    if not is_searchable:
        raise CollectionMissing("The catalogue is empty.", hint="Ingest an export first: marketlens ingest EXPORT")
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
    router.add_api_route(path, probe, methods=["HEAD"], include_in_schema=False)  # load balancers often send HEAD


# Once there are keys, a request from loopback needs one too.
@router.get(
    "/metrics",
    dependencies=[Depends(needs("admin"))],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problems()},
)
def metrics(service_metrics: MetricsDep) -> Response:
    """Return the metrics of all workers for Prometheus. Needs a key with the scope admin."""
    return Response(service_metrics.render(), media_type=CONTENT_TYPE)


@router.get("/v1/whoami", responses=problems())
def whoami(caller: CallerDep, ring: RingDep) -> Caller:
    """Return the caller's name and scope, and whether a key is needed. Works without a key; a wrong key gets 401."""
    if caller.scope is None and caller.sent_key:
        raise unauthorized()
    return Caller(name=caller.name, scope=caller.scope or "", keys_needed=ring.required)


@router.get("/v1/activity", dependencies=[Depends(needs("admin"))], responses=problems())
def activity(recorded: ActivityDep) -> ActivityResponse:
    """Return the activity of all workers in the last three hours, and the recall that the probe measured."""
    return ActivityResponse(seconds=SECONDS, points=recorded.points(), recall=recorded.recall())
