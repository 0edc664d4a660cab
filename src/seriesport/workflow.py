"""What the workflow's rules look up: shards, and how much of an archive and a node a job takes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriesport.errors import SeriesportError
from seriesport.plan import (
    LOCAL,
    UNNAMED,
    Shard,
    delivers_files,
    read_index,
    resource_name,
    safe_name,
)
from seriesport.settings import DicomServer, Server, Settings, XnatServer
from seriesport.sizing import Sizes, moving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@lru_cache(maxsize=1)
def _index(path: Path, *_state: int) -> dict[str, Shard]:
    return {shard.name: shard for shard in read_index(path)}


def shards(index: str) -> dict[str, Shard]:
    """The shards of a plan by name, from its `shards.tsv`."""
    path = Path(index)
    status = path.stat()
    # By its time alone a new plan would pass for the old one where times are counted in seconds.
    return _index(path, status.st_mtime_ns, status.st_ino, status.st_size)


def limits(servers: Mapping[str, Server]) -> dict[str, int]:
    """The connections that each server allows over all jobs, by Snakemake resource.

    Servers that addresses name by host and port alone share one, as they share shards.

    Raises:
        SeriesportError: config-invalid, where the names of two servers give one resource.
    """
    every = _every(servers)
    found = {resource_name(name): server.at_once for name, server in every.items()}
    if len(found) < len(every):
        raise SeriesportError(
            "config-invalid", "two names below servers: differ in nothing but '.', '-' and '_'"
        )
    return found


def granted(settings: Settings, resources: Mapping[str, object]) -> Settings:
    """The settings of a job, which opens no more connections than Snakemake gave it."""

    def within(name: str, server: Server) -> Server:
        most = resources.get(resource_name(name))
        if not isinstance(most, int) or most >= server.at_once:
            return server
        rate = server.instances_per_second
        if rate is not None:
            rate *= max(1, most) / server.at_once
        return replace(server.within(max(1, most)), instances_per_second=rate)

    servers = {name: within(name, server) for name, server in settings.servers.items()}
    return replace(settings, servers=servers)


def fetching(index: str, servers: Mapping[str, Server]) -> Sizes:
    """Connections, memory and run time of a job that fetches a shard, by Snakemake resource."""
    sizes = moving(lambda: shards(index), _every(servers), out=False)
    return _resources(index, servers, lambda shard: shard.sources) | sizes


def uploading(index: str, servers: Mapping[str, Server]) -> Sizes:
    """Connections, memory and run time of a job that uploads a shard, by Snakemake resource."""
    sizes = moving(lambda: shards(index), _every(servers), out=True)
    return _resources(index, servers, lambda shard: shard.destinations) | sizes


def destinations(index: str, servers: Mapping[str, Server]) -> Callable[..., list[str]]:
    """Where the destinations of a shard are: a server that moves is asked again what it has."""

    def moved_to(wildcards: Any) -> list[str]:
        used = shards(index)[wildcards.shard].destinations
        return [server.place for name, server in servers.items() if safe_name(name) in used]

    return moved_to


def delivers(index: str, upload: Sequence[str], shard: str) -> bool:
    """Whether a shard's upload needs what is made of its series."""
    said = shards(index)[shard].delivers_files
    return bool(delivers_files(upload)) if said is None else said


def _resources(
    index: str, servers: Mapping[str, Server], used: Callable[[Shard], tuple[str, ...]]
) -> Sizes:
    every = _every(servers)
    named = {LOCAL, *map(safe_name, every)}

    def resource(name: str, server: Server) -> Callable[..., int]:
        def count(wildcards: Any) -> int:
            shard = shards(index)[wildcards.shard]
            talks = name in {n if n in named else UNNAMED for n in used(shard)}
            return min(server.at_once, shard.series * _for_a_series(server)) if talks else 0

        return count

    return {
        resource_name(name): resource(safe_name(name), server) for name, server in every.items()
    }


def _for_a_series(server: Server) -> int:
    # Files of an XNAT scan move several at a time; a second job finds room while the first starts.
    return math.ceil(server.at_once / 2) if isinstance(server, XnatServer) else 1


def _every(servers: Mapping[str, Server]) -> dict[str, Server]:
    return {UNNAMED: DicomServer(UNNAMED, "", 0), **servers}
