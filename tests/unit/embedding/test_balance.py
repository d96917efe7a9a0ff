"""Balancing item part and kind part after training."""

from pathlib import Path

import numpy as np
import pytest

from catalog.errors import InvalidSetting
from catalog.progress import silent
from embedding.card import ArchitectureConfig, ModelCard, TransformConfig, TwoPartHeadConfig
from embedding.checkpoint import load_model, save_model
from embedding.embedder import Embedder
from embedding.model import EmbeddingModel, as_arrays
from embedding.training.balance import balance_model, shift
from tests.support.data.pictures import picture

HEAD = TwoPartHeadConfig(categories=3)


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retrained model of random weights, whose twin has the fingerprint 'twin'."""
    return save(
        tmp_path_factory.mktemp("models") / "model",
        HEAD,
        {"arguments": {"recipe": "listing", "seed": 0, "twin": "twin"}},
    )


def save(folder: Path, head: TwoPartHeadConfig, training: dict) -> Path:
    architecture = ArchitectureConfig(head=head)
    training = {"data": {}, "best_epoch": 1, "calibration_error": 0.01} | training
    card = ModelCard(
        name=folder.name,
        architecture=architecture,
        transform=TransformConfig(),
        categories=["a", "b", "c"],
        training=training,
        parent="random",
        licence="none",
    )
    save_model(folder, as_arrays(EmbeddingModel(architecture, TransformConfig()).state_dict()), card, {})
    return folder


def test_shift_is_what_the_network_gives(two_parts: Path, tmp_path: Path) -> None:
    """A balanced model gives the shifted embeddings, at unit length, and classifies as before."""
    twin = save(
        tmp_path / "twin", HEAD.model_copy(update={"kind_share": 0.7}), {"arguments": {}, "balanced_from": "twin"}
    )
    balance_model(two_parts, tmp_path, 0.7, tmp_path / "out", twin=twin, progress=silent)
    pictures = [picture(seed) for seed in range(3)]
    before = Embedder.load(two_parts)
    after = Embedder.load(tmp_path / "out")
    assert after.fingerprint != before.fingerprint
    embeddings = after.embed(pictures)
    assert np.allclose(shift(before.embed(pictures), HEAD, 0.7), embeddings, atol=1e-4)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-4)
    assert np.allclose((embeddings[:, HEAD.item_dim :] ** 2).sum(axis=1), 0.7, atol=1e-4)
    assert np.allclose(before.classify(before.embed(pictures)), after.classify(embeddings), atol=1e-3)
    assert "0.7 of a cosine" in (tmp_path / "out" / "README.md").read_text()


def test_only_the_models_own_twin_is_accepted(two_parts: Path, tmp_path: Path) -> None:
    """A retrained model without its twin, with another model's twin, or with a twin of another share is refused."""
    for folder in (
        None,
        save(
            tmp_path / "stranger",
            HEAD.model_copy(update={"kind_share": 0.7}),
            {"arguments": {}, "balanced_from": "another"},
        ),
        save(
            tmp_path / "other share",
            HEAD.model_copy(update={"kind_share": 0.6}),
            {"arguments": {}, "balanced_from": "twin"},
        ),
    ):
        with pytest.raises(InvalidSetting, match=r"twin|all splits"):
            balance_model(two_parts, tmp_path, 0.7, tmp_path / "out", twin=folder, progress=silent)
    assert not (tmp_path / "out").exists()


def test_a_model_without_two_parts_cannot_be_balanced(random_model: Path, tmp_path: Path) -> None:
    """A model without two parts is refused."""
    with pytest.raises(InvalidSetting, match="does not have two parts"):
        balance_model(random_model, tmp_path, 0.7, tmp_path / "out", twin=None, progress=silent)
    assert load_model(random_model)[1].architecture.head.kind == "pooled"
