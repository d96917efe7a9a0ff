"""`marketlens evaluate`: compare models on listings that none of them was trained on."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from more_itertools import chunked
from pydantic import BaseModel
from rich.console import Group
from rich.table import Table

from catalog.atomic_files import new_folder, refuse_existing
from catalog.errors import ExportUnreadable
from catalog.exports.export import Export
from catalog.listing import Embeddings, Photo
from catalog.photo_files.hosts import Read
from catalog.progress import Advance, Progress
from embedding.card import CategoryWeights, Figure
from embedding.card_text import LABELS
from embedding.checkpoint import listing_hash, trained_listing_hashes
from embedding.embedder import Embedder
from embedding.evaluation import plots
from embedding.evaluation.measurement import measure, summarize
from embedding.evaluation.words import titles_of
from embedding.photos import open_or_none

RESULT = "evaluation.json"

_READER_THREADS, _BATCH = 4, 256
_LEAKY = "leaky_category_p_at_1"


class ModelFigures(BaseModel):
    """One model's figures, over all photos and within each category."""

    model: str
    fingerprint: str
    dim: int
    figures: dict[str, Figure]
    by_category: dict[str, dict[str, Figure]]


class Evaluation(BaseModel):
    """Content of `evaluation.json`."""

    export: str
    photos: int
    listings: int
    left_out: int
    rejected: int
    models: list[ModelFigures]

    def render(self) -> Group:
        """Render tables for the terminal."""
        title = f"{self.photos:,} photos of {self.listings:,} listings that no model was trained on"
        table = Table(title=title)
        table.add_column("")
        for model in self.models:
            table.add_column(f"{model.model}\n{model.dim}-d", justify="right")
        for name, label in LABELS.items():
            if name == _LEAKY:
                table.add_section()
            cells = [_format_figure(model.figures.get(name)) for model in self.models]
            if any(cells):
                table.add_row(label, *cells)
        categories = Table(title="By category: recall@1, category P@1")
        categories.add_column("")
        for model in self.models:
            categories.add_column(model.model, justify="right")
        for category in sorted({name for model in self.models for name in model.by_category}):
            figures = [model.by_category.get(category, {}) for model in self.models]
            cells = [
                ", ".join(_format_mean(values.get(name)) for name in ("recall_at_1", "category_p_at_1"))
                for values in figures
            ]
            categories.add_row(category, *cells)
        notes = [
            f"{self.left_out:,} listings left out, because a model was trained on them.",
            f"{self.rejected:,} rows rejected.",
            "The last line of the first table is what a split by photo would report: it counts a photo of the query's "
            "own listing as correct.",
        ]
        return Group(table, categories, *notes)


def evaluate(models: list[Path], export: Export, out: Path, *, read: Read, progress: Progress) -> Evaluation:
    """Measure models and write evaluation.json and plots into a new folder.

    Raises ExportUnreadable, ModelMissing, ModelBroken, OutputFailed.
    """
    refuse_existing(out)
    embedders = [Embedder.load(folder) for folder in models]
    known_hashes = frozenset[str]().union(*(trained_listing_hashes(folder) for folder in models))
    with progress("Evaluating", export.photos) as advance:
        held_out = _HeldOutPhotos.load(export, embedders, known_hashes, read, advance)
    photos = pd.DataFrame(held_out.rows, columns=["photo_id", "listing_id", "category"])
    if not photos["listing_id"].duplicated().any():
        raise ExportUnreadable(
            f"{export.path} has no listing with two usable photos that none of these models was trained on "
            f"({len(held_out.left_out):,} listings were left out because of that).",
            hint="Use an export of other listings, or the one that the models' data sets were prepared from.",
        )
    results, pictures = [], {}
    for name, embedder, batches in zip(_distinct_names(models), embedders, held_out.embeddings, strict=True):
        embeddings = np.concatenate(batches)
        probabilities = embedder.classify(embeddings)
        titles = None
        if embedder.words:
            weights = embedder.card.category_weights or CategoryWeights()
            titles = titles_of(embedder.words, weights, held_out.titles, embeddings, probabilities)
        measurement = measure(photos, embeddings, probabilities, embedder.card.categories, titles)
        results.append(
            ModelFigures(
                model=name,
                fingerprint=embedder.fingerprint,
                dim=embedder.dim,
                figures=measurement.figures(),
                by_category={
                    str(category): summarize(group) for category, group in measurement.photos.groupby("category")
                },
            )
        )
        if "predicted" in measurement.photos:
            categories = sorted({*embedder.card.categories, *photos["category"]})
            pictures[f"confusion-{name.strip('/').replace('/', '-')}.png"] = plots.confusion(
                measurement.photos["category"].tolist(), measurement.photos["predicted"].tolist(), categories
            )
    evaluation = Evaluation(
        export=export.path,
        photos=len(photos),
        listings=photos["listing_id"].nunique(),
        left_out=len(held_out.left_out),
        rejected=held_out.rejected,
        models=results,
    )
    _save(evaluation, pictures, out)
    return evaluation


