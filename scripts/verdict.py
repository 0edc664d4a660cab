"""Rule verdict: see seriesport.steps.verdict."""

from seriesport.steps.job import job
from seriesport.steps.upload import Looks
from seriesport.steps.verdict import judge

with job(snakemake.log[0], snakemake.config) as (results, config):
    judge(results, Looks(results, config.upload, config.settings))
