"""What a label map holds: classes from 0 on, and void."""

from __future__ import annotations

IGNORE_LABEL = 255
"""The label of pixels that are neither learned nor scored: void."""
