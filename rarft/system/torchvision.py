"""Let `import torchvision` work where its compiled operators do not match the installed torch.

`transformers` builds its video processors on torchvision's transforms, which are plain Python over torch. But a
torchvision wheel built for CUDA fails at import next to a CPU build of torch: it registers shape functions for
operators that were never loaded. Declaring those operators is enough. A matching pair of wheels is left alone.
"""

import sys
from importlib.abc import MetaPathFinder

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class _DeclareMissingOperators(MetaPathFinder):
    """Finds nothing itself. Runs just before torchvision registers its shape functions, so that nothing is imported
    before it is needed."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision._meta_registrations":
            import torch

            # kept as an attribute: a Library removes its definitions when it is garbage-collected
            self.library = torch.library.Library("torchvision", "FRAGMENT")
            for operator, schema in _OPERATORS.items():
                if not hasattr(torch.ops.torchvision, operator):
                    self.library.define(schema)
        return None


def install() -> None:
    """Declare missing operators when torchvision is imported later. Calling this twice has no further effect."""
    if not any(isinstance(finder, _DeclareMissingOperators) for finder in sys.meta_path):
        sys.meta_path.insert(0, _DeclareMissingOperators())
