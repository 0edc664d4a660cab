"""Memory and run time that the workflow's jobs ask a cluster for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriesport.cohort.plan import resource_name
from seriesport.workflow.growth import growth
from seriesport.workflow.ledger import read_ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.config.settings import Server
    from seriesport.workflow.growth import Growth
    from seriesport.workflow.shares import Shares

_MIB = 1 << 20
# Measured by sacct on SLURM 22.05: a job of a few small series takes 350 MiB at its highest, of
# which two processes of Snakemake have 145 each. What moves adds nothing to it, since one instance
# is in memory at a time; benchmarks/README.md has our own 65 to 70 MiB for 105 MB.
_MEMORY = 700
_LARGEST_INSTANCE = 64
"""Room in MiB for the largest instance of each series that moves at one time."""
_IN_MEMORY = 3
"""The formats held 1.7 times an uncompressed series at the most; a compressed one is larger."""
_START = 20
"""Minutes for whatever does not grow with the data: queues of the file system, retries."""
_EACH = 0.05
"""Minutes for a series: lists before and after, and its bundle."""
_INSTANCES = 100
"""Instances of a series whose number the plan does not know."""
_INSTANCES_PER_SECOND = 10.0
"""A fifth of what one association gives where a round trip takes 20 ms."""
_MB_PER_SECOND = 5.0
"""A fifth of what conversion to all formats gave, see benchmarks/README.md."""

Sizes = dict[str, "Callable[..., int]"]


def moving(shares: Shares, log: str) -> Sizes:
    """Connections, memory (MB) and run time (minutes) of a job that fetches or uploads a shard.

    Memory and run time grow by what earlier attempts ran out of.

    Args:
        shares: The connections of the step's jobs.
        log: The file that the job of a `{shard}` logs to.
    """

    def connections(name: str) -> Callable[..., int]:
        def count(wildcards: Any) -> int:
            return shares.of(wildcards.shard).get(name, 0)

        return count

    def mem_mb(wildcards: Any) -> int:
        at_once = max(shares.of(wildcards.shard).values(), default=1)
        series = min(shares.shard(wildcards.shard).series, at_once)
        return _grown(log, wildcards).memory * (_MEMORY + _LARGEST_INSTANCE * series)

    def runtime(wildcards: Any) -> int:
        shard = shares.shard(wildcards.shard)
        count = max(shard.instances, _INSTANCES * shard.series) * max(1, len(shares.used(shard)))
        taken = shares.of(shard.name).items()
        paces = (_pace(shares.servers[name], share) for name, share in taken)
        minutes = _minutes(shard.series, count / min(paces, default=_INSTANCES_PER_SECOND))
        return _grown(log, wildcards).time * minutes

    taken = {resource_name(name): connections(name) for name in shares.servers}
    return {**taken, "mem_mb": mem_mb, "runtime": runtime}


def converting(ledger: str, log: str) -> Sizes:
    """Memory (MB) and run time (minutes) of a job that converts a shard.

    Both follow from the sizes in the shard's ledger of the step before, and grow by what earlier
    attempts ran out of.

    Args:
        ledger: The ledger of a `{shard}`.
        log: The file that its job logs to.
    """

    def sizes(wildcards: Any) -> list[float]:
        path = Path(ledger.format(shard=wildcards.shard))
        return [line.size / _MIB for line in read_ledger(path).values()] if path.exists() else []

    def mem_mb(wildcards: Any) -> int:
        memory = math.ceil(_MEMORY + _IN_MEMORY * max(sizes(wildcards), default=0))
        return _grown(log, wildcards).memory * memory

    def runtime(wildcards: Any) -> int:
        found = sizes(wildcards)
        return _grown(log, wildcards).time * _minutes(len(found), sum(found) / _MB_PER_SECOND)

    return {"mem_mb": mem_mb, "runtime": runtime}


def _grown(log: str, wildcards: Any) -> Growth:
    return growth(Path(log.format(shard=wildcards.shard)))


def _minutes(series: int, seconds: float) -> int:
    return math.ceil(_START + _EACH * series + seconds / 60)


def _pace(server: Server, connections: int) -> float:
    if server.instances_per_second is None:
        return _INSTANCES_PER_SECOND
    share = connections / server.at_once
    return min(_INSTANCES_PER_SECOND, server.instances_per_second * share)
