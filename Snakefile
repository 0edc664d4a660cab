# `snakemake` in the root of a clone runs workflow/Snakefile.
try:
    from seriesport.workflow.rules import readable
except ModuleNotFoundError:
    readable = str  # workflow/Snakefile, which needs it too, reports it

if exists("config/config.yaml"):

    configfile: readable("config/config.yaml")


module seriesport:
    snakefile:
        "workflow/Snakefile"
    config:
        config


use rule * from seriesport
