"""What a model wrote → what it says: completion → answer → segments. Rewards and evaluation read alike.

completion    tags, and what the answer claims: `parse_response`
answer        a segment, a refusal, or unreadable: `read_answer`
json_answers  JSON in an answer, in plain words
segments      two times that belong together, in whatever way they are written
"""

from rarft.reading.answer import read_answer
from rarft.reading.completion import NIL, READINGS, Response, format_completion, parse_response, text_of

__all__ = ["NIL", "READINGS", "Response", "format_completion", "parse_response", "read_answer", "text_of"]
