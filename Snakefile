# `snakemake` in the root of a clone runs workflow/Snakefile.
if exists("config/config.yaml"):

    configfile: "config/config.yaml"


module seriesport:
    snakefile:
        "workflow/Snakefile"
    config:
        config


use rule * from seriesport
