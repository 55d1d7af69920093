"""Systems that find a moment in a clip: chapter 13."""
