"""What routes depend on, as named types. The objects are made once, in `create_app`."""

from typing import Annotated

from fastapi import Depends, Request

from catalog.collection import PhotoCollection
from catalog.settings import ApiSettings
from embedding.embedder import Embedder
from search_api.overview import Overview


def _settings(request: Request) -> ApiSettings:
    settings: ApiSettings = request.app.state.settings
    return settings


def _embedder(request: Request) -> Embedder:
    embedder: Embedder = request.app.state.embedder
    return embedder


def _photos(request: Request) -> PhotoCollection:
    photos: PhotoCollection = request.app.state.photos
    return photos


def _overview(request: Request) -> Overview:
    overview: Overview = request.app.state.overview
    return overview


SettingsDep = Annotated[ApiSettings, Depends(_settings)]
EmbedderDep = Annotated[Embedder, Depends(_embedder)]
PhotosDep = Annotated[PhotoCollection, Depends(_photos)]
OverviewDep = Annotated[Overview, Depends(_overview)]
