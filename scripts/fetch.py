"""Rule fetch: see seriesport.workflow.fetch."""

from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.job import job

folder = snakemake.params.results
with job(snakemake.log[0], snakemake.config, snakemake.resources, results=folder) as (
    results,
    config,
):
    fetch_shard(results, snakemake.wildcards.shard, config.settings)
