"""Data sets as they lie on the disk, and what becomes of an image before a net sees it."""
