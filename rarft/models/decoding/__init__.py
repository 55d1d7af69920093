"""From prompts about videos to completions, without computing anything twice."""
