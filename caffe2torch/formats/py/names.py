"""Identifiers and literals for the names in a net, which come from strangers and go into source code."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count

MAX_NAME = 40
"""Characters of an identifier, so that lines stay short."""
_AMBIGUOUS = frozenset({"l", "O", "I"})
"""Names that linters refuse (pycodestyle E741): they look like digits."""


class Names:
    """An identifier for each name: the name itself if it is one and free."""

    def __init__(self, kind: str, taken: Iterable[str]) -> None:
        self.kind, self._taken = kind, {*taken, *_AMBIGUOUS}
        self._given: dict[str, str] = {}
        self._next: dict[str, int] = {}
        """The number to try next, by name."""

    def __call__(self, name: str) -> str:
        """The identifier of a name, the same each time."""
        if name not in self._given:
            self._given[name] = self._free(identifier(name, self.kind))
        return self._given[name]

    def _free(self, name: str) -> str:
        numbers = count(self._next.get(name, 2))
        candidates = chain([name, f"{name}_"], (f"{name}_{number}" for number in numbers))
        free = next(c for c in candidates if c not in self._taken and not keyword.iskeyword(c))
        self._taken.add(free)
        self._next[name] = next(numbers)
        return free


def identifier(name: str, kind: str) -> str:
    """A name with `_` for what an identifier cannot have; its kind goes first where no letter does."""
    # Only ASCII: Python would normalize other letters, so that two spellings become one attribute.
    plain = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_")[:MAX_NAME]
    return plain if plain[:1].isalpha() else f"{kind}_{plain}".rstrip("_")


def is_renamed(name: str, identifier: str) -> bool:
    """Whether an identifier differs from a name by more than `_` for what it cannot have."""
    return re.sub(r"\W", "_", name, flags=re.ASCII) != identifier


def class_name(name: str) -> str:
    """A name in capitalized words: `cifar10_quick` is `Cifar10Quick`."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[0].upper() + word[1:] for word in words)[:MAX_NAME]
    return joined if joined[:1].isalpha() else f"Net{joined}"


def text(name: str) -> str:
    """A string literal of a name: printable ASCII in double quotes, everything else escaped."""
    return f'"{"".join(c if _is_plain(c) else _escaped(c) for c in name)}"'


def literal(value: object) -> str:
    """A literal of strings, numbers, sequences (as tuples) and dictionaries."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{literal(key)}: {literal(x)}' for key, x in value.items())}}}"
    if isinstance(value, Sequence):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    return repr(value)


def remark(name: str) -> str:
    """A name in a comment or docstring, which it can neither end nor break."""
    return "".join(c if _is_plain(c) else "?" for c in name[:60])


def _is_plain(character: str) -> bool:
    return " " <= character <= "~" and character not in "\"'\\"


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\U{number:08x}"
