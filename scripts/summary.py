"""Rule summary: see seriesport.workflow.verdict."""

from seriesport.workflow.job import job
from seriesport.workflow.verdict import summarise

folder = snakemake.params.results
with job(snakemake.log[0], snakemake.config, results=folder) as (results, _):
    summarise(results)
