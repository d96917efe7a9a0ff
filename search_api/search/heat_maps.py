"""Heat maps that show why a photo was found, one over the photo and one over the query's photo."""

import base64
import io
from functools import partial

from PIL import Image

from catalog.errors import InvalidQuery
from catalog.listing import Embeddings
from embedding.explain import Explainer, overlay
from search_api.schemas import Explanation, HeatMap
from search_api.search.query import Query
from search_api.search.query_resolver import QueryResolver
from search_api.serving.live_catalogue import LiveBuild
from search_api.serving.photos import Picture, stored_picture


async def explain(
    query: Query, photo_id: str, live: LiveBuild, resolver: QueryResolver, *, overlays: bool = False
) -> Explanation:
    """Explain the cosine of a stored photo, without its title, and the query vector nearest to it.

    Raises NotFound, InvalidQuery. Each photo takes one pass through the network, a tenth of a second on one core.
    """
    stages, photos = live.stages, live.photos
    if not len(query.vectors):
        raise InvalidQuery("The model does not know these words, so there is no match to explain.")
    stored = await stages.store.run(lambda: photos.reader.photo(photo_id))
    vectors = await stages.store.run(lambda: photos.reader.embeddings([photo_id]))
    (vector,) = live.embedder.remove_titles(vectors, [stored.photo.listing.title])
    scores = query.vectors @ vector
    nearest = int(scores.argmax())
    explainer = await stages.decode.run(lambda: live.embedder.explainer)

    async def side(picture: Picture, other: Embeddings) -> HeatMap:
        image = await resolver.image(picture)
        return await stages.decode.run(partial(_heat_map, explainer, picture, image, other, overlays=overlays))

    return Explanation(
        score=float(scores[nearest]),
        # A query that combines several examples is no photo, and a query_id does not hold pixels.
        query=await side(query.pictures[nearest], vector) if query.pictures else None,
        hit=await side(stored_picture(stored), query.vectors[nearest]),
    )


def _heat_map(
    explainer: Explainer, picture: Picture, image: Image.Image, other: Embeddings, *, overlays: bool
) -> HeatMap:
    heat = explainer.heat_map(image, other)
    return HeatMap(
        photo_id=picture.photo_id,
        cells=heat.tolist(),
        overlay_png=_png(overlay(image, heat)) if overlays else None,
    )


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
