"""Commands of the course, which `rarft` offers in a clone of the repository."""
