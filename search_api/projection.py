"""Embeddings -> positions on a map. Pure."""

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from catalog.index import Embeddings

_PCA_DIM = 50
_MIN_FOR_TSNE = 10
_SEED = 0


def project(embeddings: Embeddings) -> NDArray[np.float32]:
    """Lay out embeddings (n, dim) in two dimensions (n, 2), neighbours near each other; the same input, the same map.

    PCA to 50 dimensions, then t-SNE (van der Maaten and Hinton, 2008) with Barnes-Hut approximation.
    """
    count = len(embeddings)
    if count < _MIN_FOR_TSNE:  # too few to have neighbourhoods
        flat = PCA(min(2, count), random_state=_SEED).fit_transform(embeddings) if count > 1 else np.zeros((count, 1))
        return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1]))).astype(np.float32)
    reduced = PCA(min(_PCA_DIM, count, embeddings.shape[1]), random_state=_SEED).fit_transform(embeddings)
    tsne = TSNE(perplexity=min(30.0, count / 4), init="pca", random_state=_SEED, n_jobs=-1)
    return np.asarray(tsne.fit_transform(reduced), np.float32)
