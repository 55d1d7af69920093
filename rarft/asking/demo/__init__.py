"""`rarft demo`: a page on this machine that asks models about a clip and shows their answers side by side."""
