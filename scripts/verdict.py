"""Rule verdict: see seriesport.workflow.verdict."""

from seriesport.workflow.job import job
from seriesport.workflow.upload import Looks
from seriesport.workflow.verdict import judge

with job(snakemake.log[0], snakemake.config) as (results, config):
    judge(results, Looks(results, config.upload, config.settings))
