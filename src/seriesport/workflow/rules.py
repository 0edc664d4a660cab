"""What the workflow's rules look up: shards, and how much of an archive and a node a job takes."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriesport.cohort.asked import is_due
from seriesport.cohort.plan import (
    UNNAMED,
    Shard,
    delivers_files,
    read_index,
    resource_name,
    safe_name,
)
from seriesport.config.config_yaml import load_config
from seriesport.config.hours import Begin
from seriesport.config.settings import Server, Settings
from seriesport.errors import SeriesportError
from seriesport.workflow.retries import plan_again
from seriesport.workflow.shares import Shares, every
from seriesport.workflow.sizing import Sizes, moving
from seriesport.workflow.steps import FETCH, UPLOAD, Files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seriesport.workflow.shard import Results
    from seriesport.workflow.steps import Step


def readable(path: str) -> str:
    """Return the path of a config file that can be read, or is not there.

    Raises:
        SystemExit: with the line that cannot be read, which Snakemake does not name.
    """
    try:
        if Path(path).exists():
            load_config(Path(path))
    except SeriesportError as error:
        sys.exit(f"seriesport: {error} {error.reason.advice}")
    return path


@cache
def _index(path: Path, *_state: int) -> dict[str, Shard]:
    return {shard.name: shard for shard in read_index(path)}


def shards(index: Path | str) -> dict[str, Shard]:
    """The shards of a plan by name, from its `shards.tsv`."""
    path = Path(index)
    status = path.stat()
    # By its time alone a new plan would pass for the old one where times are counted in seconds.
    return _index(path, status.st_mtime_ns, status.st_ino, status.st_size)


@cache
def order_plan(results: Results, after: float | None) -> None:
    """Order the plan anew, if an open-ended entry was last asked for `after` seconds ago.

    Once in a process for each cohort: afterwards, its answer is new.
    """
    if after is not None and results.plan.index.exists() and is_due(results.plan.asked, after):
        plan_again(results)


def limits(servers: Mapping[str, Server]) -> dict[str, int]:
    """The connections that each server allows over all jobs, by Snakemake resource.

    Servers that addresses name by host and port alone share one, as they share shards.

    Raises:
        SeriesportError: config-invalid, where the names of two servers give one resource.
    """
    servers = every(servers)
    found = {resource_name(name): server.at_once for name, server in servers.items()}
    if len(found) < len(servers):
        raise SeriesportError(
            "config-invalid", "two names below servers: differ in nothing but '.', '-' and '_'"
        )
    return found


def granted(settings: Settings, resources: Mapping[str, object]) -> Settings:
    """The settings of a job, which opens no more connections than Snakemake gave it.

    Servers of which it got none are withheld: see `seriesport.workflow.shares.check_granted`.
    """
    shares = {name: _share(resources, name) for name in every(settings.servers)}

    def within(server: Server, most: int) -> Server:
        if not 0 < most < server.at_once:
            return server
        rate = server.instances_per_second
        if rate is not None:
            rate *= most / server.at_once
        return replace(server.within(most), instances_per_second=rate)

    return replace(
        settings,
        servers={name: within(server, shares[name]) for name, server in settings.servers.items()},
        unnamed=shares[UNNAMED] or None,
        withheld=frozenset(safe_name(name) for name, share in shares.items() if not share),
    )


def _share(resources: Mapping[str, object], server: str) -> int:
    share = resources.get(resource_name(server))
    return max(0, share) if isinstance(share, int) else 0


def fetching(
    index: Path | str, servers: Mapping[str, Server], jobs: int | None, log: str
) -> Mapping[str, Callable[..., int | str]]:
    """Connections, memory and run time of a job that fetches a shard, by Snakemake resource.

    With a `window`, on SLURM, also when the job may start.

    Args:
        index: The plan's `shards.tsv`.
        servers: What config.yaml has.
        jobs: How many jobs may run at one time; None on a cluster.
        log: The file that the job of a `{shard}` logs to.
    """
    sizes = moving(Shares(lambda: shards(index), servers, FETCH.servers, jobs), log)
    windows = {safe_name(name): server.window for name, server in servers.items() if server.window}
    if not windows:
        return sizes

    def slurm_extra(wildcards: Any) -> str:
        sources = shards(index)[wildcards.shard].sources
        return Begin(windows[name] for name in sources if name in windows)

    return {**sizes, "slurm_extra": slurm_extra}


def uploading(
    index: Path | str, servers: Mapping[str, Server], jobs: int | None, log: str
) -> Sizes:
    """Connections, memory and run time of a job that uploads a shard; see `fetching`."""
    return moving(Shares(lambda: shards(index), servers, UPLOAD.servers, jobs), log)


def waited_for(until: set[str], steps: Mapping[str, Step], summary: str) -> list[Step]:
    """Return the steps that the summary waits for: those that `--until` names, or all.

    Snakemake knows their jobs only once the plan is made, and forgets what they lack where nothing
    depends on them: with `--until`, the summary stays in the graph for both.

    Args:
        until: The rules that `--until` names, to which the summary is added.
        steps: The steps by the names of their rules.
        summary: The name of the rule that waits for them.
    """
    named = [step for rule, step in steps.items() if rule in until]
    if named:
        until.add(summary)
    return named or list(steps.values())


def forced(dag: Any) -> set[str]:
    """Rules and files that Snakemake's DAG settings force to be made anew."""
    if dag is None:
        return set()
    every = {"everything"} if dag.forceall or dag.forcetargets else set[str]()
    return every | set(dag.forcerun)


def destinations(index: Path | str, servers: Mapping[str, Server]) -> Callable[..., list[str]]:
    """Where the destinations of a shard are: a server that moves is asked again what it has."""

    def moved_to(wildcards: Any) -> list[str]:
        used = shards(index)[wildcards.shard].destinations
        return [server.place for name, server in servers.items() if safe_name(name) in used]

    return moved_to


def inputs(step: Step, index: Path | str, upload: Sequence[str], shard: str) -> list[Step]:
    """Return the steps whose ledgers a step needs for a shard.

    An upload needs the formats only where they are delivered.

    Args:
        step: The step.
        index: The plan's `shards.tsv`.
        upload: Of config.yaml.
        shard: The shard.
    """
    if Files.FORMATS not in step.reads:
        return [*step.before]
    said = shards(index)[shard].delivers_files
    delivered = delivers_files(upload) if said is None else said
    return [one for one in step.before if delivered or one.writes is not Files.FORMATS]
