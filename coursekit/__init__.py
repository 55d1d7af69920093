"""What the notebooks and the course builds need beside the library: checks, results, builds, the site."""

from coursekit.check import check_equal
from coursekit.notebook import BUILD, ROOT, measured_chapter, record, results, sample_world, start

__all__ = ["BUILD", "ROOT", "check_equal", "measured_chapter", "record", "results", "sample_world", "start"]
