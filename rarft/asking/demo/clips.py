"""The clips that the demo offers, each with its queries as suggestions."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from rarft.asking.dataset import read_test_set
from rarft.asking.demo.app import Video
from rarft.schema import Crop, Sample
from rarft.system.files import SAMPLES

MOST_CLIPS = 200


def videos_of(data: Path | None, folder: Path | None) -> dict[str, Video]:
    """Clips by name: of a data set (`rarft.asking.dataset.read_test_set`), or those in data/samples of the repository.

    Raises InputError or MissingFileError for data that cannot be read.
    """
    samples = read_test_set(data or SAMPLES, folder).samples
    asked: dict[Crop, list[Sample]] = {}
    for sample in samples:
        asked.setdefault(sample.crop, []).append(sample)
    return {
        str(number): Video(crop, _title(crop, queries), [(query.query, query.relevant) for query in queries])
        for number, (crop, queries) in enumerate(islice(asked.items(), MOST_CLIPS))
    }


def _title(crop: Crop, queries: list[Sample]) -> str:
    seconds = queries[0].duration
    part = "".join(f", {word} {at:g} s" for word, at in (("from", crop.start), ("to", crop.end)) if at is not None)
    return Path(crop.video).stem + (f", {seconds:g} s" if seconds else "") + part
