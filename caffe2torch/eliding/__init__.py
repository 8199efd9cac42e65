"""A net at one size, without what no pixel of the image can change.

    Plan, size ─ schedule ──→ Schedule     which part of each blob is computed, and what gets a frame
    Schedule ── background ─→ Frames       the net's answer to zeros, computed on a small image
    Schedule, Frames ── net ─→ ElidedNet   that runs it

The numbers are those of the whole net up to rounding: a frame holds what the net would have computed.
"""
