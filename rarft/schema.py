"""The words of the task: spans of time, mismatch categories, difficulty, and one sample of a data set.

Source: RA-RFT (arXiv 2511.23151), the sections on the task and on HI-VTG.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from rarft.system.errors import InputError


class Span(NamedTuple):
    """A segment of a video, in seconds. `start <= end` is not enforced here: data sets contain bad rows
    and the linter (`rarft.hivtg.lint`) has to be able to hold them."""

    start: float
    end: float

    @classmethod
    def first_in(cls, text: str) -> Span | None:
        """The first `X to Y` of a text, as released files write it and released rewards read it: `to` in any case, no
        sign, no unit. Takes time linear in the length of the text. `rarft.reading` reads answers of any style."""
        found = re.search(r"(?<!\d)(\d++\.?\d*+)\s++to\s+(\d+\.?\d*)", text, re.IGNORECASE)
        return cls(float(found[1]), float(found[2])) if found else None

    @property
    def length(self) -> float:
        """In seconds; 0 for a reversed one."""
        return max(0.0, self.end - self.start)

    def __str__(self) -> str:
        return f"{seconds(self.start)} to {seconds(self.end)}"


def without_surrogates(text: str) -> str:
    """The text with a replacement character for each unpaired surrogate, which JSON allows but tokenizers and UTF-8 do
    not."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def seconds(value: float) -> str:
    """Write seconds the way the data does: at most two decimals, no trailing zeros (`4`, `9.3`, `49.97`)."""
    if not math.isfinite(value):
        raise InputError(f"a time must be a finite number of seconds, got {value!r}")
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def is_finite_number(value: Any) -> bool:
    """Whether a JSON value is a number that a float can hold: no bool, no NaN, no infinity, no integer of 400
    digits."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


class Crop(NamedTuple):
    """A video, or the part of it from `start` to `end` (seconds of the file; None: from its start, to its end)."""

    video: str  # a path
    start: float | None = None
    end: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Crop:
        """The crop that the keys `video`, `start` and `end` of a row name."""
        return cls(str(row["video"]), row.get("start"), row.get("end"))


class Verdict(StrEnum):
    """What a completion says to "when does this happen?"."""

    GROUNDS = "grounds"  # here: it gives a segment
    REFUSES = "refuses"  # nowhere: it says something else instead
    UNREADABLE = "unreadable"  # neither: cut short, without an answer, or with a segment that cannot be


class Category(StrEnum):
    """The eleven kinds of mismatch of HI-VTG; the value is the spelling of the released files."""

    ACTION_SEQUENCE = "Action/ActionSequence"
    FINE_GRAINED_ACTION = "Action/FineGrainedAction"
    OBJECT_EXISTENCE = "Object/ObjectExistence"
    OBJECT_PART_RELATION = "Object/ObjectPartRelation"
    OBJECT_SPATIAL_RELATION = "Object/ObjectSpatialRelation"
    OBJECT_MOVING = "Object/ObjectMoving"
    SCENE_TRANSITION = "Scene/SceneTransition"
    SCENE_EXISTENCE = "Scene/SceneExistence"
    ATTRIBUTE_VALUE = "Attribute/AttributeValue"
    COUNTING = "Attribute/Counting"
    COMPARISON = "Attribute/Comparison"

    @property
    def group(self) -> str:
        """`Action`, `Object`, `Scene` or `Attribute`."""
        return self.value.split("/")[0]

    @property
    def short(self) -> str:
        """The name without its group, for plots: `ObjectMoving`."""
        return self.value.split("/")[1]


class Difficulty(StrEnum):
    """How hard a query is to refuse: the fewer elements were edited, the harder."""

    ORIGINAL = "original"  # a relevant query, unedited
    HARD = "hard"  # one element edited
    MEDIUM = "medium"  # two
    EASY = "easy"  # three
    SHUFFLED = "shuffled"  # a query taken from another video (SS-VTG)
    UNKNOWN = "unknown"  # an irrelevant query whose data set states no difficulty

    @classmethod
    def from_edits(cls, count: int) -> Difficulty:
        """The difficulty of a query with `count` edited elements (1, 2 or 3). Raises InputError otherwise."""
        try:
            return {1: cls.HARD, 2: cls.MEDIUM, 3: cls.EASY}[count]
        except KeyError:
            raise InputError(f"a hard-irrelevant query has one, two or three edits, got {count}") from None


@dataclass
class Sample:
    """One query about one video, with all that is known of the right answer.

    A relevant query has one or more `spans` and `difficulty` ORIGINAL. An irrelevant one has no spans; its `answer`
    says why the video has no such segment and `correction` is a query that the video does contain. Either is "" where
    the data set does not say."""

    video: str  # a path or an id
    query: str
    spans: list[Span] = field(default_factory=list)
    duration: float | None = None  # seconds
    answer: str = ""  # irrelevant: the refusal; relevant: the released text of the segment, or ""
    correction: str = ""  # irrelevant: the original relevant query
    categories: list[Category] = field(default_factory=list)
    difficulty: Difficulty = Difficulty.ORIGINAL
    think: str = ""  # a timeline of the video, without the <think> tags
    start: float | None = None  # crop of the file, in seconds of the file
    end: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # keys of the source that have no field here

    @property
    def relevant(self) -> bool:
        """Whether the video contains what the query asks for."""
        return bool(self.spans)

    @property
    def crop(self) -> Crop:
        """The part of the video that the sample is about."""
        return Crop(self.video, self.start, self.end)


@dataclass(frozen=True)
class Group:
    """The samples about one video (or one part of it): a relevant query, and irrelevant ones for the same video.

    RA-RFT trains on groups. A group without irrelevant samples is ordinary grounding data.
    """

    relevant: Sample
    irrelevant: tuple[Sample, ...] = ()

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Group:
        """The group of these samples, in any order. Raises InputError that names the video, unless one sample is
        relevant and at least one is irrelevant."""
        samples = list(samples)
        relevant = [sample for sample in samples if sample.relevant]
        irrelevant = tuple(sample for sample in samples if not sample.relevant)
        if len(relevant) != 1 or not irrelevant:
            name = samples[0].video if samples else "no samples"
            raise InputError(
                f"{name}: a group is one relevant sample and at least one irrelevant one, "
                f"got {len(relevant)} relevant and {len(irrelevant)} irrelevant"
            )
        return cls(relevant[0], irrelevant)

    def __iter__(self) -> Iterator[Sample]:
        """All samples, the relevant one first."""
        yield self.relevant
        yield from self.irrelevant

    @property
    def video(self) -> str:
        """A path or an id."""
        return self.relevant.video

    @property
    def crop(self) -> Crop:
        """The part of the video that all samples are about."""
        return self.relevant.crop
