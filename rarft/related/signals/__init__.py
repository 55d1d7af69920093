"""Further signals to train on: chapter 15."""
