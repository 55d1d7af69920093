import pytest

from rarft.models import VisionCache, freeze_vision, load_model
from rarft.related import Bank


@pytest.fixture(scope="module")
def bank():
    model = VideoModel.load(dtype="float32")
    return Bank(base)
