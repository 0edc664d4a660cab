"""Rule fetch: see seriesport.workflow.fetch."""

from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.job import job

with job(snakemake.log[0], snakemake.config, snakemake.resources) as (results, config):
    fetch_shard(results, snakemake.wildcards.shard, config.settings)
