"""SLURM's job arrays: refuse those that would wait for jobs which a limit holds back."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from seriesport.workflow.shares import Shares, every
from seriesport.workflow.steps import STEPS, rules_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seriesport.cohort.plan import Shard
    from seriesport.config.settings import Server
    from seriesport.workflow.steps import Step


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
        rules = {step.name: rules_of(step, self._workflow.rules) for step in STEPS}
        wanted = [name for name in rules if "all" in asked or asked & rules[name]]
        turns = self._taking_turns(shards)
        held = [f"{name}: {turns[name]}" for name in wanted if name in turns]
        if held:
            left = sorted(rule for name in wanted if name not in turns for rule in rules[name])
            instead = f"give --slurm-array-jobs={','.join(left)}" if left else "leave it out"
            return f"--slurm-array-jobs={typed} would wait for ever ({'; '.join(held)}): {instead}"
        if wanted and len(shards) > self._released:
            return (
                f"--slurm-array-jobs={typed} may wait for ever, since {self._released} of "
                f"{len(shards)} jobs are released at a time: add --jobs={len(shards)} "
                f"--scheduler-subsample={len(shards)}"
            )
        return ""

    def _taking_turns(self, shards: Mapping[str, Shard]) -> dict[str, str]:
        """Explain by step what its jobs share that is not enough for all of them at one time."""
        turns: dict[str, str] = {}
        for name, server in every(self._servers).items():
            taken = {step.name: self._taken(name, step, shards) for step in STEPS}
            jobs = [share for shares in taken.values() for share in shares]
            if sum(jobs) > server.at_once:
                why = f"{len(jobs)} jobs share {server.at_once} connections to {name}"
                turns |= {step: why for step, shares in taken.items() if shares}
        return turns

    def _taken(self, server: str, step: Step, shards: Mapping[str, Shard]) -> list[int]:
        shares = Shares(lambda: shards, self._servers, step.servers, None)
        return [share[server] for shard in shards if server in (share := shares.of(shard))]

    @property
    def _released(self) -> int:
        jobs = self._workflow.resource_settings.nodes
        return min(jobs or sys.maxsize, self._workflow.scheduling_settings.subsample or sys.maxsize)
