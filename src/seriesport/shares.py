"""How many of a server's connections a job takes, of those that all jobs share."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.plan import LOCAL, UNNAMED, safe_name
from seriesport.settings import DicomServer, Server, XnatServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from seriesport.plan import Shard


class Shares:
    """The connections of the jobs of one step.

    Jobs that run at one time share a server evenly, so that it has something to do while one of
    them starts or ends. What a shard that is done leaves goes to the others.

    Args:
        shards: The plan's shards by name; another dictionary where the plan is another.
        servers: What config.yaml has.
        used: The names of the servers that a shard talks to in this step.
        ledger: Path of a shard's ledger of this step, with `{shard}` in it.
        jobs: How many jobs may run at one time.
    """

    def __init__(
        self,
        shards: Callable[[], Mapping[str, Shard]],
        servers: Mapping[str, Server],
        used: Callable[[Shard], tuple[str, ...]],
        ledger: str,
        jobs: int,
    ) -> None:
        self.servers = every(servers)
        self.used = used
        self._shards = shards
        self._ledger = ledger
        self._jobs = jobs
        self._counted: Mapping[str, Shard] | None = None
        self._waiting: Counter[str] = Counter()

    def shard(self, name: str) -> Shard:
        """One of the plan's shards."""
        return self._shards()[name]

    def of(self, shard: str) -> dict[str, int]:
        """The connections that a shard's job takes, by the names of the servers it talks to."""
        found = self._shards()
        talking = self._talking(found[shard])
        if self._jobs > 1 and self._counted is not found:
            self._waiting = self._count(found)
            self._counted = found
        return {name: self._share(found[shard], name) for name in talking}

    def _share(self, shard: Shard, name: str) -> int:
        server = self.servers[name]
        # Files of an XNAT scan move several at a time; a second job finds room while it starts.
        one = math.ceil(server.at_once / 2) if isinstance(server, XnatServer) else 1
        jobs = max(1, min(self._jobs, self._waiting[name]))
        return min(server.at_once, shard.series * one, max(one, math.ceil(server.at_once / jobs)))

    def _count(self, shards: Mapping[str, Shard]) -> Counter[str]:
        """How many shards that have yet to be done talk to each server."""
        left = [s for s in shards.values() if not Path(self._ledger.format(shard=s.name)).exists()]
        return Counter(name for shard in left for name in self._talking(shard))

    def _talking(self, shard: Shard) -> list[str]:
        used = self.used(shard)
        named = {LOCAL, *map(safe_name, self.servers)}
        return [
            name
            for name in self.servers
            if safe_name(name) in used or (name == UNNAMED and not named.issuperset(used))
        ]


def every(servers: Mapping[str, Server]) -> dict[str, Server]:
    """The servers of config.yaml, and one for all that addresses name by host and port alone."""
    return {UNNAMED: DicomServer(UNNAMED, "", 0), **servers}
