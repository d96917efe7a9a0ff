"""Builds the service: every object is created and connected here."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from secure import Secure
from secure.headers import ContentSecurityPolicy, ReferrerPolicy, XContentTypeOptions, XFrameOptions
from secure.middleware import SecureASGIMiddleware
from starlette.middleware.cors import CORSMiddleware

from catalog.errors import MarketlensError
from catalog.runs.ledger import Ledger
from catalog.settings import Settings
from catalog.store.collection import PhotoCollection
from catalog.verdicts import VerdictStore
from embedding.embedder import Embedder
from search_api import errors, openapi
from search_api.auth.api_keys import KeyRing, is_public
from search_api.auth.signed_urls import PhotoUrls
from search_api.middleware.authentication import Authentication, RateLimit
from search_api.middleware.request_limits import RequestLimits
from search_api.middleware.request_log import RequestLog
from search_api.review.latest_insights import LatestInsights
from search_api.review.map_response import MapCache
from search_api.routes import router
from search_api.routes.operations import router as operations
from search_api.serving.embed_queue import StageFactory
from search_api.serving.live_catalogue import LiveCatalogue, LoadModel
from search_api.serving.recall_probe import RecallProbe
from search_api.telemetry.activity import Activity
from search_api.telemetry.metrics import Metrics
from search_api.telemetry.tracing import Tracing

logger = logging.getLogger("marketlens.api")

# Responses are data; only the documentation page runs scripts, from this server. Referrers would leak photo signatures.
# Strict-Transport-Security is the job of whatever terminates TLS.
_HEADERS = Secure(
    csp=ContentSecurityPolicy()
    .default_src("'none'")
    .script_src("'self'", "'unsafe-inline'")
    .style_src("'self'", "'unsafe-inline'")
    .img_src("'self'", "data:")
    .connect_src("'self'")
    .base_uri("'none'")
    .form_action("'none'")
    .frame_ancestors("'none'"),
    referrer=ReferrerPolicy().no_referrer(),
    xcto=XContentTypeOptions(),
    xfo=XFrameOptions().deny(),
)


def create_app(
    settings: Settings, embedder: Embedder, photos: PhotoCollection, load: LoadModel = Embedder.load
) -> FastAPI:
    """Create the service. The caller opens `embedder` and `photos`; the service closes `photos` when it stops.

    `load` loads the model of a build that is promoted while the service runs. Raises InvalidSetting.
    """
    api = settings.api
    metrics, tracing = Metrics(), Tracing()
    ring = KeyRing(api.keys, public=is_public(api.host))
    limit = RateLimit(api.rate_limit)
    urls = PhotoUrls(ring, api.photo_url_seconds)
    stages = StageFactory(api, metrics)
    verdicts = VerdictStore(settings.verdicts.url.get_secret_value())
    activity = Activity(metrics)
    catalogue = LiveCatalogue(photos, embedder, load, stages.of, metrics)
    # One probe per worker, N times as slow with N workers: electing one would cost more than it saves.
    probe = RecallProbe(catalogue, metrics, api.recall_seconds * api.workers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        _migrate(verdicts)
        catalogue.start()
        activity.start()
        probe.start()
        yield
        probe.close()
        activity.close()
        catalogue.close()
        stages.close()
        verdicts.close()
        tracing.close()
        metrics.close()

    # The documentation page's scripts come from this server, because it may run without internet access.
    app = FastAPIOffline(
        title="marketlens",
        version=version("marketlens"),
        description="Visual search: find the listings that look like a photo.",
        lifespan=lifespan,
    )
    app.state.settings = api
    app.state.catalogue = catalogue
    app.state.metrics = metrics
    app.state.photo_urls = urls
    app.state.maps = MapCache(urls)
    app.state.insights = LatestInsights(settings.insights.folder)
    app.state.ring = ring
    app.state.verdicts = verdicts
    app.state.ledger = Ledger(settings.ingest.ledger)
    app.state.activity = activity
    # Innermost first: the middleware added last sees a request first.
    app.add_middleware(RequestLimits, max_bytes=api.max_upload_bytes, seconds=api.receive_seconds, metrics=metrics)
    app.add_middleware(Authentication, ring=ring, limit=limit, metrics=metrics)
    if api.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=api.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "X-Request-ID"],
        )
    app.add_middleware(RequestLog, metrics=metrics, tracing=tracing)
    app.add_middleware(SecureASGIMiddleware, secure=_HEADERS)
    app.add_middleware(CorrelationIdMiddleware, header_name="X-Request-ID")
    errors.install(app)
    app.include_router(router)
    app.include_router(operations)
    openapi.add_schemas(app)
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    return app


def _migrate(verdicts: VerdictStore) -> None:
    try:
        verdicts.migrate()
    except MarketlensError as error:
        # Searches do not need this database. Verdict routes report the error, and each request tries again.
        logger.error("%s %s", error.message, error.hint)
