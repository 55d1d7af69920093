import pytest

from rarft.models import VisionCache, freeze_vision, load_model
from rarft.related import Bank


@pytest.fixture(scope="module")
def bank():
    model, processor = load_model(dtype="float32")
    freeze_vision(model)
    return Bank(VisionCache(model, processor))
