"""HI-VTG: read the released files, check and repair them, and build such data from any grounding data set."""
