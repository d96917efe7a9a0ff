"""What routes depend on, as named types. The objects are made once, in `create_app`."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request

from catalog.collection import PhotoCollection
from catalog.settings import ApiSettings
from embedding.embedder import Embedder
from search_api.overview import Overview


def _from_state(name: str) -> Callable[[Request], Any]:
    def get(request: Request) -> Any:
        return getattr(request.app.state, name)

    return get


SettingsDep = Annotated[ApiSettings, Depends(_from_state("settings"))]
EmbedderDep = Annotated[Embedder, Depends(_from_state("embedder"))]
PhotosDep = Annotated[PhotoCollection, Depends(_from_state("photos"))]
OverviewDep = Annotated[Overview, Depends(_from_state("overview"))]
