"""Training recipes: the head of each recipe, its initialisation and its losses."""

from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, normalize, relu

from catalog.listing import Embeddings
from catalog.progress import Advance
from embedding.card import ArchitectureConfig, ClassifierHeadConfig, HeadConfig, TransformConfig, TwoPartHeadConfig
from embedding.model import ClassifierHead, EmbeddingModel, TwoPartHead, as_tensors
from embedding.model_import import StartWeights
from embedding.training.metric_learning import NormalizedSoftmaxLoss
from embedding.training.prepared_dataset import PhotoDataset, Targets, TargetTable, iter_batches

Recipe = Literal["listing", "seed"]
Losses = dict[str, Tensor]
"""Losses by name; their sum is minimised."""

TEMPERATURE = 0.05
LABEL_SMOOTHING = 0.1
# Dropout before and after the kind layer: a few thousand listings are soon memorised.
TOP_DROPOUT, KIND_DROPOUT = 0.6, 0.3

_READ_BATCH = 64


class Trainee(nn.Module):
    """A model in training, with the layers that are not saved. Each recipe is a subclass."""

    def __init__(self, head: HeadConfig, start: StartWeights) -> None:
        super().__init__()
        self.model = EmbeddingModel(ArchitectureConfig(head=head), TransformConfig())
        self.model.trunk.load_state_dict(as_tensors(start.trunk))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def initialize_head(self, pooled_features: Tensor, table: TargetTable) -> None:
        """Prepare the head for its first epoch. `pooled_features` (n, 3584) of the frozen trunk match the table."""

    def forward(self, inputs: Tensor, targets: Targets) -> Losses:
        """Compute the losses of uint8 photos (n, 3, h, w), or of pooled features of the frozen trunk (n, 3584)."""
        pooled_features = inputs if inputs.ndim == 2 else self.extract_features(inputs)
        # The trunk may run in mixed precision; heads and losses are cheap, and bfloat16 is too coarse for them.
        with torch.autocast(pooled_features.device.type, enabled=False):
            return self.losses(pooled_features, targets)

    def losses(self, pooled_features: Tensor, targets: Targets) -> Losses:
        """Compute the losses of a batch."""
        raise NotImplementedError

    def logits(self, pooled_features: Tensor) -> Tensor:
        """Compute the logits of the categories: (n, categories)."""
        raise NotImplementedError

    def extract_features(self, pixels: Tensor) -> Tensor:
        """Extract the pooled features of uint8 photos (n, 3, h, w): (n, 3584), float32."""
        photos = self.model.normalize(pixels).contiguous(memory_format=torch.channels_last)
        pooled_features: Tensor = self.model.trunk(photos)
        return pooled_features

    @torch.inference_mode()
    def extract_dataset_features(self, dataset: PhotoDataset, advance: Advance = lambda _: None) -> Tensor:
        """Extract the pooled features of all photos of a data set, in order: (n, 3584). Raises ExportUnreadable."""
        self.eval()
        batches = []
        for pixels in iter_batches(dataset, _READ_BATCH):
            batches.append(self.extract_features(pixels.to(self.device)))
            advance(len(pixels))
        return torch.cat(batches)

    @torch.inference_mode()
    def embed_and_classify(self, pooled_features: Tensor) -> tuple[Embeddings, NDArray[np.float32]]:
        """Return embeddings (n, dim) and probabilities of the categories (n, categories)."""
        self.eval()
        return self.model.head(pooled_features).cpu().numpy(), self.logits(pooled_features).softmax(dim=1).cpu().numpy()


