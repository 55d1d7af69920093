"""What the notebooks and the course builds need beside the library: checks, results, builds, the site."""

from rarft.course.check import check_equal
from rarft.course.notebook import record, results, start

__all__ = ["check_equal", "record", "results", "start"]
