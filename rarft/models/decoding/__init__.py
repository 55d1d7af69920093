"""From a prompt about a video to completions, each thing computed once."""
