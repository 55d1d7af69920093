"""Other systems of the field, small but true to their mechanism, under one protocol: what does each say to a query
that the video does not show?

`moments` (chapter 13): systems that find a moment in a clip: UniVTG, cyclic consensus, evidential regression, phrase
alignment, VTG-GPT, and baselines that never look.
`long_video` (chapter 14): ways to choose where a grounder looks in a video of minutes: every window, retrieval by
captions, query expansion, Vgent, AdaVideoRAG.
`signals` (chapter 15): other signals to train on: IGV with planted shortcuts, PRVG's paragraphs, Invert4TVG's inverse
tasks, and a reward for consistency.

`protocol` says what a system has to do and measures it; `features` holds what all read of videos and texts.
"""

from rarft.related.features import FeatureBank
from rarft.related.protocol import Answer, System, choose_threshold, measure

__all__ = ["Answer", "FeatureBank", "System", "choose_threshold", "measure"]
