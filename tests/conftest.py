import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from rarft.course import sample_world
from rarft.encoder import default_encoder
from rarft.models import freeze_vision, load_model


@pytest.fixture(scope="session", autouse=True)
def threads():
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def world():
    return sample_world()


@pytest.fixture(scope="session")
def encoder():
    return default_encoder()


@pytest.fixture
def base():
    """A fresh copy of the shipped base, vision tower frozen."""
    model, processor = load_model(dtype="float32")
    freeze_vision(model)
    return model, processor
