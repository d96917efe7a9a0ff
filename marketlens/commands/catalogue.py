"""`marketlens embed`, `search` and `insights`: commands that read an export or the catalogue."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.extras import needs
from marketlens.options import ExportArgument, ModelOption, UriOption, load_settings, open_catalogue

if TYPE_CHECKING:
    from PIL import Image

    from catalog.listing import Embeddings
    from embedding.embedder import Embedder


def embed(
    export: ExportArgument,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    model: ModelOption = None,
) -> None:
    """Write photo_id, listing_id, category and embedding of every usable photo to Parquet."""
    from catalog.exports.export import open_export

    settings = load_settings(model=model)
    rows = open_export(export)

    from catalog.runs.report import Report
    from embedding.embedder import Embedder
    from ingest.report_tables import render
    from ingest.vector_export import embed_export
    from marketlens import terminal

    embedder = Embedder.load(settings.model.path)
    report = Report(export=export)
    with terminal.progress("Embedding", rows.photos) as advance:
        embed_export(rows, embedder, out, settings.ingest, report, advance)
    terminal.out.print(render(report))
    terminal.out.print(f"Embeddings: {out}", soft_wrap=True)


def search(
    query: Annotated[
        str, typer.Argument(metavar="PHOTO|WORDS", help="A photo (JPEG, PNG, WebP, GIF or BMP), or words: 'oak table'.")
    ],
    uri: UriOption = None,
    model: ModelOption = None,
    category: Annotated[list[str] | None, typer.Option(help="Root category; repeat the option for several.")] = None,
    price_min: Annotated[float | None, typer.Option(min=0)] = None,
    price_max: Annotated[float | None, typer.Option(min=0)] = None,
    location: Annotated[str, typer.Option(help="Prefix of the location.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 10,
) -> None:
    """Print the listings that look like a photo, or like what the words say."""
    from catalog.store.filters import SearchFilter
    from embedding.card import GOOD_MATCH
    from marketlens.tables import hits_table
    from marketlens.terminal import out

    settings = load_settings(uri=uri, model=model)
    image = _read_photo(query, settings.ingest.max_photo_bytes) if _is_photo(query) else None
    where = SearchFilter(tuple(category or ()), price_min=price_min, price_max=price_max, location=location)
    where.expression()  # reports an invalid filter before the model is loaded
    embedder, photos = open_catalogue(settings, must_exist=True)
    with closing(photos):
        photos.require(embedder.fingerprint)
        vectors = embedder.embed([image]) if image else _embed_words(query, embedder)
        hits = photos.reader.search(vectors, where, limit).hits
    title = f"Listings like {Path(query).name}" if image else f"Listings for “{query}”"
    out.print(hits_table(title, hits) if hits else "No listing passes these filters.")
    curve = embedder.card.calibration if image else embedder.card.words_calibration
    if hits and curve and hits[0].score < curve.cosine(GOOD_MATCH):
        out.print("No good match: these are only the most similar ones.")


def _is_photo(query: str) -> bool:
    """Whether the query is a path. Words have no such extension, and a mistyped path is no words."""
    path = Path(query)
    return path.exists() or path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def _read_photo(path: str, max_bytes: int) -> "Image.Image":
    from catalog.errors import PhotoUnusable
    from catalog.photo_files.files import read_photo
    from embedding.photos import open_photo

    data = read_photo(path, max_bytes)
    try:
        return open_photo(data)
    except PhotoUnusable as error:
        raise PhotoUnusable(error.reason, f"{path}: {error.message}") from error


def _embed_words(query: str, embedder: "Embedder") -> "Embeddings":
    from catalog.errors import InvalidQuery

    vectors = embedder.require_words().embed([query])
    if not vectors.any():
        raise InvalidQuery(f"The model knows none of these words: {query[:80]!r}.", hint="Try other words, or a photo.")
    return vectors


def insights(
    uri: UriOption = None,
    model: ModelOption = None,
    map_photos: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum photos on the map; larger collections are sampled. Default: the settings."),
    ] = None,
) -> None:
    """Analyse the whole live collection: map, wrong categories, duplicates, outliers. Run it every night."""
    from marketlens.tables import insights_table
    from marketlens.terminal import out, progress

    settings = load_settings(uri=uri, model=model, insights={"map_photos": map_photos})
    with needs("insights"):
        from insights.run import run
    embedder, photos = open_catalogue(settings, must_exist=True)
    from catalog.photo_files.hosts import make_reader
    from catalog.verdicts import VerdictStore

    read = make_reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds)
    with closing(photos), closing(VerdictStore(settings.verdicts.url.get_secret_value())) as verdicts:
        decided = verdicts.category_decisions()
        summary, path = run(photos, embedder, settings.insights, decided=decided, read=read, progress=progress)
    out.print(insights_table(summary))
    out.print(f"Insights: {path}", soft_wrap=True)
