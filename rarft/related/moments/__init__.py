"""Systems that find a moment in a clip: chapter 13.

`univtg`, `cycle`, `evidential` and `phrase_alignment` train heads on features of each second (`blocks`, `training`)
with groups of queries (`data`). `vtg_gpt` compares captions. `baselines` never look.
"""

from rarft.related.moments.baselines import ConstantBaseline, QueryOnlyBaseline
from rarft.related.moments.blocks import generalised_iou
from rarft.related.moments.cycle import Cycle
from rarft.related.moments.data import order_pairs, query_groups
from rarft.related.moments.evidential import Evidential
from rarft.related.moments.phrase_alignment import PhraseAlignment
from rarft.related.moments.univtg import UniVTG
from rarft.related.moments.vtg_gpt import VTGGPT, refusal_score, timeline_captions

__all__ = [
    "VTGGPT",
    "ConstantBaseline",
    "Cycle",
    "Evidential",
    "PhraseAlignment",
    "QueryOnlyBaseline",
    "UniVTG",
    "generalised_iou",
    "order_pairs",
    "query_groups",
    "refusal_score",
    "timeline_captions",
]
