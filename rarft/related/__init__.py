"""Other systems of the field, small but true to their mechanism, under one protocol: what does each say to a query
that the video does not show?

One file a system (`univtg`, `cycle`, `evidential`, `phrases`, `vtg_gpt`, `prvg`); `protocol` says what a system has to
do and measures it, `bank` holds what all read of videos and texts, `blocks` what most are built of. For videos of
minutes (`long_video`), `retrieval` holds what is known before anyone asks; by it `expansion`, `vgent` and
`ada_video_rag` choose where a grounder looks (`looking`). `igv` answers questions, with a `shortcut` planted in them;
`invert4tvg` and `consistency` add to what a video language model is rewarded for.
"""

from rarft.related.bank import Bank
from rarft.related.long_video.vgent import Vgent
from rarft.related.moments.cycle import Cycle
from rarft.related.moments.evidential import Evidential
from rarft.related.moments.phrases import PhraseAlignment
from rarft.related.moments.univtg import UniVTG
from rarft.related.moments.vtg_gpt import VTGGPT, rewritten, timeline_captions
from rarft.related.protocol import Answer, System, choose_threshold, measure

__all__ = [
    "VTGGPT",
    "Answer",
    "Bank",
    "Cycle",
    "Evidential",
    "PhraseAlignment",
    "System",
    "UniVTG",
    "Vgent",
    "choose_threshold",
    "measure",
    "rewritten",
    "timeline_captions",
]
