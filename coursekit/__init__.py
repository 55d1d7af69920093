"""What the notebooks and the course builds need besides the library: checks, results, builds, the site."""

from coursekit.checks import check_equal
from coursekit.notebook import measured_chapter, record, results, sample_world, start
from coursekit.paths import BUILD, ROOT

__all__ = ["BUILD", "ROOT", "check_equal", "measured_chapter", "record", "results", "sample_world", "start"]
