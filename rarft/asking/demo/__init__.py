"""`rarft demo`: a local web page that asks models about a clip and shows their answers side by side."""
