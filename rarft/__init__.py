"""rarft: refusal-aware reinforcement fine-tuning of video language models, after arXiv 2511.23151."""

__version__ = "0.1.0"
