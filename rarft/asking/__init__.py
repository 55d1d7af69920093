"""Ask a model on this machine or behind a server, by one interface (`rarft.asking.asker`)."""

from rarft.asking.answer import Answer, Prediction
from rarft.asking.asker import Asker, LocalAsker, load_asker
from rarft.asking.questions import infer_all, read_questions

__all__ = ["Answer", "Asker", "LocalAsker", "Prediction", "infer_all", "load_asker", "read_questions"]
