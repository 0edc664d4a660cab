"""SLURM's job arrays: refuse those that would wait for jobs which a limit holds back."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from seriesport.workflow.shares import Shares, every

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seriesport.cohort.plan import Shard
    from seriesport.config.settings import Server

_Used = Callable[["Shard"], tuple[str, ...]]
_USED: dict[str, _Used] = {
    "fetch": lambda shard: shard.sources,
    "convert": lambda _: (),
    "upload": lambda shard: shard.destinations,
}
"""The servers that a shard talks to, by step."""


class Arrays:
    """The rules that a run submits as arrays of jobs.

    The executor submits an array once all ready jobs of its rule are released together. Those
    that are released in smaller numbers it drops, and waits for them for ever.

    Args:
        workflow: Snakemake's workflow, which has the options of the run.
        servers: The servers of config.yaml.
    """

    def __init__(self, workflow: Any, servers: Mapping[str, Server]) -> None:
        self._workflow = workflow
        self._servers = servers
        self._checked: Mapping[str, Shard] | None = None

    def problem(self, shards: Mapping[str, Shard]) -> str:
        """Explain why an array would wait for ever, and what to give instead.

        Args:
            shards: The plan's shards by name. The same ones are checked once.

        Returns:
            A sentence, empty where there is no problem.
        """
        typed = getattr(self._workflow.executor_settings, "array_jobs", None)
        if not typed or self._checked is shards:
            return ""
        self._checked = shards
        asked = set(re.split(r"[\s,;]+", typed))
        rules = {step: self._rules(step) for step in _USED}
        wanted = [step for step in _USED if "all" in asked or asked & rules[step]]
        turns = self._taking_turns(shards)
        held = [f"{step}: {turns[step]}" for step in wanted if step in turns]
        if held:
            left = sorted(name for step in wanted if step not in turns for name in rules[step])
            instead = f"give --slurm-array-jobs={','.join(left)}" if left else "leave it out"
            return f"--slurm-array-jobs={typed} would wait for ever ({'; '.join(held)}): {instead}"
        if wanted and len(shards) > self._released:
            return (
                f"--slurm-array-jobs={typed} may wait for ever, since {self._released} of "
                f"{len(shards)} jobs are released at a time: add --jobs={len(shards)} "
                f"--scheduler-subsample={len(shards)}"
            )
        return ""

    def _rules(self, step: str) -> set[str]:
        # By their scripts, since another workflow may give them other names.
        rules = self._workflow.rules
        return {rule.name for rule in rules if str(rule.script).endswith(f"/{step}.py")}

    def _taking_turns(self, shards: Mapping[str, Shard]) -> dict[str, str]:
        """Say by step what its jobs share that is not enough for all of them at one time."""
        turns: dict[str, str] = {}
        for name, server in every(self._servers).items():
            taken = {step: self._taken(name, used, shards) for step, used in _USED.items()}
            jobs = [share for shares in taken.values() for share in shares]
            if sum(jobs) > server.at_once:
                why = f"{len(jobs)} jobs share {server.at_once} connections to {name}"
                turns |= {step: why for step, shares in taken.items() if shares}
        return turns

    def _taken(self, server: str, used: _Used, shards: Mapping[str, Shard]) -> list[int]:
        shares = Shares(lambda: shards, self._servers, used, None)
        return [share[server] for shard in shards if server in (share := shares.of(shard))]

    @property
    def _released(self) -> int:
        jobs = self._workflow.resource_settings.nodes
        return min(jobs or sys.maxsize, self._workflow.scheduling_settings.subsample or sys.maxsize)
