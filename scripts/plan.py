"""Rule plan: see seriesport.workflow.plan."""

from seriesport.workflow.job import job
from seriesport.workflow.plan import plan_cohort

folder = snakemake.params.results
with job(snakemake.log[0], snakemake.config, snakemake.resources, results=folder) as (
    results,
    config,
):
    plan_cohort(
        results,
        config.cohort,
        config.settings,
        shard_size=config.shard_size,
        replan_after=config.ask_again_after,
    )
