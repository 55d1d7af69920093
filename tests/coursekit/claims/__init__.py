"""The measured sentences of the course, each with its check.

A sentence is marked by its id in a comment right after it, `<!-- claim:11-threshold -->`, in a notebook or README. The
function registered under this id gets the results file, and yields the conditions that make up the sentence: an
interval that lies above a bound or holds it, or a count. `put` and the functions like it make copies of the results
that contradict the sentence; each condition has to fail on one of them.
"""

from claims import experiment, failures, long_video, related, signals, steps
from claims.registry import CLAIMS, results

__all__ = ["CLAIMS", "experiment", "failures", "long_video", "related", "results", "signals", "steps"]
