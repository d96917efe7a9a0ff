"""Learning the text tower: from titles to photos, with known answers, and `marketlens words` from command to model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalog.errors import ExportUnreadable
from catalog.progress import silent
from embedding.card import TwoPartHeadConfig, read_card
from embedding.checkpoint import load_model, load_weights, photo_fingerprint, trained_listing_hashes
from embedding.embedder import Embedder
from embedding.int8_weights import dequantize, quantize
from embedding.quantization.quantize import quantize_model
from embedding.text.tower import TextTower
from embedding.training.words import Lesson, Words, learn_words
from tests.support.commands import RunHere, assert_failed
from tests.support.data.exports import write_export

NAMES = ["Chairs", "Lamps", "Phones"]
THINGS = {
    "Chairs": ["oak chair", "dining chairs"],
    "Lamps": ["desk lamp", "floor lamp"],
    "Phones": ["iphone", "mobile"],
}
HEAD = TwoPartHeadConfig(item_dim=8, kind_dim=8, categories=3)


def lesson(listings: int = 240, seed: int = 0) -> Lesson:
    """Listings of six things in three categories; the photos of a thing are near each other."""
    random = np.random.default_rng(seed)
    rows, vectors = [], []
    for number in range(listings):
        name = NAMES[number % 3]
        which = number // 3 % 2
        thing, adjective = THINGS[name][which], random.choice(["old", "new", "great", "cheap"])
        rows.append((f"l{number}", f"{adjective} {thing}", f"A {name[:-1].lower()} in good order", name))
        vectors.append(np.eye(16)[2 * (number % 3) + which] + random.normal(0, 0.1, 16))
    embeddings = np.array(vectors, np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    frame = pd.DataFrame(rows, columns=["listing_id", "title", "description", "category"])
    return Lesson.of(frame, embeddings, NAMES)


@pytest.fixture(scope="module")
def words() -> Words:
    return learn_words(lesson(), HEAD, 0.4, seed=0, progress=silent)


@pytest.fixture(scope="module")
def tower(words: Words) -> TextTower:
    return TextTower(words.config, words.weights)


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("oak chair", 0),
        ("CHAIR, oak!", 0),
        ("chairs for dining", 1),
        ("lamps for a desk", 2),
        ("iphones", 4),
        ("dinning chiars", 1),
    ],
)
def test_words_point_to_their_photos(tower: TextTower, text: str, thing: int) -> None:
    """Also in another order, another number, and with a typing error."""
    (vector,) = tower.embed([text])
    assert int(np.argmax(vector[:6])) == thing  # the axes of the six things


def test_titles_tell_the_category(tower: TextTower) -> None:
    """A word of a title decides, and so does one that only descriptions have in common with it."""
    probabilities = tower.classify(["mobile", "floor lamp", "great"])
    assert probabilities is not None
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert probabilities[:2].argmax(axis=1).tolist() == [2, 1]
    assert probabilities[0, 2] > 0.8 > probabilities[2].max()


def test_the_same_data_gives_the_same_tower(words: Words) -> None:
    """Weights differ by no bit; another seed gives another tower."""
    again, other = (learn_words(lesson(), HEAD, 0.4, seed=seed, progress=silent) for seed in (0, 1))
    assert all(np.array_equal(words.weights[name], again.weights[name]) for name in words.weights)
    assert not np.array_equal(words.weights["text.hidden.weight"], other.weights["text.hidden.weight"])


def test_int8_says_the_same(words: Words, tower: TextTower) -> None:
    """Codes and hashes stay exact; the layers lose little."""
    stored = quantize(words.weights)
    assert stored["text.codes"].dtype == np.uint8
    assert stored["text.hashes"].dtype == np.uint32
    texts = ["old oak chair", "cheap iphone", "desk lamp"]
    cosines = (tower.embed(texts) * TextTower(words.config, dequantize(stored)).embed(texts)).sum(axis=1)
    assert cosines.min() > 0.99


def test_titles_without_common_words() -> None:
    """There is nothing to learn, and the error says so."""
    frame = pd.DataFrame(
        [("a", "qwert", "", "Chairs"), ("b", "uiopz", "", "Lamps")],
        columns=["listing_id", "title", "description", "category"],
    )
    with pytest.raises(ExportUnreadable, match="have a word in common"):
        learn_words(Lesson.of(frame, np.eye(16, dtype=np.float32)[:2], NAMES), HEAD, 0.4, seed=0, progress=silent)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 listings of one photo, titled by their category."""
    folder = write_export(tmp_path_factory.mktemp("words") / "export", 200, 1)
    table = folder / "Products.csv"
    lines = table.read_text().splitlines()
    table.write_text(
        "\n".join(line.replace("Thing", "garden table" if "Garden" in line else "home lamp") for line in lines) + "\n"
    )
    return folder


def test_command(export: Path, random_model: Path, tmp_path: Path, run_here: RunHere) -> None:
    """The photos' embeddings stay, the fingerprint changes, the card has the figures, its listings count as known."""
    out = tmp_path / "worded"
    done = run_here("words", random_model, export, "--out", out, "--title-share", "0.3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a title finds a photo of its listing" in done.stdout
    before, card = read_card(random_model), read_card(out)
    assert card.fingerprint != before.fingerprint == photo_fingerprint(out)
    assert card.architecture.text is not None
    assert card.architecture.text.title_share == 0.3
    assert card.metrics["words_recall_at_10"].queries == card.training["words"]["held_out_listings"] > 20
    assert len(trained_listing_hashes(out)) == 200
    old, new = load_weights(random_model), load_weights(out)
    assert all(np.array_equal(new[name], old[name]) for name in old)
    tower = Embedder.load(out).words
    assert tower is not None
    garden, home, again = tower.embed(["garden table 3", "home lamp 8", "GARDEN TABLES"])
    assert garden @ again > garden @ home
    # Learned again from the result: the tower is replaced, the photos are still the same.
    run_here("words", out, export, "--out", "again", cwd=tmp_path)
    assert photo_fingerprint(tmp_path / "again") == before.fingerprint


def test_quantized(export: Path, random_model: Path, tmp_path: Path, run_here: RunHere) -> None:
    """`model quantize` keeps the words, and words are added to an int8 model in int8."""
    run_here("words", random_model, export, "--out", "worded", cwd=tmp_path)
    quantize_model(tmp_path / "worded", tmp_path / "first")
    quantize_model(random_model, tmp_path / "int8")
    run_here("words", "int8", export, "--out", "second", cwd=tmp_path)
    for name in ("first", "second"):
        stored = load_weights(tmp_path / name)
        assert {stored[f"text.{layer}.weight"].dtype for layer in ("hidden", "embedding")} == {np.dtype(np.int8)}
        weights, card = load_model(tmp_path / name)
        assert card.architecture.text is not None
        assert weights["text.codebook"].dtype == np.float32


def test_too_few_listings(random_model: Path, tmp_path: Path, run_here: RunHere) -> None:
    """A handful of listings cannot be learned from and measured; nothing is written."""
    export = write_export(tmp_path / "export", 8)
    assert_failed(run_here("words", random_model, export, "--out", "out", cwd=tmp_path), 2, "too few to learn words")
    assert not (tmp_path / "out").exists()
