"""rarft: refusal-aware reinforcement fine-tuning of video language models, after arXiv 2511.23151."""

from rarft.system import torchvision

__version__ = "0.2.0"

torchvision.install()
