"""A rehearsal of an experiment whose videos or model are not here: stand-ins that have their names, lengths and shapes,
so that every command runs from its files to its table before anything is downloaded or rented."""

from rarft.rehearsal.model import small_model, write_small_model
from rarft.rehearsal.videos import lengths_of, write_stand_ins

__all__ = ["lengths_of", "small_model", "write_small_model", "write_stand_ins"]
