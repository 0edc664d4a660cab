"""Several series at a time: a transport per thread and address, and fewer threads once refused."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Generic, TypeVar

from seriesport.errors import SeriesportError
from seriesport.transports.registry import open_transport, server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seriesport.config.settings import Settings
    from seriesport.model.address import Address
    from seriesport.transports.contract import Transport

_GRACE = 5.0
"""Seconds in which threads that are told to stop may leave tidily."""
_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")
_log = logging.getLogger("seriesport")


class Transports:
    """Transports that are open in this process: one per thread and address. A context manager."""

    def __init__(self, settings: Settings, seen: Callable[[int], None] | None = None) -> None:
        self.settings = settings
        self.seen = seen
        """Is called with the size of each instance that passes, for progress."""
        self._lock = threading.Lock()
        self._open: dict[tuple[int, Address], Transport] = {}
        self._idle: dict[Address, list[Transport]] = {}

    def __enter__(self) -> Transports:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if exc_type is None or issubclass(exc_type, Exception):
            self.close()
        # An interrupted process leaves them to its end: other threads are still at work on them.

    def get(self, address: Address) -> Transport:
        """Return the transport of the calling thread for an address."""
        place = (threading.get_ident(), address)
        if place not in self._open:
            with self._lock:
                idle = self._idle.get(address)
                transport = (
                    idle.pop() if idle else open_transport(address, self.settings, self._pass)
                )
                self._open[place] = transport
        return self._open[place]

    def _pass(self, size: int) -> None:
        if self.seen is not None:
            self.seen(size)

    def lend(self) -> None:
        """Hand the calling thread's transports, open as they are, to the next that asks."""
        for address, transport in self._take_own():
            with self._lock:
                self._idle.setdefault(address, []).append(transport)

    def close_own(self) -> None:
        """Close the transports of the calling thread; they open again when it asks for them."""
        for _, transport in self._take_own():
            transport.close()

    def close(self) -> None:
        """Close all transports, once no thread is at work with them."""
        with self._lock:
            transports = [*self._open.values(), *(t for some in self._idle.values() for t in some)]
            self._open.clear()
            self._idle.clear()
        for transport in transports:
            transport.close()

    def _take_own(self) -> list[tuple[Address, Transport]]:
        me = threading.get_ident()
        with self._lock:
            places = [place for place in self._open if place[0] == me]
            return [(place[1], self._open.pop(place)) for place in places]


def workers(addresses: Sequence[Address], settings: Settings, most: int) -> int:
    """Return how many series to transfer in parallel, of `most`.

    That is the smallest connection limit of the servers involved.
    """
    try:
        servers = [s for a in set(addresses) if (s := server_of(a, settings)) is not None]
    except SeriesportError:
        return 1
    return max(1, min([most, *(s.at_once for s in servers)])) if servers else 1


def in_parallel(
    items: Sequence[_Item],
    work: Callable[[_Item], _Outcome],
    workers: int,
    *,
    refused: Callable[[_Outcome], bool],
    let_go: Callable[[], None],
    stopping: threading.Event | None = None,
) -> list[_Outcome]:
    """Work on several items at a time, and return the outcomes in the order of the items.

    A server may bear fewer connections than it is said to. A worker that is refused gives its
    item back and ends, unless it is the last one: the item has another turn with the others, and
    is refused for good only when it was worked on alone.

    Args:
        items: Begun in this order.
        work: Called with an item; it raises nothing but what is to end everything.
        workers: How many threads; with one, the calling thread does the work.
        refused: Return True for an outcome that says that the server has too much to do.
        let_go: Close the connections of the calling thread; called where a worker ends.
        stopping: Set when the caller is interrupted; the workers then have a few seconds to end.
            Without it they are left behind at once.
    """
    crew = _Crew(items, work, max(1, min(workers, len(items))), refused, let_go)
    if crew.size == 1:
        crew.run()
        return crew.outcomes()
    pool = ThreadPoolExecutor(crew.size, "series")
    running = [pool.submit(crew.run) for _ in range(crew.size)]
    try:
        for one in running:
            one.result()
    except BaseException:  # Ctrl-C does not wait for the rest
        crew.stop()
        pool.shutdown(wait=False, cancel_futures=True)
        if stopping is not None:
            stopping.set()
            wait(running, timeout=_GRACE)
        raise
    pool.shutdown()
    return crew.outcomes()


class _Crew(Generic[_Item, _Outcome]):
    """The workers on a list of items. See `in_parallel`."""

    def __init__(
        self,
        items: Sequence[_Item],
        work: Callable[[_Item], _Outcome],
        size: int,
        refused: Callable[[_Outcome], bool],
        let_go: Callable[[], None],
    ) -> None:
        self.size = size
        self._work = work
        self._refused = refused
        self._let_go = let_go
        self._waiting = deque(enumerate(items))
        self._outcomes: dict[int, _Outcome] = {}
        self._guard = threading.Lock()
        self._active = size
        """Workers that will look for an item again."""
        self._connected = size
        """Workers that may have connections."""

    def run(self) -> None:
        """Work on one item after the other."""
        try:
            while self._next():
                pass
        except BaseException:
            self.stop()
            raise
        finally:
            try:
                self._let_go()
            finally:
                with self._guard:
                    self._connected -= 1

    def stop(self) -> None:
        """Begin nothing more."""
        with self._guard:
            self._waiting.clear()

    def outcomes(self) -> list[_Outcome]:
        """Return the outcomes in the order of the items."""
        return [self._outcomes[number] for number in sorted(self._outcomes)]

    def _next(self) -> bool:
        """Work on the next item; return False where this worker is not needed any more."""
        with self._guard:
            if not self._waiting:
                self._active -= 1
                return False
            number, item = self._waiting.popleft()
            alone = self._connected == 1
        outcome = self._work(item)
        with self._guard:
            if alone or not self._refused(outcome):
                self._outcomes[number] = outcome
                return True
            self._waiting.appendleft((number, item))
            if self._active == 1:
                return True
            self._active -= 1
            _log.info("the server refused: %d at a time from now on", self._active)
            return False
