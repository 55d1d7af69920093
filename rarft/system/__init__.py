"""System code: files, processes, errors, progress bars, plugins, and undocumented names of other libraries."""
