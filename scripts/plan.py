"""Rule plan: see seriesport.steps.plan."""

from seriesport.steps.job import job
from seriesport.steps.plan import plan_cohort

with job(snakemake.log[0], snakemake.config, snakemake.resources) as (results, config):
    plan_cohort(
        results,
        config.cohort,
        config.settings,
        shard_size=config.shard_size,
        replan_after=config.ask_again_after,
    )
