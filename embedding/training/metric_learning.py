"""What is used of pytorch-metric-learning, without a side effect of importing it.

It imports `faiss.contrib.torch_utils`, which replaces the methods of FAISS indexes, and from then on every search of
Milvus Lite in the same process fails: the replacement takes no search parameters. The library does without that module.
"""

import sys

_PATCH = "faiss.contrib.torch_utils"
_before = sys.modules.get(_PATCH)
sys.modules[_PATCH] = None  # type: ignore[assignment] # as if it were not installed
try:
    from pytorch_metric_learning.losses import NormalizedSoftmaxLoss
    from pytorch_metric_learning.samplers import HierarchicalSampler
    from pytorch_metric_learning.utils import common_functions
finally:
    if _before is None:
        del sys.modules[_PATCH]
    else:
        sys.modules[_PATCH] = _before

__all__ = ["HierarchicalSampler", "NormalizedSoftmaxLoss", "common_functions"]
