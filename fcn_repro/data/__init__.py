"""Data sets as they are on disk, and what happens to an image before a net sees it."""
