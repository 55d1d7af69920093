"""Parse what a model wrote: completion → answer → segments, one module each.

Rewards and evaluation use the same parser.
"""

from rarft.reading.answer import read_answer
from rarft.reading.completion import NIL, READINGS, Response, format_completion, parse_response, text_of

__all__ = ["NIL", "READINGS", "Response", "format_completion", "parse_response", "read_answer", "text_of"]
