"""Read a prepared data set: photos to train on, to validate on and to hold out, and the targets of each."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from more_itertools import chunked
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import CountVectorizer
from torch import Tensor
from torch.utils.data import Dataset

from catalog.errors import ExportUnreadable, PhotoUnusable
from catalog.photo_files.files import read_photo
from embedding.photos import open_photo
from embedding.training.prepare import CATEGORIES, PHOTOS, REPORT, DatasetReport
from embedding.training.splits import Split

_READER_THREADS = 4
_MAX_BYTES = 100_000_000
_PREPARE_AGAIN = "Run marketlens prepare again."
# A title word that fewer training listings share is a name, not a kind of thing.
_MIN_LISTINGS_PER_WORD, _MAX_WORDS = 4, 5_000


@dataclass(frozen=True, slots=True)
class PreparedDataset:
    """A data set that `marketlens prepare` made: photos, categories in encoder order, the seed of the splits."""

    folder: Path
    photos: pd.DataFrame
    categories: list[str]
    seed: int

    def split(self, name: Split) -> pd.DataFrame:
        """Return the photos of one split, in the order of the file."""
        return self.photos[self.photos["split"] == name].reset_index(drop=True)


def read_prepared(folder: Path) -> PreparedDataset:
    """Read a prepared data set. Raises ExportUnreadable."""
    try:
        photos = pd.read_parquet(folder / PHOTOS)
        encoder: dict[str, int] = json.loads((folder / CATEGORIES).read_text())
        report = DatasetReport.model_validate_json((folder / REPORT).read_text())
        if "description" not in photos:  # prepared by version 0.1
            photos["description"] = ""
    except FileNotFoundError as error:
        raise ExportUnreadable(
            f"{folder} is not a prepared data set: {PHOTOS}, {CATEGORIES} or {REPORT} is missing.",
            hint=f"Create one: marketlens prepare EXPORT --out {folder}",
        ) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ExportUnreadable(f"The data set {folder} cannot be read: {error}", hint=_PREPARE_AGAIN) from error
    return PreparedDataset(folder, photos, sorted(encoder, key=encoder.__getitem__), report.seed)


def check_trainable(data: PreparedDataset) -> None:
    """Raise ExportUnreadable if there is nothing to learn, or nothing to choose the best epoch by."""
    if len(data.categories) < 2:
        raise ExportUnreadable(
            f"{data.folder} has only the category {', '.join(map(repr, data.categories))}: there is nothing "
            "to tell apart.",
            hint="Train on an export with at least two categories.",
        )
    for split in ("train", "val", "test"):
        photos = data.split(split)
        if not photos["listing_id"].duplicated().any():
            raise ExportUnreadable(
                f'The {split} split of {data.folder} has no listing with two photos, so "find the other photo" can '
                f"be neither learned nor measured.",
                hint="Prepare a larger export.",
            )


@dataclass(frozen=True, slots=True)
class Targets:
    """Training targets of a batch: listing number, category, subcategory (n,), title words as 0/1 (n, words)."""

    listing: Tensor
    category: Tensor
    subcategory: Tensor
    words: Tensor

    def to(self, device: torch.device) -> "Targets":
        """Move to a device."""
        return Targets(*(getattr(self, field.name).to(device) for field in fields(self)))


class TargetTable:
    """Targets of all photos of a table, one row per photo; `categories` is in encoder order."""

    def __init__(self, photos: pd.DataFrame, categories: list[str]) -> None:
        self.listing = pd.factorize(photos["listing_id"])[0]
        self.category = np.array([categories.index(name) for name in photos["category"]])
        self.subcategory = pd.factorize(photos["category"] + " / " + photos["subcategory"])[0]
        self.words = _title_words(photos)

    def __getitem__(self, rows: Sequence[int]) -> Targets:
        return Targets(
            torch.from_numpy(self.listing[rows]),
            torch.from_numpy(self.category[rows]),
            torch.from_numpy(self.subcategory[rows]),
            torch.from_numpy(self.words[rows].toarray()),
        )


def _title_words(photos: pd.DataFrame) -> csr_array:
    """Encode the frequent words of each photo's title: float32 (n, words)."""
    titles = photos.drop_duplicates("listing_id")["title"]
    vectorizer = CountVectorizer(
        binary=True,
        stop_words="english",
        min_df=min(_MIN_LISTINGS_PER_WORD, len(titles)),
        max_features=_MAX_WORDS,
        dtype=np.float32,
    )
    try:
        vectorizer.fit(titles)
    except ValueError:  # no word is frequent enough
        return csr_array((len(photos), 0), dtype=np.float32)
    return csr_array(vectorizer.transform(photos["title"]))


class PhotoDataset(Dataset[Tensor]):
    """Photos of a table, each decoded on access: uint8 (3, size, size)."""

    def __init__(self, photos: pd.DataFrame, transform: Callable[[Image.Image], Tensor | NDArray[np.uint8]]) -> None:
        self._uris = photos["uri"].tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._uris)

    def __getitem__(self, row: int) -> Tensor:
        return torch.as_tensor(self._transform(open_prepared(self._uris[row])))


def open_prepared(uri: str) -> Image.Image:
    """Open a photo of a prepared data set. Raises ExportUnreadable if it is missing or has changed."""
    try:
        return open_photo(read_photo(uri, _MAX_BYTES))
    except PhotoUnusable as error:
        raise ExportUnreadable(
            f"{uri} was readable when the data set was prepared, but is not any more: {error.message}",
            hint=_PREPARE_AGAIN,
        ) from error


def iter_batches(dataset: PhotoDataset, batch_size: int) -> Iterator[Tensor]:
    """Yield all photos in order, in batches (n, 3, size, size), decoded by threads. Raises ExportUnreadable."""
    with ThreadPoolExecutor(_READER_THREADS, "decode") as readers:
        for rows in chunked(range(len(dataset)), batch_size):
            yield torch.stack(list(readers.map(dataset.__getitem__, rows)))
