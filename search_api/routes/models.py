"""The models of the builds: their cards and plots."""

from pathlib import Path

from fastapi import APIRouter, Depends, Response

from catalog.errors import MarketlensError, ModelMismatch, ModelMissing, NotFound
from catalog.store.builds import CollectionInfo
from embedding.card import ModelCard, read_card
from search_api.dependencies import CatalogueDep, needs
from search_api.openapi import problems
from search_api.schemas import ModelResponse, ModelsResponse
from search_api.serving.live_catalogue import LiveCatalogue

router = APIRouter(prefix="/v1", tags=["operations"], dependencies=[Depends(needs("read"))])


@router.get("/models", responses=problems())
def models(catalogue: CatalogueDep) -> ModelsResponse:
    """List the models of all builds, the live one first."""
    responses: dict[str, ModelResponse] = {}
    unreadable: list[str] = []
    for info, is_live in _builds(catalogue):
        if info.fingerprint in responses:
            continue
        try:
            responses[info.fingerprint] = _response(info, is_live=is_live)
        except MarketlensError as error:
            unreadable.append(f"{info.name}: {error.message}")
    return ModelsResponse(models=list(responses.values()), unreadable=unreadable)


@router.get(
    "/models/{model_fingerprint}/plots/{name}",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **problems(404)},
)
def plot(model_fingerprint: str, name: str, catalogue: CatalogueDep) -> Response:
    """Return a plot of a model, such as its confusion matrix or its loss."""
    for info, _ in _builds(catalogue):
        if info.fingerprint == model_fingerprint and info.model:
            # Compared with the existing names, so that no `name` can lead out of the folder.
            for path in _plots(Path(info.model)):
                if path.name == name:
                    return Response(
                        path.read_bytes(), media_type="image/png", headers={"Cache-Control": "private, max-age=3600"}
                    )
    raise NotFound(f"The model {model_fingerprint[:12]!r} has no plot {name!r}.")


def _builds(catalogue: LiveCatalogue) -> list[tuple[CollectionInfo, bool]]:
    """Return all builds and whether they are live: the live one first, then newest first."""
    live = catalogue.photos.builds.live()
    infos = [(info, info.name == live.name) for info in catalogue.photos.builds.all()]
    return sorted(infos, key=lambda build: not build[1])


def _response(info: CollectionInfo, *, is_live: bool) -> ModelResponse:
    if not info.model:
        raise ModelMissing("the build does not say where its model is stored.")
    folder = Path(info.model)
    card = read_card(folder)
    if card.fingerprint != info.fingerprint:
        raise ModelMismatch(f"{folder} holds the model {card.fingerprint[:12]}, not {info.fingerprint[:12]}.")
    return ModelResponse.model_validate(
        card.model_dump(mode="json", include=_CARD_FIELDS)
        | {
            "model_fingerprint": card.fingerprint,
            "folder": info.model,
            "is_live": is_live,
            "plots": [path.name for path in _plots(folder)],
        }
    )


def _plots(folder: Path) -> list[Path]:
    # A folder may come from anywhere: a link that leads out of it would expose whatever this process can read.
    home = folder.resolve()
    return sorted(path for path in (folder / "plots").glob("*.png") if path.resolve().is_relative_to(home))


_CARD_FIELDS = set(ModelResponse.model_fields) & set(ModelCard.model_fields)
