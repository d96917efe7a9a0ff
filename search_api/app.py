"""The service, built in one visible place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline

from catalog.collection import PhotoCollection
from catalog.settings import ApiSettings
from embedding.embedder import Embedder
from search_api import errors
from search_api.live import LiveCatalogue, LoadModel
from search_api.routes import router


def create_app(
    settings: ApiSettings, embedder: Embedder, photos: PhotoCollection, load: LoadModel = Embedder.load
) -> FastAPI:
    """Put the service together. The caller opens what it is given; the service closes `photos` when it stops.

    `load` gets the model of a build that is promoted while the service runs.
    """
    catalogue = LiveCatalogue(photos, embedder, load)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        catalogue.start()
        yield
        catalogue.close()

    # The documentation page's scripts come from this server: it may stand where there is no internet.
    app = FastAPIOffline(
        title="marketlens",
        version=version("marketlens"),
        description="Visual search: a photo finds the listings that look like it.",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.catalogue = catalogue
    app.add_middleware(CorrelationIdMiddleware, header_name="X-Request-ID")
    errors.install(app)
    app.include_router(router)
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    return app
