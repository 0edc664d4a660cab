"""Rule summary: see seriesport.workflow.verdict."""

from seriesport.workflow.job import job
from seriesport.workflow.verdict import summarise

with job(snakemake.log[0], snakemake.config) as (results, _):
    summarise(results)
