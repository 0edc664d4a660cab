"""Several series at a time, and fewer once a server refuses."""

from __future__ import annotations

import threading
import time

import pytest

from seriesport.transports.parallel import in_parallel


class _Server:
    """Bears so many connections, which a thread keeps until it lets go."""

    def __init__(self, bears: int) -> None:
        self.bears = bears
        self.connected: set[int] = set()
        self.served: list[int] = []
        self.most = 0
        self._guard = threading.Lock()

    def work(self, item: int) -> str:
        with self._guard:
            me = threading.get_ident()
            if len(self.connected | {me}) > self.bears:
                return "refused"
            self.connected.add(me)
            self.most = max(self.most, len(self.connected))
            self.served.append(item)
        time.sleep(0.002)
        return f"done {item}"

    def let_go(self) -> None:
        with self._guard:
            self.connected.discard(threading.get_ident())

    def serve(self, count: int, workers: int) -> list[str]:
        return in_parallel(
            range(count),
            self.work,
            workers,
            refused=lambda outcome: outcome == "refused",
            let_go=self.let_go,
        )


@pytest.mark.parametrize("bears", [1, 2, 3, 4, 9])
def test_a_server_that_refuses_gets_fewer_connections_and_every_series_its_turn(
    bears: int,
) -> None:
    server = _Server(bears)
    assert server.serve(40, 4) == [f"done {number}" for number in range(40)]
    assert sorted(server.served) == list(range(40))
    assert server.most <= bears
    assert not server.connected


def test_a_server_that_refuses_everything_is_told_for_each_series() -> None:
    assert _Server(0).serve(5, 3) == ["refused"] * 5


def test_what_goes_wrong_in_a_thread_ends_everything() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_parallel(range(40), work, 2, refused=lambda _: False, let_go=lambda: None)
    assert len(begun) <= 2
