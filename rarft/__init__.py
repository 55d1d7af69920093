"""rarft: refusal-aware reinforcement fine-tuning of video language models, after arXiv 2511.23151."""

from rarft import _torchvision

__version__ = "0.2.0"

_torchvision.install()
