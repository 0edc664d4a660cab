"""A rule of the table of steps: see seriesport.workflow.steps."""

from seriesport.workflow.job import job
from seriesport.workflow.steps import step_of

folder = snakemake.params.results
with job(snakemake.log[0], snakemake.config, snakemake.resources, results=folder) as (
    results,
    config,
):
    step_of(snakemake.output[0]).run(results, snakemake.wildcards.shard, config)
