import pytest

from rarft.models import VideoModel
from rarft.related import Bank


@pytest.fixture(scope="module")
def bank():
    return Bank(VideoModel.load(device="cpu"))
