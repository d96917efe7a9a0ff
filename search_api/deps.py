"""What routes depend on, as named types. The objects are made once, in `create_app`."""

from typing import Annotated

from fastapi import Depends, Request

from catalog.settings import ApiSettings
from search_api.live import Live, LiveCatalogue


def _settings(request: Request) -> ApiSettings:
    settings: ApiSettings = request.app.state.settings
    return settings


def _catalogue(request: Request) -> LiveCatalogue:
    catalogue: LiveCatalogue = request.app.state.catalogue
    return catalogue


def _live(request: Request) -> Live:
    return _catalogue(request).current()


SettingsDep = Annotated[ApiSettings, Depends(_settings)]
CatalogueDep = Annotated[LiveCatalogue, Depends(_catalogue)]
LiveDep = Annotated[Live, Depends(_live)]
