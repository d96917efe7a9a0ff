"""The models of the builds: their cards and pictures."""

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
    """The models of the builds, the live one first."""
    shown: dict[str, ModelResponse] = {}
    unreadable: list[str] = []
    for info, is_live in _builds(catalogue):
        if info.fingerprint in shown:
            continue
        try:
            shown[info.fingerprint] = _shown(info, is_live=is_live)
        except MarketlensError as error:
            unreadable.append(f"{info.name}: {error.message}")
    return ModelsResponse(models=list(shown.values()), unreadable=unreadable)


@router.get(
    "/models/{model_fingerprint}/plots/{name}",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **problems(404)},
)
def plot(model_fingerprint: str, name: str, catalogue: CatalogueDep) -> Response:
    """A picture from the folder of a model: its confusion matrix, its loss."""
    for info, _ in _builds(catalogue):
        if info.fingerprint == model_fingerprint and info.model:
            # Looked up among the names that there are: whatever stands in `name`, it leads nowhere else.
            for path in _plots(Path(info.model)):
                if path.name == name:
                    return Response(
                        path.read_bytes(), media_type="image/png", headers={"Cache-Control": "private, max-age=3600"}
                    )
    raise NotFound(f"There is no picture {name!r} of the model {model_fingerprint[:12]!r}.")


def _builds(catalogue: LiveCatalogue) -> list[tuple[CollectionInfo, bool]]:
    """Every build and whether it is live, that one first, then newest first."""
    live = catalogue.photos.builds.live()
    infos = [(info, info.name == live.name) for info in catalogue.photos.builds.all()]
    return sorted(infos, key=lambda one: not one[1])


def _shown(info: CollectionInfo, *, is_live: bool) -> ModelResponse:
    if not info.model:
        raise ModelMissing("the build does not say where its model lies.")
    folder = Path(info.model)
    card = read_card(folder)
    if card.fingerprint != info.fingerprint:
        raise ModelMismatch(f"{folder} holds the model {card.fingerprint[:12]}, not {info.fingerprint[:12]}.")
    return ModelResponse.model_validate(
        card.model_dump(mode="json", include=_OF_THE_CARD)
        | {
            "model_fingerprint": card.fingerprint,
            "folder": info.model,
            "is_live": is_live,
            "plots": [path.name for path in _plots(folder)],
        }
    )


def _plots(folder: Path) -> list[Path]:
    # A folder may come from anywhere: a link in it that leads out of it would show what this process may read.
    home = folder.resolve()
    return sorted(path for path in (folder / "plots").glob("*.png") if path.resolve().is_relative_to(home))


_OF_THE_CARD = set(ModelResponse.model_fields) & set(ModelCard.model_fields)
