import pytest

from rarft.models import VideoModel
from rarft.related import FeatureBank


@pytest.fixture(scope="module")
def bank():
    return FeatureBank(VideoModel.load(device="cpu"))
