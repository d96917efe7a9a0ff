"""Heat maps: the cells add up to the score, and hot cells are where the matching item is."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from catalog.errors import ModelMissing
from embedding.card import (
    STAGE_CHANNELS,
    ArchitectureConfig,
    ClassifierHeadConfig,
    ModelCard,
    TransformConfig,
    TwoPartHeadConfig,
)
from embedding.embedder import Embedder
from embedding.explain import GRID, Explainer, cosine_and_slopes, overlay
from embedding.model import ClassifierHead, EmbeddingModel, TwoPartHead, as_arrays
from embedding.photos import open_photo
from embedding.transforms import embed_transform
from tests.support.data.pictures import picture
from tests.support.paths import LISTINGS, MODEL

HEADS = {
    "pooled": ArchitectureConfig(),
    "classifier": ArchitectureConfig(head=ClassifierHeadConfig()),
    "two_part": ArchitectureConfig(head=TwoPartHeadConfig(categories=3)),
}


def random_network(architecture: ArchitectureConfig, size: int = 224) -> tuple[EmbeddingModel, Explainer]:
    """Build a torch network of random weights and its explainer."""
    torch.manual_seed(0)
    model = EmbeddingModel(architecture, TransformConfig(size=size)).eval()
    card = ModelCard(
        name="random",
        architecture=architecture,
        transform=model.transform,
        categories=list("abc")[: architecture.head.categories],
        parent="none",
        licence="none",
    )
    return model, Explainer(card, as_arrays(model.state_dict()))


def embed(model: EmbeddingModel, image: Image.Image) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(embed_transform(model.transform)(image))[None])[0].numpy()


@pytest.mark.parametrize(
    ("head", "size"),
    [
        *((head, 160) for head in HEADS),
        ("two_part", 200),
        ("two_part", 224),
        *(pytest.param(head, size, marks=pytest.mark.slow) for head in ("pooled", "classifier") for size in (200, 224)),
    ],
)
def test_cells_add_up_to_the_score(head: str, size: int) -> None:
    """The cells add up to the score, for every head and photo size, also if a feature map is not a multiple of 7."""
    model, explainer = random_network(HEADS[head], size)
    image, other = picture(1, (300, 200)), picture(2, (200, 300))
    heat = explainer.heat_map(image, embed(model, other))
    assert heat.shape == (GRID, GRID)
    assert heat.sum() == pytest.approx(float(embed(model, image) @ embed(model, other)), abs=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_slopes_are_the_derivative(head: str) -> None:
    """The slopes equal torch's gradient of the score by the pooled features, with every scale constant."""
    model, explainer = random_network(HEADS[head])
    pooled_features = torch.rand(
        1, sum(STAGE_CHANNELS.values()), generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    other = np.random.default_rng(0).normal(size=HEADS[head].head.dim)
    cosine = embed_with_fixed_scales(model.head, pooled_features)[0] @ torch.from_numpy(other).float()
    (expected,) = torch.autograd.grad(cosine, pooled_features)
    parts = np.split(pooled_features[0].detach().double().numpy(), np.cumsum(list(STAGE_CHANNELS.values()))[:-1])
    explained, slopes = cosine_and_slopes(HEADS[head].head, explainer._weights, parts, other)
    assert explained == pytest.approx(cosine.item(), rel=1e-4)
    largest = expected.abs().max().item()
    assert largest > 0
    assert np.allclose(np.concatenate(slopes), expected[0].numpy(), atol=1e-4 * largest)


def embed_with_fixed_scales(head: nn.Module, pooled_features: Tensor) -> Tensor:
    """Apply the head to pooled features (1, 3584), with every scale constant for autograd."""

    def layer_norm(values: Tensor) -> Tensor:
        centred = values - values.mean(dim=1, keepdim=True)
        return centred / (centred.pow(2).mean(dim=1, keepdim=True) + 1e-5).sqrt().detach()

    def unit(values: Tensor) -> Tensor:
        return values / values.norm(dim=1, keepdim=True).detach()

    if not isinstance(head, TwoPartHead):
        layer4 = pooled_features[:, -STAGE_CHANNELS["layer4"] :]
        return unit(head.outputs(pooled_features) if isinstance(head, ClassifierHead) else layer4)
    layer2, layer3, layer4 = (
        layer_norm(stage) for stage in torch.split(pooled_features, list(STAGE_CHANNELS.values()), dim=1)
    )
    item = unit(head.item(torch.cat([layer2, layer3], dim=1)))
    kind = unit(layer_norm(head.kind(layer4)))
    share = head.config.kind_share
    return torch.cat([math.sqrt(1 - share) * item, math.sqrt(share) * kind], dim=1)


def test_the_shipped_model_on_real_photos() -> None:
    """The score that the API serves and the sum of its heat map agree to a thousandth."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    paths = sorted((LISTINGS / "images").iterdir())[:6]
    photos = [open_photo(path.read_bytes()) for path in paths]
    embedder = Embedder.load(MODEL)
    vectors = embedder.embed(photos)
    for photo, vector in zip(photos, vectors[::-1], strict=True):
        embedding = embedder.embed([photo])[0]
        assert embedder.explainer.heat_map(photo, vector).sum() == pytest.approx(float(embedding @ vector), abs=1e-3)


def test_the_heat_is_where_the_thing_is() -> None:
    """If a photo is pasted into one corner of a grey photo, that corner is hot."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    embedder = Embedder.load(MODEL)
    path = sorted((LISTINGS / "images").iterdir())[0]
    thing = open_photo(path.read_bytes()).resize((224, 224))
    scene = Image.new("RGB", (448, 448), (128, 128, 128))
    for corner, cells in (((0, 0), np.s_[:4, :4]), ((224, 224), np.s_[3:, 3:])):
        image = scene.copy()
        image.paste(thing, corner)
        heat = embedder.explainer.heat_map(image, embedder.embed([thing])[0])
        corner_mean = heat[cells].mean()
        assert corner_mean > 2 * np.mean(np.delete(heat.ravel(), np.arange(49).reshape(7, 7)[cells].ravel()))


def test_an_overlay_is_the_photo_with_colours() -> None:
    """The overlay is red for positive heat, blue for negative heat, and as large as the photo."""
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


def test_a_model_without_a_folder_has_no_explainer(embedder: Embedder) -> None:
    """The explainer of a model without a folder raises ModelMissing."""
    with pytest.raises(ModelMissing, match="has no folder"):
        _ = embedder.explainer
