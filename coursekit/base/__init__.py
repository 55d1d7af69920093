"""The tiny base model of the course: what it is built of, and how it is trained from nothing."""
