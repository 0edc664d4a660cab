"""Rule summary: see seriesport.steps.verdict."""

from seriesport.steps.job import job
from seriesport.steps.verdict import summarise

with job(snakemake.log[0], snakemake.config) as (results, _):
    summarise(results)
