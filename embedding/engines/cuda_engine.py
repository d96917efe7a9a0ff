"""The network in torch on an NVIDIA GPU. Needs the extra `gpu` or `train`."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from embedding.model import EmbeddingModel

logger = logging.getLogger(__name__)


class CudaEngine:
    """The network on a GPU: convolutions in bfloat16, the head in float32, so that embeddings match a CPU's."""

    def __init__(self, model: EmbeddingModel, device: str = "cuda") -> None:
        self._device = torch.device(device)
        self._model = model.to(self._device).to(memory_format=torch.channels_last)
        self._trunk = torch.compile(self._extract_features, dynamic=True)
        try:
            self.run(np.zeros((2, 3, model.transform.size, model.transform.size), np.uint8))
        except RuntimeError as error:
            # Compiling needs a C compiler; all errors of torch._dynamo are RuntimeErrors.
            logger.warning(
                "torch.compile failed (%s); embedding without it, which is slower", str(error).partition("\n")[0]
            )
            self._trunk = self._extract_features

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch: uint8 (n, 3, size, size) -> float32 (n, dim)."""
        host = torch.from_numpy(pixels)
        # A copy from pinned memory runs in parallel to the GPU's work.
        batch = (host.pin_memory() if self._device.type == "cuda" else host).to(self._device, non_blocking=True)
        with torch.inference_mode():
            embeddings: NDArray[np.float32] = self._model.head(self._trunk(batch)).cpu().numpy()
        return embeddings

    def _extract_features(self, pixels: torch.Tensor) -> torch.Tensor:
        channels_last = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16):
            pooled_features: torch.Tensor = self._model.trunk(self._model.normalize(channels_last))
        return pooled_features
