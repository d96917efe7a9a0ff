"""The end of a training run: measure on the test split, calibrate, plot, write the model card, save."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import Progress
from embedding.card import Calibration, ModelCard
from embedding.card_text import CARD_TEXT, describe
from embedding.checkpoint import TRAINED_ON, listing_hash, save_model
from embedding.evaluation import calibration, plots
from embedding.evaluation.contact_sheet import Cell, contact_sheet
from embedding.evaluation.measurement import Measurement, measure
from embedding.evaluation.words import measure_with_words
from embedding.model import as_arrays
from embedding.model_import import StartWeights
from embedding.text.tower import TextTower
from embedding.training.prepared_dataset import PhotoDataset, PreparedDataset, open_prepared
from embedding.training.recipes import Trainee
from embedding.training.run_folder import RunFolder
from embedding.training.words import Words, half
from embedding.transforms import embed_transform

MISSES = "worst-misses.png"
_SHEET_QUERIES, _SHEET_NEIGHBOURS = 12, 4
_CURVES = {"recall_at_1": "recall@1", "category_p_at_1": "category P@1", "head_top_1": "category head, top-1"}

_NOTICE = """Made on {date} by `marketlens train`, recipe {recipe}, from {parent}; it is not the original.
What was changed: its layers were trained further on listing photos, its classifier was replaced, its weights were
stored in another precision. README.md describes the data and the results. The licence of the weights that it was made
from applies to it as well; if those came with a licence text, that text is in this folder.
"""


def save_trained_model(
    out: Path,
    run: RunFolder,
    trainee: Trainee,
    words: Words | None,
    data: PreparedDataset,
    start: StartWeights,
    facts: dict[str, Any],
    history: pd.DataFrame,
    progress: Progress,
    twin: ModelCard | None,
) -> ModelCard:
    """Write the model folder from the trainee's weights. Raises ExportUnreadable, OutputFailed.

    The test figures are measured with the stored weights in float32 arithmetic, as they will be used. If there is a
    `twin`, its figures are taken.
    """
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in trainee.model.state_dict().items()
    }
    losses = {name: name for name in ("loss", "listing", "category", "subcategory", "words")}
    # The epoch was chosen on the validation split, so figures on it would be too good: its listings count as known.
    known_photos = data.photos if twin else data.photos[data.photos["split"] != "test"]
    files = {
        "plots/loss.png": plots.curves(history, losses, "Training losses", facts["best_epoch"]),
        TRAINED_ON: "".join(
            sorted(f"{listing_hash(listing_id)}\n" for listing_id in known_photos["listing_id"].unique())
        ).encode(),
    }
    files |= start.licence_files
    files["NOTICE"] = _NOTICE.format(
        date=datetime.now(UTC).date(), parent=start.parent, recipe=facts["arguments"]["recipe"]
    ).encode()
    facts = facts | {
        "data": _count_by_split(data),
        "data_seed": data.seed,
        "versions": {name: version(name) for name in ("torch", "torchvision", "pytorch-metric-learning")},
    }
    if words:
        facts = facts | {
            "words": {
                "listings": data.photos["listing_id"].nunique() if twin else data.split("train")["listing_id"].nunique()
            }
        }
    architecture = trainee.model.architecture.model_copy(update={"text": words.config if words else None})
    card = ModelCard(
        name=out.name,
        architecture=architecture,
        transform=trainee.model.transform,
        categories=data.categories if architecture.head.categories else [],
        training=facts,
        parent=start.parent,
        licence=start.licence,
    )
    if twin:
        facts["calibration_error"] = twin.training["calibration_error"]
        card = card.model_copy(update={"training": facts}).with_figures_of(twin)
    else:
        trainee.model.load_state_dict(weights)
        with progress("Measuring", len(data.photos)) as advance:
            dataset = PhotoDataset(data.photos, embed_transform(trainee.model.transform))
            embeddings, probabilities = trainee.embed_and_classify(trainee.extract_dataset_features(dataset, advance))
        tower = TextTower(words.config, words.weights) if words else None
        card, figures, measurement = add_measurements(card, data, embeddings, probabilities, tower)
        files |= figures | {
            "plots/recall.png": plots.curves(history, _CURVES, "On the validation split", facts["best_epoch"])
        }
        _draw_misses(measurement, data.split("test"), run)
    files[CARD_TEXT] = describe(card).encode()
    card = save_model(out, as_arrays(weights) | (half(words.weights) if words else {}), card, files)
    run.remove_resume_files()
    return card


def add_measurements(
    card: ModelCard,
    data: PreparedDataset,
    embeddings: Embeddings,
    probabilities: NDArray[np.float32],
    tower: TextTower | None,
) -> tuple[ModelCard, dict[str, bytes], Measurement]:
    """Add the figures on the test split and the calibrations to a card; return it, their plots and the measurement.

    `embeddings` (n, dim) and `probabilities` (n, categories) are of all photos of the data set, in order.
    """
    held_out, validation = ((data.photos["split"] == name).to_numpy() for name in ("test", "val"))
    stored = embeddings
    if tower:
        card, measurement, stored = measure_with_words(
            card, tower, data.photos, embeddings, probabilities, calibrate_on=validation, measure_on=held_out
        )
    else:
        measurement = measure(data.photos[held_out], embeddings[held_out], probabilities[held_out], data.categories)
    curve, error, picture = _calibrate(embeddings, stored, data.photos)
    training = card.training | {"calibration_error": error}
    card = card.model_copy(update={"training": training, "metrics": measurement.figures(), "calibration": curve})
    confusion = plots.confusion(
        measurement.photos["category"].tolist(), measurement.photos["predicted"].tolist(), data.categories
    )
    return card, picture | {"plots/confusion.png": confusion}, measurement


def _calibrate(
    embeddings: Embeddings, stored: Embeddings, photos: pd.DataFrame
) -> tuple[Calibration | None, float | None, dict[str, bytes]]:
    """Fit the curve on validation pairs; measure its error and plot it on test pairs."""
    split, items = photos["split"].to_numpy(str), photos["group"].to_numpy(np.int64)

    def pairs(name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        # The gallery includes the train split: a real search covers a catalogue, not a small split.
        gallery = (split == name) | (split == "train")
        queries = (split == name)[gallery]
        return calibration.nearest_pairs(stored[gallery], items[gallery], queries, embeddings[gallery])

    curve = calibration.fit(*pairs("val"))
    if curve is None:
        return None, None, {}
    cosines, same = pairs("test")
    table, error = calibration.reliability(curve.probability(cosines), same)
    return curve, error, {"plots/reliability.png": plots.reliability(table, error)}


def _count_by_split(data: PreparedDataset) -> dict[str, Any]:
    counts = data.photos.groupby("split").agg(listings=("listing_id", "nunique"), photos=("photo_id", "size"))
    return {str(split): {str(name): int(count) for name, count in row.items()} for split, row in counts.iterrows()}


def _draw_misses(measurement: Measurement, photos: pd.DataFrame, run: RunFolder) -> None:
    """Draw a sheet into the run's folder, not the model's: a model that is passed on must not contain photos."""
    rows: list[list[Cell]] = []
    for query, nearest in measurement.worst_misses(_SHEET_QUERIES, _SHEET_NEIGHBOURS):
        own = photos.index[photos["listing_id"] == photos["listing_id"][query]].difference([query])[0]
        captions = [
            (query, "query"),
            (int(own), "should be first"),
            *((row, f"nearest {n + 1}") for n, row in enumerate(nearest)),
        ]
        rows.append(
            [
                (
                    open_prepared(photos["uri"][row]),
                    photos["title"][row],
                    f"{role}: {photos['category'][row]}",
                )
                for row, role in captions
            ]
        )
    if rows:
        contact_sheet(rows, run.path / MISSES)
