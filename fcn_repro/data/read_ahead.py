"""Work done ahead by threads, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")


def read_ahead(
    work: Callable[[_A], _B], items: Iterable[_A], *, threads: int = 1, ahead: int = 4
) -> Iterator[_B]:
    """The results of `work` on each item, in order; up to `ahead` are computed before they are asked for.

    What `work` raises, the iteration raises at that item's turn.
    """
    waiting: deque[Future[_B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
