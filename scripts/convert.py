"""Rule convert: see seriesport.workflow.convert."""

from seriesport.workflow.convert import convert_shard
from seriesport.workflow.job import job

folder = snakemake.params.results
with job(snakemake.log[0], snakemake.config, snakemake.resources, results=folder) as (
    results,
    config,
):
    convert_shard(
        results,
        snakemake.wildcards.shard,
        config.formats,
        config.upload,
        postscript=config.postscript,
        input_order=config.input_order,
    )
