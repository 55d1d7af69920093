"""Questions about many videos, to a model in this process or behind a server (`rarft.asking.server`)."""

from rarft.asking.batch import LocalModel, answer_of, infer_all, read_questions

__all__ = ["LocalModel", "answer_of", "infer_all", "read_questions"]
