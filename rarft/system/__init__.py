"""This machine: files, processes, errors, progress bars, and the names of other libraries that may move."""
