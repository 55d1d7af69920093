"""Let `import torchvision` work where its compiled operators do not match the installed torch.

`transformers` builds its video processors on torchvision's transforms, which are plain Python over torch. But a
torchvision wheel built for CUDA, beside a CPU build of torch, fails at import: it registers shape functions for
operators that were never loaded. Declaring those operators is enough. A matching pair of wheels is left alone.
"""

import torch


def _declare_missing_operators() -> None:
    schemas = {
        "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    }
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in schemas.values():
            library.define(schema)
        globals()["_library"] = library  # a Library undoes its definitions when it is collected
        import torchvision  # noqa: F401


_declare_missing_operators()
