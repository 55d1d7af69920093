"""Annotations on disk: any number of samples in their order, and by video, in constant memory."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable, Iterator

from rarft.schema import Sample


class AnnotationIndex:
    """A temporary SQLite file with the samples that `add` was given. Use it in a `with` block; it is gone
    afterwards."""

    def __enter__(self) -> AnnotationIndex:
        self._database = sqlite3.connect("", check_same_thread=False)  # a file that SQLite removes when it is closed
        self._database.execute("CREATE TABLE samples (place INTEGER PRIMARY KEY, video TEXT, sample BLOB)")
        self._database.execute("CREATE TABLE done (key TEXT PRIMARY KEY)")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, samples: Iterable[Sample]) -> int:
        """Add samples. Returns how many there are."""
        rows = ((sample.video, pickle.dumps(sample)) for sample in samples)
        self._database.executemany("INSERT INTO samples (video, sample) VALUES (?, ?)", rows)
        self._database.execute("CREATE INDEX IF NOT EXISTS by_video ON samples (video)")
        return self._database.execute("SELECT COUNT(*) FROM samples").fetchone()[0]

    def mark_done(self, keys: Iterable[str]) -> None:
        """Remember keys for `is_done`."""
        self._database.executemany("INSERT OR IGNORE INTO done VALUES (?)", ((key,) for key in keys))

    def is_done(self, key: str) -> bool:
        """Whether `mark_done` was given the key."""
        return self._database.execute("SELECT 1 FROM done WHERE key = ?", (key,)).fetchone() is not None

    def __iter__(self) -> Iterator[Sample]:
        """All samples in the order in which they were added."""
        return (pickle.loads(blob) for (blob,) in self._database.execute("SELECT sample FROM samples ORDER BY place"))

    def of_video(self, video: str) -> list[Sample]:
        """The samples of one video, in order."""
        rows = self._database.execute("SELECT sample FROM samples WHERE video = ? ORDER BY place", (video,))
        return [pickle.loads(blob) for (blob,) in rows]
