checkpoint plan:
    input:
        str(settings.cohort),
        again=again,
    output:
        INDEX,
    log:
        "results/logs/plan.log",
    # What it refuses, it would refuse again.
    retries: 0
    conda:
        "../../environment.yml"
    # The plan runs alone and takes all that there is.
    resources:
        **limits(settings.settings.servers),
    params:
        shard_size=settings.shard_size,
    script:
        "../../scripts/plan.py"
