"""Further signals to train on: chapter 15.

`igv` answers questions with a shortcut planted in them (`shortcut`); `prvg` learns paragraphs; `invert4tvg` and
`consistency` add to what a video language model is rewarded for.
"""

from rarft.related.signals.consistency import consistency_reward
from rarft.related.signals.igv import IGV
from rarft.related.signals.invert4tvg import TASKS, inverse_demonstrations, inverse_reward, invert_sample
from rarft.related.signals.prvg import PRVG, paragraphs_of
from rarft.related.signals.shortcut import ANSWERS, TwoShotQuestion, draw_absent_questions, draw_questions

__all__ = [
    "ANSWERS",
    "IGV",
    "PRVG",
    "TASKS",
    "TwoShotQuestion",
    "consistency_reward",
    "draw_absent_questions",
    "draw_questions",
    "inverse_demonstrations",
    "inverse_reward",
    "invert_sample",
    "paragraphs_of",
]
