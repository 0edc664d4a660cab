checkpoint plan:
    input:
        # Where config says, whatever the prefix of a module.
        local(str(settings.cohort)),
        again=again,
    output:
        INDEX,
    log:
        f"{RESULTS}/logs/plan.log",
    # What it refuses, it would refuse again.
    retries: 0
    localrule: True
    conda:
        "../envs/seriesport.yml"
    # The plan runs alone and takes all that there is.
    resources:
        **limits(settings.settings.servers),
    params:
        shard_size=settings.shard_size,
        results=subpath(output[0], ancestor=2),
    script:
        "../../scripts/plan.py"


# As Snakemake has them, for the library.
results = Results(Path(rules.plan.output[0]).parents[1])
rechecks = Rechecks(results, settings.recheck)
