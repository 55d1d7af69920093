"""What a model wrote → what it says: completion → answer → segments, each in a module of its own.

Rewards and evaluation read alike.
"""

from rarft.reading.answer import read_answer
from rarft.reading.completion import NIL, READINGS, Response, format_completion, parse_response, text_of

__all__ = ["NIL", "READINGS", "Response", "format_completion", "parse_response", "read_answer", "text_of"]
