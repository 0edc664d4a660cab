"""Rule upload: see seriesport.workflow.upload."""

from seriesport.workflow.job import job
from seriesport.workflow.upload import upload_shard

folder = snakemake.params.results
with job(snakemake.log[0], snakemake.config, snakemake.resources, results=folder) as (
    results,
    config,
):
    upload_shard(
        results,
        snakemake.wildcards.shard,
        config.upload,
        config.settings,
        compare=config.recheck == "digest",
    )
