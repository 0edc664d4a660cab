"""What the workflow's rules look up: shards, and how much of an archive a job takes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriesport.plan import Shard, read_index, resource_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from seriesport.settings import Server


@lru_cache(maxsize=1)
def _index(path: Path, _mtime_ns: int) -> dict[str, Shard]:
    return {shard.name: shard for shard in read_index(path)}


def shards(index: str) -> dict[str, Shard]:
    """The shards of a plan by name, from its `shards.tsv`."""
    path = Path(index)
    return _index(path, path.stat().st_mtime_ns)


def limits(servers: Mapping[str, Server]) -> dict[str, int]:
    """The associations that each archive allows over all jobs, by Snakemake resource."""
    return {resource_name(name): server.associations for name, server in servers.items()}


def fetching(index: str, servers: Mapping[str, Server]) -> dict[str, Callable[..., int]]:
    """The associations that a job takes which fetches a shard, by Snakemake resource."""
    return _resources(index, servers, lambda shard: (shard.source,))


def uploading(index: str, servers: Mapping[str, Server]) -> dict[str, Callable[..., int]]:
    """The associations that a job takes which uploads a shard, by Snakemake resource."""
    return _resources(index, servers, lambda shard: shard.destinations)


def _resources(
    index: str, servers: Mapping[str, Server], used: Callable[[Shard], tuple[str, ...]]
) -> dict[str, Callable[..., int]]:
    def resource(name: str, most: int) -> Callable[..., int]:
        def count(wildcards: Any) -> int:
            shard = shards(index)[wildcards.shard]
            return min(most, shard.series) if name in used(shard) else 0

        return count

    return {
        resource_name(name): resource(resource_name(name).removeprefix("archive_"), s.associations)
        for name, s in servers.items()
    }
