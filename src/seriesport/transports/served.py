"""What wraps a transport: retries, a limit of instances per second, counting for progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from seriesport.errors import SeriesportError
from seriesport.transports.registry import server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seriesport.config.settings import Server, Settings
    from seriesport.model.address import Address
    from seriesport.model.instance import Item, Payload

REFUSALS = frozenset({"association-busy", "dimse-refused", "server-busy"})
"""What a server says that has too much to do: nobody should ask it for a while."""
_LONGEST_WAIT = 60.0
_Item = TypeVar("_Item", bound="Item")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a series is asked for, and the first wait between two attempts in seconds."""

    attempts: int = 3
    backoff: float = 1.0

    def retrying(self, flow: Flow | None = None) -> Retrying:
        """A retry of what may succeed later, with exponential backoff and jitter.

        Once the server refuses, all that use `flow` wait before they ask it again.
        """
        shared = flow or Flow()

        def refused(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            if isinstance(error, SeriesportError) and error.code in REFUSALS:
                shared.hold(min(_LONGEST_WAIT, self.backoff * 2 ** (state.attempt_number - 1)))

        return Retrying(
            before=lambda _: shared.wait(),
            after=refused,
            retry=retry_if_exception(_is_worth_a_retry),
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential(self.backoff, max=_LONGEST_WAIT)
            + wait_random(0, self.backoff / 4),
            reraise=True,
        )


def _is_worth_a_retry(error: BaseException) -> bool:
    # An archive that sends a foreign instance instead of one that is missing may do better.
    return isinstance(error, SeriesportError) and (
        error.transient or error.code == "instance-foreign"
    )


class Flow:
    """Instances pass at a server's rate and are counted; shared by the threads that use it."""

    def __init__(
        self, per_second: float | None = None, seen: Callable[[int], None] | None = None
    ) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._seen = seen
        self._due = 0.0
        self._held_until = 0.0
        self._lock = threading.Lock()

    def hold(self, seconds: float) -> None:
        """Let nobody ask the server for so long."""
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)

    def wait(self) -> None:
        """Wait until the server may be asked again."""
        while (seconds := self._held_until - time.monotonic()) > 0:
            time.sleep(seconds)

    def receive(self, instances: Iterator[Item]) -> Generator[Item]:
        """Let instances pass on their way in; the source waits meanwhile.

        Closed early, it closes the source: what still was to come is not asked for.
        """
        try:
            for instance in instances:
                self.step(instance.payload.size)
                yield instance
        finally:
            if isinstance(instances, Generator):
                instances.close()

    def send(self, instances: Iterable[_Item]) -> list[_Item]:
        """The same items, which wait for their turn when they are opened to be sent."""
        return [replace(i, payload=_Paced(i.payload, self)) for i in instances]

    def step(self, size: int) -> None:
        """One instance of `size` bytes passes: wait for its turn and count it."""
        if self._interval:
            with self._lock:
                now = time.monotonic()
                wait = self._due - now
                self._due = max(self._due, now) + self._interval
            time.sleep(max(0.0, wait))
        if self._seen is not None:
            self._seen(size)


@dataclass(frozen=True, slots=True)
class _Paced:
    payload: Payload
    flow: Flow

    @property
    def size(self) -> int:
        return self.payload.size

    def open(self) -> BinaryIO:
        self.flow.step(self.size)
        return self.payload.open()


def patience(address: Address, settings: Settings) -> Patience:
    """How often to ask at an address."""
    server = server_of(address, settings)
    return Patience(server.attempts, server.backoff) if server else Patience(attempts=1)


class Flows:
    """One flow for each server that this process talks to.

    Of a server's rate, a job of so many `workers` has the share that they have of the server's
    connections: the jobs together, which share the connections, then keep to the rate.
    """

    def __init__(
        self,
        settings: Settings,
        seen: Callable[[int], None] | None = None,
        *,
        workers: int | None = None,
    ) -> None:
        self._settings = settings
        self._seen = seen
        self._workers = workers
        self._flows: dict[str, Flow] = {}
        self._lock = threading.Lock()

    def get(self, address: Address) -> Flow:
        """The flow to or from an address."""
        server = server_of(address, self._settings)
        with self._lock:
            if server is None:
                return self._flows.setdefault("", Flow(None, self._seen))
            return self._flows.setdefault(server.name, Flow(self._rate(server), self._seen))

    def _rate(self, server: Server) -> float | None:
        # A single series uses all of a job's connections to an XNAT.
        if server.shares_a_series or self._workers is None:
            return server.instances_per_second
        if server.instances_per_second is None:
            return None
        return server.instances_per_second * min(1.0, self._workers / server.at_once)


def workers(addresses: Sequence[Address], settings: Settings, most: int) -> int:
    """How many series may move at one time: the least number of connections to any server."""
    try:
        servers = [s for a in set(addresses) if (s := server_of(a, settings)) is not None]
    except SeriesportError:
        return 1
    return max(1, min([most, *(s.at_once for s in servers)])) if servers else 1
