"""Rule fetch: see seriesport.steps.fetch."""

from seriesport.steps.fetch import fetch_shard
from seriesport.steps.job import job

with job(snakemake.log[0], snakemake.config, snakemake.resources) as (results, config):
    fetch_shard(results, snakemake.wildcards.shard, config.settings)
