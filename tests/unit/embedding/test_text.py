"""The text tower: which texts are the same, what an unknown one gives, and the way back from a stored vector."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding.text.features import MAX_CHARACTERS, extract_features, words_of
from embedding.text.stored_words import MAX_SHARE, add_titles, remove_titles
from tests.support.data.models import fake_words, worded_embedder


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CAFÉ-Stühle", ["cafe", "stuhle"]),
        (unicodedata.normalize("NFD", "CAFÉ-Stühle"), ["cafe", "stuhle"]),
        ("Straße ½ ﬁt", ["strasse", "1", "2", "fit"]),
        ("50cm  TV/Hi-Fi!", ["50cm", "tv", "hi", "fi"]),
        ("стол Ёлка", ["стол", "елка"]),
        ("東京の家具", ["東京の家具"]),
        ("가구", ["가구"]),
        ("ไม้เก้าอี้", ["ไม้เก้าอี้"]),
        ("हिन्दी", ["हिन्दी"]),
        ("", []),
        ("🛋️ !!! …", []),
    ],
)
def test_the_words_of_a_text(text: str, words: list[str]) -> None:
    """Case, accents, forms and punctuation do not matter; vowel signs belong to their word."""
    assert words_of(text) == words


def test_alike_words_share_pieces() -> None:
    """A plural, a compound and a typing error share most pieces; a script without blanks has pieces of its own."""

    def shared(first: str, second: str) -> float:
        one, other = set(extract_features(first).pieces), set(extract_features(second).pieces)
        return len(one & other) / len(one)

    assert shared("wardrobe", "wardrobes") > 0.8
    assert shared("wardrobe", "wadrobe") > 0.4
    assert shared("tisch", "esstisch") > 0.5
    assert shared("家具", "東京の家具") == 1
    assert not extract_features("東京の家具").words
    assert shared("wardrobe", "trousers") == 0


def test_a_long_text_is_cut() -> None:
    """100,000 characters take no longer than 2,000."""
    assert extract_features("oak table " * 10_000) == extract_features(("oak table " * 10_000)[:MAX_CHARACTERS])


@given(st.text(max_size=200))
def test_any_text_has_a_vector_or_none(text: str) -> None:
    """A text has unit length or, without a known feature, is zero and known to be unknown; equal texts are equal."""
    tower = fake_words(dim=16)
    ((vector, again), (known, _)) = tower.embed([text, text]), tower.known_share([text, text])
    assert np.array_equal(vector, again)
    assert np.linalg.norm(vector) == pytest.approx(1.0 if known else 0.0, abs=1e-5)


def test_unknown_words_are_known_to_be_unknown() -> None:
    """The share of known features is 1 for known words, 0 for others, and between for both."""
    known, half, unknown, nothing = fake_words().known_share(["oak", "oak xyzzy", "xyzzy", "🛋️"])
    assert known == 1
    assert 0 < half < 1
    assert unknown == nothing == 0


def test_a_batch_gives_what_single_texts_give() -> None:
    """Batches are only for speed."""
    tower = fake_words(dim=32)
    texts = [
        f"{first} {second} {number}" for number in range(20) for first in ("red", "old") for second in ("lamp", "x")
    ]
    texts = [*texts * 20, "", "xyzzy"]
    together = tower.embed(texts)
    assert np.allclose(together, np.concatenate([tower.embed([text]) for text in texts]), atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0, MAX_SHARE))
def test_a_photo_comes_back_from_its_stored_vector(seed: int, share: float) -> None:
    """Stored vectors have unit length, and photo and title give each other away."""
    random = np.random.default_rng(seed)
    photos, titles = (random.normal(size=(5, 8)).astype(np.float32) for _ in range(2))
    photos /= np.linalg.norm(photos, axis=1, keepdims=True)
    titles /= np.linalg.norm(titles, axis=1, keepdims=True)
    titles[0], titles[1], titles[2] = 0, photos[1], -photos[2]
    stored = add_titles(photos, titles, share)
    assert np.linalg.norm(stored, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(stored[0], photos[0])
    assert remove_titles(stored, titles, share) == pytest.approx(photos, abs=1e-4)


def test_a_changed_title_gives_the_vector_of_the_new_one() -> None:
    """Changing the title in a stored vector gives what the photo and the new title would have given."""
    model = worded_embedder()
    photos = np.random.default_rng(0).normal(size=(4, model.dim)).astype(np.float32)
    photos /= np.linalg.norm(photos, axis=1, keepdims=True)
    before, after = ["red chair", "oak table", "", "xyzzy"], ["blue lamp", "oak table", "old lamp", ""]
    stored = model.add_titles(photos, before)
    changed = model.replace_titles(stored, before, after)
    assert np.allclose(changed, model.add_titles(photos, after), atol=1e-5)
    assert np.array_equal(changed[1], stored[1])
    assert np.allclose(model.remove_titles(changed, after), photos, atol=1e-5)
