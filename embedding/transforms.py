"""Image -> model input. Pixels stay uint8 here; the model's first layer scales and normalises them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedding.card import TransformConfig

Transform = Callable[[Image.Image], NDArray[np.uint8]]

# One preprocessing for ingest, search, training and the ONNX graph: `open_photo` decodes, `embed_transform` resizes,
# and the network scales and normalises. So nobody can pass raw or doubly normalised pixels, and a waiting batch takes
# a quarter of the bytes. Photos are squeezed to a square: a centre crop would lose what sellers put at the edge.


def embed_transform(config: TransformConfig) -> Transform:
    """Return the transform RGB image -> uint8 pixels (3, size, size), the same for ingest, query and training.

    Pillow's filters widen with the scale, so downscaling does not alias.
    """
    side, interpolation = (config.size, config.size), Image.Resampling[config.interpolation.upper()]

    def transform(image: Image.Image) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.asarray(image.resize(side, interpolation)).transpose(2, 0, 1))

    return transform
