"""Where things lie: the checkout, what real Caffe wrote, and what may lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared"
