"""The model in `models/marketlens-resnet50`: complete, small enough for a repository, licensed, described correctly."""

import numpy as np
import pytest
import torch

from catalog.settings import ModelSettings
from embedding.card import read_card
from embedding.checkpoint import load_model, load_weights, trained_listing_hashes
from embedding.embedder import Embedder
from embedding.model import load_network
from embedding.photos import open_photo
from tests.support.data.pictures import picture
from tests.support.paths import LISTINGS, MODEL


def test_is_the_default() -> None:
    """Ingest, search and demo use the shipped model, without a download."""
    assert ModelSettings().path == MODEL
    assert load_model(MODEL)[1].architecture.head.dim == 512


def test_size() -> None:
    """The folder stays below 26 MB, with one copy of the weights, beside the words, which stay below 2 MB."""
    weights = load_weights(MODEL)
    words = sum(tensor.nbytes for name, tensor in weights.items() if name.startswith("text."))
    folder = sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file())
    assert words < 2_000_000
    assert folder - words < 26_000_000
    assert np.dtype(np.int8) in {tensor.dtype for tensor in weights.values()}


def test_words() -> None:
    """The shipped model understands English titles, also misspelt, and says what it does not know."""
    embedder = Embedder.load(MODEL)
    words = embedder.words
    assert words is not None
    wardrobe, misspelt, plural, phone = words.embed(["wardrobe", "wadrobe", "WARDROBES", "iPhone 12"])
    assert min(wardrobe @ misspelt, wardrobe @ plural) > 0.6 > wardrobe @ phone
    assert words.known_share(["机机"])[0] == 0
    assert embedder.card.words_calibration is not None
    assert embedder.card.category_weights is not None


def test_licence_and_card() -> None:
    """The folder has the licence of the start weights, a notice of the changes, and a card with measured figures."""
    assert "non-commercial" in (MODEL / "LICENSE-resnet50-imagenet.txt").read_text()
    assert "What was changed" in (MODEL / "NOTICE").read_text()
    card, text = read_card(MODEL), (MODEL / "README.md").read_text()
    for name in ("recall_at_1", "category_p_at_1", "head_top_1"):
        figure = card.metrics[name]
        assert figure.low < figure.mean < figure.high
        assert f"{figure.mean:.3f} | {figure.low:.3f} to {figure.high:.3f}" in text
    assert card.calibration is not None
    assert len(card.categories) == 13
    # It contains neither photos nor ids of its training data.
    assert not list(MODEL.rglob("*.jpg"))
    assert all(len(listing) == 16 for listing in trained_listing_hashes(MODEL))


def test_engines_agree() -> None:
    """ONNX Runtime and torch give the same embedding."""
    model, _ = load_network(MODEL)
    embedder = Embedder.load(MODEL)
    pixels = np.stack([embedder.preprocess(picture(seed, (200, 150))) for seed in range(8)])
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels)).numpy()
    assert (embedder.embed_pixels(pixels) * expected).sum(axis=1).min() >= 0.9999


def test_calibration_rises() -> None:
    """The nearer, the more probable. A stored vector also contains the title, so it is at most 0.9 near its photo."""
    curve = read_card(MODEL).calibration
    assert curve is not None
    unrelated, near, identical = curve.probability(np.array([0.1, 0.75, 1.0], np.float32))
    assert unrelated < 0.01
    assert 0.2 < near < 0.6
    assert identical > 0.75


def test_classifies_real_photos() -> None:
    """The category head classifies real listings far better than the 8 % of guessing the most frequent category."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    import pandas as pd

    products = pd.read_csv(LISTINGS / "Products.csv", index_col=0).drop_duplicates("id").set_index("id")
    images = pd.read_csv(LISTINGS / "Images.csv", index_col=0).iloc[::90]
    embedder = Embedder.load(MODEL)
    photos = [open_photo((LISTINGS / "images" / f"{photo_id}.jpg").read_bytes()) for photo_id in images["id"]]
    probabilities = embedder.classify(embedder.embed(photos))
    assert probabilities is not None
    predicted = np.array(embedder.card.categories)[probabilities.argmax(axis=1)]
    truth = products.loc[images["product_id"], "category"].str.split(" / ").str[0].to_numpy(str)
    assert (predicted == truth).mean() > 0.4
