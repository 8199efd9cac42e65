"""The results of a function for the arguments that were used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Recent(Generic[Key, Result]):
    """At most `most` results, for any threads: one makes results at a time, none waits for what is kept."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[Key, Result] = OrderedDict()
        self._making, self._looking = Lock(), Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, key: Key, make: Callable[[], Result]) -> Result:
        """The result for `key`: kept, or made now."""
        if (found := self._look(key)) is not None:
            return found
        with self._making:
            if (found := self._look(key)) is not None:  # another thread made it meanwhile
                return found
            made = make()
            with self._looking:
                self._kept[key] = made
                if len(self._kept) > self.most:
                    self._kept.popitem(last=False)
            return made

    def _look(self, key: Key) -> Result | None:
        with self._looking:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)
