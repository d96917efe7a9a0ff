"""The parts of pytorch-metric-learning that are used, imported without a side effect.

The library imports `faiss.contrib.torch_utils`, which replaces the methods of FAISS indexes. The replacements take no
search parameters, so every later search of Milvus Lite in the same process fails. The library works without it.
"""

import sys

_PATCH = "faiss.contrib.torch_utils"
_original = sys.modules.get(_PATCH)
sys.modules[_PATCH] = None  # type: ignore[assignment] # as if it were not installed
try:
    from pytorch_metric_learning.losses import NormalizedSoftmaxLoss
    from pytorch_metric_learning.samplers import HierarchicalSampler
    from pytorch_metric_learning.utils import common_functions
finally:
    if _original is None:
        del sys.modules[_PATCH]
    else:
        sys.modules[_PATCH] = _original

__all__ = ["HierarchicalSampler", "NormalizedSoftmaxLoss", "common_functions"]
