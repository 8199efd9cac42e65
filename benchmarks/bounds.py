"""`python benchmarks/bounds.py`: what every reader of strangers' files allows, as a table.

The bounds are constants beside the code that keeps them; tests/untrusted/test_bounds.py meets each one.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.untrusted.test_bounds import bounds


def shown(value: float) -> str:
    """A number as people write it: 64 Mi, 1,000."""
    for power, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if isinstance(value, int) and value >= 1 << power and value % (1 << power) == 0:
            return f"{value >> power} {unit}"
    return f"{value:,.0f}"


def main() -> None:
    """Prints the table."""
    rows: dict[str, list[str]] = {}
    for name in sorted(bounds()):
        module, _, constant = name.rpartition(".")
        value = getattr(importlib.import_module(module), constant)
        rows.setdefault(module, []).append(f"`{constant}` {shown(value)}")
    print("| reader | bounds |\n|---|---|")
    for module, constants in rows.items():
        print(f"| `{module}` | {', '.join(constants)} |")


if __name__ == "__main__":
    main()
