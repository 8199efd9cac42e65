"""From a photo to a picture: what a net makes of each pixel, and how a person sees that.

segmenter.py    photo, model ── segment ─→ labels (H, W), by tiles.py where a photo is too large for the net
overlay.py      photo, labels ─ overlay ─→ a picture with a legend
"""
