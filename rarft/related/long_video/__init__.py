"""Systems that choose where to look in a video of minutes: chapter 14.

`videos` has the files and questions, `retrieval` what is known of a video before anyone asks. By it `expansion`,
`vgent` and `ada_video_rag` choose the `windows` that a `grounder` looks at.
"""

from rarft.related.long_video.ada_video_rag import AdaVideoRAG, NoRetrieval, Router
from rarft.related.long_video.expansion import enriched_queries
from rarft.related.long_video.grounder import CachedGrounder, Grounder
from rarft.related.long_video.retrieval import Index
from rarft.related.long_video.vgent import LLMVerifier, Vgent, entities_of
from rarft.related.long_video.videos import (
    PART_SECONDS,
    PARTS,
    kind_of_question,
    make_long_video,
    parts_of,
    questions_about,
)
from rarft.related.long_video.windows import (
    NearestWindows,
    SqueezedGrounder,
    WindowedGrounder,
    every_window,
    squeezing_reader,
)

__all__ = [
    "PARTS",
    "PART_SECONDS",
    "AdaVideoRAG",
    "CachedGrounder",
    "Grounder",
    "Index",
    "LLMVerifier",
    "NearestWindows",
    "NoRetrieval",
    "Router",
    "SqueezedGrounder",
    "Vgent",
    "WindowedGrounder",
    "enriched_queries",
    "entities_of",
    "every_window",
    "kind_of_question",
    "make_long_video",
    "parts_of",
    "questions_about",
    "squeezing_reader",
]
