"""Served: a transport that keeps to its server's settings, whoever uses it.

Retries, the rate and the window are applied here once, when a transport is opened.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from seriesport.config.hours import is_closed, wait_until_open
from seriesport.errors import SeriesportError
from seriesport.model.series import unannounced
from seriesport.transports.contract import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from seriesport.config.hours import Hours
    from seriesport.config.settings import Server
    from seriesport.model.address import Address
    from seriesport.model.instance import Header, Instance, Item, Payload, PlainFile
    from seriesport.model.series import (
        Announce,
        Expected,
        LeftOut,
        Receipt,
        Removal,
        SeriesReference,
        Written,
    )
    from seriesport.transports.contract import Check

REFUSALS = frozenset({"association-busy", "dimse-refused", "server-busy"})
"""What a server says that has too much to do: nobody should ask it for a while."""
_LONGEST_WAIT = 60.0
_Item = TypeVar("_Item", bound="Item")
_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")
_log = logging.getLogger("seriesport")


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
    """The turns of instances that pass to and from a server, by all threads of this process."""

    def __init__(self, per_second: float | None = None) -> None:
        self._interval = 1 / per_second if per_second else 0.0
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

    def turn(self) -> None:
        """Wait for the turn of one instance."""
        if self._interval:
            with self._lock:
                now = time.monotonic()
                wait = self._due - now
                self._due = max(self._due, now) + self._interval
            time.sleep(max(0.0, wait))


class _Flows:
    """The flow of each server that this process talks to."""

    known: dict[Server, Flow] = {}  # noqa: RUF012 - shared by intent
    lock = threading.Lock()


def flow_of(server: Server) -> Flow:
    """Return the flow that all transports of a server share in this process."""
    with _Flows.lock:
        return _Flows.known.setdefault(server, Flow(server.instances_per_second))


@dataclass(frozen=True, slots=True)
class _Paced:
    payload: Payload
    passing: Callable[[int], None]

    @property
    def size(self) -> int:
        return self.payload.size

    def open(self) -> BinaryIO:
        self.passing(self.size)
        return self.payload.open()


def serve(
    transport: Transport, server: Server | None, seen: Callable[[int], None] | None = None
) -> Served:
    """Wrap a transport.

    Args:
        transport: Any.
        server: Settings of its server; None for files, which are asked once and without limit.
        seen: Is called with the size of each instance that passes, for progress.
    """
    if server is None:
        return Served(transport, Patience(attempts=1), Flow(), seen=seen)
    patience = Patience(server.attempts, server.backoff)
    return Served(transport, patience, flow_of(server), server.window, seen)


class Served(Transport):
    """A transport that repeats what fails for a while, keeps to a rate and waits for a window."""

    def __init__(
        self,
        transport: Transport,
        patience: Patience,
        flow: Flow,
        window: Hours | None = None,
        seen: Callable[[int], None] | None = None,
    ) -> None:
        self.keeps_apart = transport.keeps_apart
        self._transport = transport
        self._patience = patience
        self._flow = flow
        self._window = window
        self._seen = seen
        self._begun: set[SeriesReference] = set()
        self._persisting = False

    def persist(
        self, attempt: Callable[_Args, _Result], *args: _Args.args, **named: _Args.kwargs
    ) -> _Result:
        """See the protocol. What an attempt asks is not repeated by itself."""
        if self._persisting:
            return attempt(*args, **named)
        self._persisting = True
        try:
            return self._patience.retrying(self._flow)(attempt, *args, **named)
        finally:
            self._persisting = False

    def echo(self, address: Address) -> Iterator[Check]:
        """See the protocol. It is tried once, since it tells how a server answers."""
        return self._transport.echo(address)

    def check_destination(self, address: Address) -> None:
        """See the protocol."""
        self.persist(self._transport.check_destination, address)

    def find(self, address: Address) -> list[SeriesReference]:
        """See the protocol."""
        return self.persist(self._transport.find, address)

    def left_out(self) -> list[LeftOut]:
        """See the protocol."""
        return self._transport.left_out()

    def find_files(self, address: Address) -> SeriesReference:
        """See the protocol."""
        return self.persist(self._transport.find_files, address)

    def expect(self, series: SeriesReference) -> dict[str, Expected]:
        """See the protocol."""
        return self.persist(self._transport.expect, series)

    def uids(self, series: SeriesReference) -> set[str]:
        """See the protocol."""
        return self.persist(self._transport.uids, series)

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,
    ) -> Iterator[Item]:
        """See the protocol.

        Waits for the server's window; a series that was begun is finished, whatever the hour.

        Raises:
            SeriesportError: window-closed, where the cluster would end this job before.
        """
        if series not in self._begun:
            if is_closed(self._window):
                self._transport.close()  # no connection stays idle for hours
            wait_until_open(self._window, say=_log.warning)
            self._begun.add(series)
        arriving = self._transport.fetch(series, expected, have, spool)
        try:
            for item in arriving:
                self._pass(item.payload.size)
                yield item
        finally:
            if isinstance(arriving, Generator):
                arriving.close()  # what still was to come is not asked for

    def store(
        self,
        instances: Sequence[Instance],
        address: Address,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """See the protocol."""
        paced = self._paced(instances)
        return self.persist(self._transport.store, paced, address, name, announce)

    def store_files(
        self,
        files: Sequence[PlainFile],
        address: Address,
        resource: str,
        series: SeriesReference,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """See the protocol."""
        paced = self._paced(files)
        store_files = self._transport.store_files
        return self.persist(store_files, paced, address, resource, series, name, announce)

    def remove(self, address: Address, written: Written) -> Removal:
        """See the protocol."""
        return self.persist(self._transport.remove, address, written)

    def glance(self, address: Address, name: str) -> list[int]:
        """See the protocol."""
        return self._transport.glance(address, name)

    def folder_of(
        self, address: Address, header: Header | SeriesReference, ours: Collection[str]
    ) -> str:
        """See the protocol."""
        return self._transport.folder_of(address, header, ours)

    def twin_of(
        self,
        files: Sequence[PlainFile],
        address: Address,
        resource: str,
        name: str,
        ours: Collection[str],
    ) -> list[str]:
        """See the protocol."""
        return self._transport.twin_of(files, address, resource, name, ours)

    def close(self) -> None:
        """See the protocol."""
        self._transport.close()

    def _pass(self, size: int) -> None:
        self._flow.turn()
        if self._seen is not None:
            self._seen(size)

    def _paced(self, items: Iterable[_Item]) -> list[_Item]:
        """Return the same items, which wait for their turn when they are opened to be sent."""
        return [replace(i, payload=_Paced(i.payload, self._pass)) for i in items]
