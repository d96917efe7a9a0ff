import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from catalog.listing import Listing, Photo
from catalog.stage_timer import StageTimer
from embedding.card import TransformConfig
from embedding.embedder import Embedder
from embedding.model import Normalize
from embedding.photos import open_photo
from embedding.transforms import embed_transform
from ingest.stages.photo_reader import PhotoReader, ReadPhoto
from tests.support.data.models import DIM
from tests.support.data.pictures import jpeg, picture

# (row, column) -> colour. Bilinear scaling would give blues of 32, 23, 32, 205 and 50 along the chequerboard's edges.
GOLDEN = {
    (0, 0): [0, 0, 0],
    (0, 13): [15, 0, 16],
    (56, 100): [114, 63, 9],
    (113, 41): [47, 129, 15],
    (168, 13): [15, 191, 231],
    (112, 13): [15, 127, 24],
    (200, 222): [253, 228, 255],
    (223, 223): [255, 255, 0],
}


def chart() -> Image.Image:
    """Draw a horizontal ramp, a vertical ramp and a chequerboard: the same on every machine."""
    y, x = np.mgrid[0:300, 0:400]
    return Image.fromarray(
        np.stack([x * 255 // 399, y * 255 // 299, (x // 25 + y // 25) % 2 * 255], -1).astype(np.uint8)
    )


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (224, 224), (1000, 100), (16, 16)])
def test_shape(size: tuple[int, int]) -> None:
    """Photos of every size and shape become uint8 (3, 224, 224)."""
    pixels = embed_transform(TransformConfig())(picture(1, size))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (3, 224, 224))


@pytest.mark.parametrize("size", [(300, 100), (100, 300)])
def test_squeezed(size: tuple[int, int]) -> None:
    """Both sides are squeezed: the edges of a photo are kept, which a crop would lose."""
    image = Image.new("RGB", size, "white")
    for box in [(0, 0, 20, 20), (size[0] - 20, size[1] - 20, size[0], size[1])]:
        image.paste((255, 0, 0), box)
    pixels = embed_transform(TransformConfig())(image)
    assert pixels[:, 2, 2].tolist() == pixels[:, -3, -3].tolist() == [255, 0, 0]
    assert pixels[:, 112, 112].tolist() == [255, 255, 255]


def test_golden() -> None:
    """The preprocessing has not changed: every stored embedding depends on it."""
    pixels = embed_transform(TransformConfig())(chart())
    for (row, column), expected in GOLDEN.items():
        assert np.abs(pixels[:, row, column].astype(int) - expected).max() <= 1, (row, column)


def test_normalize() -> None:
    """Raw values of 0 to 255 never reach the network: white becomes (1 - mean) / std, black -mean / std."""
    config = TransformConfig()
    mean, std = np.array(config.mean), np.array(config.std)
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2, 3, 1, 3)
    normalized = Normalize(config)(pixels)
    assert normalized.dtype == torch.float32
    for column, value in enumerate([0.0, 0.2, 1.0]):
        assert np.allclose(normalized[1, :, 0, column], (value - mean) / std, atol=1e-6)
    assert np.allclose(normalized[0, :, 0, 2], [2.2489, 2.4286, 2.64], atol=1e-3)


def test_normalize_follows_config() -> None:
    """A model with other statistics is normalised with these."""
    config = TransformConfig(mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.1))
    assert Normalize(config)(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten().tolist() == [1.0, 2.0, 5.0]


class Recorder:
    """An engine that records its inputs."""

    def __init__(self) -> None:
        self.batches: list[NDArray[np.uint8]] = []

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(pixels)
        return np.eye(1, DIM, dtype=np.float32).repeat(len(pixels), 0)


def test_one_preprocessing(embedder: Embedder, tmp_path: Path) -> None:
    """Ingest and query give the network the same pixels for the same bytes."""
    data = jpeg(picture(1, (900, 700)))
    (tmp_path / "a.jpg").write_bytes(data)
    reader = PhotoReader(embedder.preprocess, 10**6, StageTimer())
    ingested = reader.read(Photo("p", Listing("l"), str(tmp_path / "a.jpg")), None)
    recorder = Recorder()
    Embedder(embedder.card, recorder).embed([open_photo(data)])
    assert isinstance(ingested, ReadPhoto)
    assert ingested.sha256 == hashlib.sha256(data).hexdigest()
    assert np.array_equal(recorder.batches[0][0], ingested.pixels)