def _distinct_names(models: list[Path]) -> list[str]:
    """Return a distinct name for each model: its folder's name, or its path if two folders have the same name."""
    names = [folder.name for folder in models]
    return names if len(set(names)) == len(names) else [str(folder) for folder in models]


@dataclass(slots=True)
class _HeldOutPhotos:
    """Photos that no model was trained on, and each model's embeddings of them, in batches."""

    rows: list[dict[str, str]]
    titles: list[str]
    embeddings: list[list[Embeddings]]
    left_out: set[str]
    rejected: int = 0

    @classmethod
    def load(
        cls,
        export: Export,
        embedders: list[Embedder],
        known_hashes: frozenset[str],
        read: Read,
        advance: Advance,
    ) -> "_HeldOutPhotos":
        held_out = cls([], [], [[] for _ in embedders], set())
        with ThreadPoolExecutor(_READER_THREADS, "read") as readers:
            for batch in chunked(export.rows(), _BATCH):
                photos = [row for row in batch if isinstance(row, Photo)]
                new = [row for row in photos if listing_hash(row.listing.listing_id) not in known_hashes]
                held_out.left_out |= {row.listing.listing_id for row in photos} - {
                    row.listing.listing_id for row in new
                }
                images = list(readers.map(lambda row: open_or_none(row, read), new))
                usable = [(row, image) for row, image in zip(new, images, strict=True) if image is not None]
                held_out.rejected += len(batch) - len(photos) + len(new) - len(usable)
                held_out.rows += [
                    {
                        "photo_id": row.photo_id,
                        "listing_id": row.listing.listing_id,
                        "category": row.listing.category,
                    }
                    for row, _ in usable
                ]
                held_out.titles += [row.listing.title for row, _ in usable]
                for embedder, batches in zip(embedders, held_out.embeddings, strict=True):
                    batches.append(embedder.embed([image for _, image in usable]))
                advance(len(batch))
        return held_out


def _save(evaluation: Evaluation, pictures: Mapping[str, bytes], out: Path) -> None:
    labels = {name: name.replace("_", " ") for name in LABELS if name != _LEAKY}
    overall = {model.model: model.figures for model in evaluation.models}
    drawn = {"figures.png": plots.bars(overall, labels)}
    for name in ("recall_at_1", "category_p_at_1"):
        values = {
            model.model: {category: figures[name] for category, figures in model.by_category.items() if name in figures}
            for model in evaluation.models
        }
        drawn[f"{name}.png"] = plots.by_category(values, LABELS[name])
    with new_folder(out, "The evaluation") as draft:
        for file, picture in {**drawn, **pictures}.items():
            (draft / file).write_bytes(picture)
        (draft / RESULT).write_text(evaluation.model_dump_json(indent=2) + "\n")


def _format_figure(figure: Figure | None) -> str:
    return f"{figure.mean:.3f}\n{figure.low:.3f} to {figure.high:.3f}" if figure else ""


def _format_mean(figure: Figure | None) -> str:
    return f"{figure.mean:.3f}" if figure else "  -  "
