"""Systems that choose where to look in a video of minutes: chapter 14."""
