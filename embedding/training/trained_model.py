"""The end of a training run: measure on what was held out, calibrate, draw, describe, save."""

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
from embedding.evaluation.measurement import Measured, measure
from embedding.model import as_arrays
from embedding.model_import import StartWeights
from embedding.training.prepared_dataset import PhotoDataset, Prepared, open_prepared
from embedding.training.recipes import Trainee
from embedding.training.run_folder import RunFolder
from embedding.transforms import embed_transform

MISSES = "worst-misses.png"
_SHOWN_MISSES, _NEAREST_SHOWN = 12, 4
_SHOWN = {"recall_at_1": "recall@1", "category_p_at_1": "category P@1", "head_top_1": "category head, top-1"}

_NOTICE = """Made on {date} by `marketlens train`, recipe {recipe}, from {parent}; it is not the original.
What was changed: its layers were trained further on listing photos, its classifier was replaced, its weights were
stored in another precision. README.md says on what, and how well it does. The licence of the weights that it was made
from holds for it as well; where it came with a text, that text is in this folder.
"""


def finish(
    out: Path,
    run: RunFolder,
    trainee: Trainee,
    data: Prepared,
    start: StartWeights,
    facts: dict[str, Any],
    history: pd.DataFrame,
    progress: Progress,
    twin: ModelCard | None,
) -> ModelCard:
    """Write the model folder from the trainee's weights. Raises ExportUnreadable, OutputFailed.

    Test figures are of the weights as they are stored, in float32 arithmetic, as they will be used. With a `twin` they
    are the twin's.
    """
    weights = {name: one.half() if one.is_floating_point() else one for name, one in trainee.model.state_dict().items()}
    losses = {name: name for name in ("loss", "listing", "category", "subcategory", "words")}
    # The epoch was chosen on the validation split: figures on it would flatter.
    learned = data.photos if twin else data.photos[data.photos["split"] != "test"]
    files = {
        "plots/loss.png": plots.curves(history, losses, "Training losses", facts["best_epoch"]),
        TRAINED_ON: "".join(sorted(f"{listing_hash(one)}\n" for one in learned["listing_id"].unique())).encode(),
    }
    files |= start.licence_files
    files["NOTICE"] = _NOTICE.format(
        date=datetime.now(UTC).date(), parent=start.parent, recipe=facts["arguments"]["recipe"]
    ).encode()
    facts = facts | {
        "data": _data_facts(data),
        "data_seed": data.seed,
        "versions": {name: version(name) for name in ("torch", "torchvision", "pytorch-metric-learning")},
    }
    architecture = trainee.model.architecture
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
        card = card.model_copy(update={"training": facts, "metrics": twin.metrics, "calibration": twin.calibration})
    else:
        trainee.model.load_state_dict(weights)
        with progress("Measuring", len(data.photos)) as advance:
            dataset = PhotoDataset(data.photos, embed_transform(trainee.model.transform))
            embeddings, probabilities = trainee.answers(trainee.read(dataset, advance))
        card, figures, measured = measured_card(card, data, embeddings, probabilities)
        files |= figures | {
            "plots/recall.png": plots.curves(history, _SHOWN, "On the validation split", facts["best_epoch"])
        }
        _draw_misses(measured, data.split("test"), run)
    files[CARD_TEXT] = describe(card).encode()
    card = save_model(out, as_arrays(weights), card, files)
    run.tidy()
    return card


def measured_card(
    card: ModelCard, data: Prepared, embeddings: Embeddings, probabilities: NDArray[np.float32]
) -> tuple[ModelCard, dict[str, bytes], Measured]:
    """The card with its figures on the test split and its calibration, their plots, and what was measured.

    Embeddings (n, dim) and probabilities (n, categories) are those of all photos of the data set, in order.
    """
    held_out = (data.photos["split"] == "test").to_numpy()
    measured = measure(data.photos[held_out], embeddings[held_out], probabilities[held_out], data.categories)
    curve, error, picture = _calibrate(embeddings, data.photos)
    training = card.training | {"calibration_error": error}
    card = card.model_copy(update={"training": training, "metrics": measured.figures(), "calibration": curve})
    confusion = plots.confusion(
        measured.photos["category"].tolist(), measured.photos["predicted"].tolist(), data.categories
    )
    return card, picture | {"plots/confusion.png": confusion}, measured


def _calibrate(
    embeddings: Embeddings, photos: pd.DataFrame
) -> tuple[Calibration | None, float | None, dict[str, bytes]]:
    """The curve from validation pairs; its error and its picture from test pairs."""
    split, items = photos["split"].to_numpy(str), photos["group"].to_numpy(np.int64)

    def pairs(name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        # Asked among all that was trained on as well: an answer comes from a catalogue, not from a small split.
        gallery = (split == name) | (split == "train")
        return calibration.nearest_pairs(embeddings[gallery], items[gallery], (split == name)[gallery])

    curve = calibration.fit(*pairs("val"))
    if curve is None:
        return None, None, {}
    cosines, same = pairs("test")
    table, error = calibration.reliability(curve.probability(cosines), same)
    return curve, error, {"plots/reliability.png": plots.reliability(table, error)}


def _data_facts(data: Prepared) -> dict[str, Any]:
    counts = data.photos.groupby("split").agg(listings=("listing_id", "nunique"), photos=("photo_id", "size"))
    return {str(split): {str(name): int(count) for name, count in row.items()} for split, row in counts.iterrows()}


def _draw_misses(measured: Measured, photos: pd.DataFrame, run: RunFolder) -> None:
    """A sheet in the run's folder, not the model's: a model that is handed on holds nobody's photos."""
    lines: list[list[Cell]] = []
    for query, nearest in measured.worst_misses(_SHOWN_MISSES, _NEAREST_SHOWN):
        own = photos.index[photos["listing_id"] == photos["listing_id"][query]].difference([query])[0]
        captions = [
            (query, "query"),
            (int(own), "should be first"),
            *((row, f"nearest {n + 1}") for n, row in enumerate(nearest)),
        ]
        lines.append(
            [
                (
                    open_prepared(photos["uri"][row]),
                    photos["title"][row],
                    f"{what}: {photos['category'][row]}",
                )
                for row, what in captions
            ]
        )
    if lines:
        contact_sheet(lines, run.path / MISSES)
