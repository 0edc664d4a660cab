"""Rule verdict: see seriesport.workflow.verdict."""

from seriesport.workflow.job import job
from seriesport.workflow.upload import Looks
from seriesport.workflow.verdict import judge

folder = snakemake.params.results
with job(snakemake.log[0], snakemake.config, results=folder) as (results, config):
    judge(results, Looks(results, config.upload, config.settings))