class ListingTrainee(Trainee):
    """Learns listings with the whole embedding; categories, subcategories and title words with its kind part.

    Listings are learned by normalised softmax over their ids: Zhai & Wu, "Classification is a Strong Baseline for
    Deep Metric Learning", 2019. Title words say far more about an item than its category; they are learned as in Joulin
    et al., "Learning Visual Features from Large Weakly Supervised Data", 2016.
    """

    def __init__(self, start: StartWeights, table: TargetTable, categories: int) -> None:
        config = TwoPartHeadConfig(categories=categories)
        super().__init__(config, start)
        self.listings = NormalizedSoftmaxLoss(int(table.listing.max()) + 1, config.dim, temperature=TEMPERATURE)
        self.subcategory = nn.Linear(config.kind_dim, int(table.subcategory.max()) + 1)
        self.words = nn.Linear(config.kind_dim, table.words.shape[1])

    @property
    def head(self) -> TwoPartHead:
        """The model's head."""
        return cast(TwoPartHead, self.model.head)

    @torch.no_grad()
    def initialize_head(self, pooled_features: Tensor, table: TargetTable) -> None:
        """Start with whitened features, and with each listing's weights at the mean of its photos."""
        middle, top = self.head.inputs(pooled_features)
        whiten(self.head.item, middle)
        whiten(self.head.kind, top)
        embeddings = self.head(pooled_features)
        sums = torch.zeros_like(self.listings.W.T)
        sums.index_add_(0, torch.from_numpy(table.listing).to(pooled_features.device), embeddings)
        self.listings.W.copy_(normalize(sums, dim=1).T)

    def losses(self, pooled_features: Tensor, targets: Targets) -> Losses:
        """Compute the losses of a batch."""
        embeddings = self.head(pooled_features, TOP_DROPOUT if self.training else 0.0)
        kind = dropout(self.head.kind_part(embeddings), KIND_DROPOUT, self.training)
        category = cross_entropy(self.head.category(kind), targets.category, label_smoothing=LABEL_SMOOTHING)
        subcategory = cross_entropy(self.subcategory(kind), targets.subcategory, label_smoothing=LABEL_SMOOTHING)
        losses = {
            "listing": self.listings(embeddings, targets.listing),
            "category": 0.5 * category,
            "subcategory": 0.3 * subcategory,
        }
        has_words = targets.words.any(dim=1)
        if has_words.any():
            shares = targets.words[has_words] / targets.words[has_words].sum(dim=1, keepdim=True)
            losses["words"] = cross_entropy(self.words(kind[has_words]), shares)
        return losses

    def logits(self, pooled_features: Tensor) -> Tensor:
        """Compute the logits of the categories: (n, categories)."""
        return self.head.classify(self.head(pooled_features))


class SeedTrainee(Trainee):
    """The student system: ImageNet's last layer and extra layers, trained by cross-entropy over categories."""

    def __init__(self, start: StartWeights, categories: int) -> None:
        super().__init__(ClassifierHeadConfig(), start)
        self.head.fc.load_state_dict(as_tensors({name: start.state[f"fc.{name}"] for name in ("weight", "bias")}))
        self.extra_layers = nn.Sequential(nn.Linear(1000, 256), nn.ReLU(), nn.Linear(256, categories))

    @property
    def head(self) -> ClassifierHead:
        """The model's head."""
        return cast(ClassifierHead, self.model.head)

    def losses(self, pooled_features: Tensor, targets: Targets) -> Losses:
        """Compute the losses of a batch."""
        return {"category": cross_entropy(self.logits(pooled_features), targets.category)}

    def logits(self, pooled_features: Tensor) -> Tensor:
        """Compute the logits of the categories: (n, categories)."""
        logits: Tensor = self.extra_layers(relu(self.head.outputs(pooled_features)))
        return logits


def make_trainee(recipe: Recipe, start: StartWeights, table: TargetTable, categories: int) -> Trainee:
    """Build the trainee of a recipe, its trunk with the start weights."""
    return SeedTrainee(start, categories) if recipe == "seed" else ListingTrainee(start, table, categories)


@torch.no_grad()
def whiten(layer: nn.Linear, inputs: Tensor) -> None:
    """Initialise a linear layer as PCA whitening of its inputs (n, in_features), shrunk by a tenth against noise.

    Jégou & Chum, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening", 2012.
    """
    mean = inputs.mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov((inputs - mean).T.double()))
    variances, directions = variances[-layer.out_features :].clamp(min=0), directions[:, -layer.out_features :]
    shrunk = variances + 0.1 * variances.mean()
    weight = (directions / shrunk.sqrt()).T
    layer.weight.copy_(weight)
    layer.bias.copy_(-weight @ mean.double())
