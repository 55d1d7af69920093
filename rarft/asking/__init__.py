"""Ask a model in this process, in several processes, or behind a server, by one interface (`rarft.asking.asker`)."""

from rarft.asking.answer import Answer, Prediction
from rarft.asking.asker import Asker, LocalAsker, WorkersAsker, load_asker
from rarft.asking.questions import infer_all, read_questions

__all__ = ["Answer", "Asker", "LocalAsker", "Prediction", "WorkersAsker", "infer_all", "load_asker", "read_questions"]
