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

    What `work` raises, the iteration raises at that item's turn; what `items` raises, after the results of
    the items before.
    """
    waiting: deque[Future[_B]] = deque()
    source, ended = iter(items), None
    with ThreadPoolExecutor(threads) as pool:
        try:
            while ended is None:
                try:
                    waiting.append(pool.submit(work, next(source)))
                except BaseException as error:
                    ended = error
                while waiting and (ended is not None or len(waiting) > ahead):
                    yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
    if not isinstance(ended, StopIteration):
        raise ended
