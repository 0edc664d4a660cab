"""Rule upload: see seriesport.steps.upload."""

from seriesport.steps.job import job
from seriesport.steps.upload import upload_shard

with job(snakemake.log[0], snakemake.config, snakemake.resources) as (results, config):
    upload_shard(
        results,
        snakemake.wildcards.shard,
        config.upload,
        config.settings,
        compare=config.recheck == "digest",
    )
