"""How many of a server's connections a job takes, of those that all jobs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.cohort.plan import LOCAL, UNNAMED, resource_name, safe_name, server_name
from seriesport.config.settings import Server
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from seriesport.cohort.plan import Shard
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address


class Shares:
    """The connections of the jobs of one step.

    Jobs that run at one time share a server evenly, so that it has something to do while one of
    them starts or ends. A share follows from plan and config alone: a job of a cluster works it out
    once more, since Snakemake does not tell it.

    Args:
        shards: The plan's shards by name; another dictionary where the plan is another.
        servers: What config.yaml has.
        used: The names of the servers that a shard talks to in this step.
        jobs: How many jobs may run at one time; None on a cluster, for as many as there are.
    """

    def __init__(
        self,
        shards: Callable[[], Mapping[str, Shard]],
        servers: Mapping[str, Server],
        used: Callable[[Shard], tuple[str, ...]],
        jobs: int | None,
    ) -> None:
        self.servers = every(servers)
        self.used = used
        self._shards = shards
        self._jobs = jobs
        self._counted: Mapping[str, Shard] | None = None
        self._users: dict[str, dict[str, int]] = {}
        """By server, its shards and their numbers."""

    def shard(self, name: str) -> Shard:
        """One of the plan's shards."""
        return self._shards()[name]

    def of(self, shard: str) -> dict[str, int]:
        """The connections that a shard's job takes, by the names of the servers it talks to."""
        found = self._shards()
        if self._counted is not found:
            self._users = {name: {} for name in self.servers}
            for one in found.values():
                for name in self._talking(one):
                    self._users[name][one.name] = len(self._users[name])
            self._counted = found
        return {name: self._share(found[shard], name) for name in self._talking(found[shard])}

    def _share(self, shard: Shard, name: str) -> int:
        server, users = self.servers[name], self._users[name]
        # Files of an XNAT scan move several at a time; a second job finds room while it starts.
        one = max(1, server.at_once // 2) if server.shares_a_series else 1
        jobs = min(self._jobs or len(users), len(users))
        share, left = divmod(server.at_once, jobs)
        share += users[shard.name] % jobs < left
        return min(server.at_once, shard.series * one, max(one, share))

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
    return {UNNAMED: Server(UNNAMED), **servers}


def check_granted(settings: Settings, addresses: Iterable[Address]) -> None:
    """Check that Snakemake granted this job a connection to each server it is to talk to.

    Raises:
        SeriesportError: not-granted, with the lines that the rule's resources lack.
    """
    lacking = sorted(settings.withheld.intersection(map(server_name, addresses)))
    if lacking:
        lines = ", ".join(f"{resource_name(name)}=1" for name in lacking)
        raise SeriesportError(
            "not-granted",
            f"the resources of this job's rule lack {lines} (or more), as after "
            "'use rule ... with: resources:', which replaces all of them; "
            "set-resources changes memory and time alone",
        )
