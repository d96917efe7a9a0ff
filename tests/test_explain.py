"""Scores taken apart: the cells add up to the score, and they are where the reason is."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from catalog.errors import ModelMissing
from embedding.card import ArchitectureConfig, ClassifierHeadConfig, TransformConfig, TwoPartHeadConfig
from embedding.embedder import Embedder
from embedding.explain import GRID, Explainer, overlay
from embedding.model import EmbeddingModel
from embedding.photos import open_photo
from tests.conftest import LISTINGS, picture
from tests.test_shipped_model import FOLDER

HEADS = {
    "pooled": ArchitectureConfig(),
    "classifier": ArchitectureConfig(head=ClassifierHeadConfig()),
    "two_part": ArchitectureConfig(head=TwoPartHeadConfig(categories=3)),
}


def embed(model: EmbeddingModel, image: Image.Image) -> np.ndarray:
    pixels = Explainer(model)._transform(image)[None]
    with torch.no_grad():
        return model(pixels)[0].numpy()


@pytest.mark.parametrize("size", [224, 160, 200])
@pytest.mark.parametrize("head", HEADS)
def test_cells_add_up_to_the_score(head: str, size: int) -> None:
    """For every head and photo size, also where a stage's map is no multiple of 7."""
    torch.manual_seed(0)
    model = EmbeddingModel(HEADS[head], TransformConfig(size=size)).eval()
    one, other = picture(1, (300, 200)), picture(2, (200, 300))
    heat = Explainer(model).heat(one, embed(model, other))
    assert heat.shape == (GRID, GRID)
    assert heat.sum() == pytest.approx(float(embed(model, one) @ embed(model, other)), abs=1e-4)


def test_the_shipped_model_on_real_photos() -> None:
    """What the API serves, ONNX Runtime, and what explains it, torch, agree to a thousandth."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    paths = sorted((LISTINGS / "images").iterdir())[:6]
    photos = [open_photo(path.read_bytes()) for path in paths]
    embedder = Embedder.load(FOLDER)
    vectors = embedder.embed(photos)
    for one, vector in zip(photos, vectors[::-1], strict=True):
        own = embedder.embed([one])[0]
        assert embedder.explainer.heat(one, vector).sum() == pytest.approx(float(own @ vector), abs=1e-3)


def test_the_heat_is_where_the_thing_is() -> None:
    """A photo, pasted into one corner of a grey one, matches itself from there."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    embedder = Embedder.load(FOLDER)
    path = sorted((LISTINGS / "images").iterdir())[0]
    thing = open_photo(path.read_bytes()).resize((224, 224))
    scene = Image.new("RGB", (448, 448), (128, 128, 128))
    for corner, cells in (((0, 0), np.s_[:4, :4]), ((224, 224), np.s_[3:, 3:])):
        image = scene.copy()
        image.paste(thing, corner)
        heat = embedder.explainer.heat(image, embedder.embed([thing])[0])
        here = heat[cells].mean()
        assert here > 2 * np.mean(np.delete(heat.ravel(), np.arange(49).reshape(7, 7)[cells].ravel()))


def test_an_overlay_is_the_photo_with_colours() -> None:
    """Red where the heat is positive, blue where it is negative, as large as the photo."""
    image = Image.new("RGB", (140, 70), "white")
    ImageDraw.Draw(image).line((0, 0, 139, 69), "black")
    heat = np.zeros((GRID, GRID), np.float32)
    heat[:, 0], heat[:, 6] = 1, -1
    drawn = overlay(image, heat)
    assert drawn.size == image.size
    left, middle, right = (drawn.getpixel((x, 10)) for x in (4, 70, 135))
    assert left[0] > left[2] + 50
    assert right[2] > right[0] + 50
    assert middle == (255, 255, 255)
    assert overlay(image, 0 * heat).tobytes() == image.tobytes()


def test_a_model_without_a_folder_says_so(embedder: Embedder) -> None:
    """What cannot be loaded is not made up."""
    with pytest.raises(ModelMissing, match="lies in no folder"):
        _ = embedder.explainer
