INDEX = "results/plan/shards.tsv"


checkpoint plan:
    input:
        str(settings.cohort),
        again=lambda wildcards: [f for f in ["results/plan/again"] if exists(f)],
    output:
        INDEX,
    params:
        shard_size=settings.shard_size,
    log:
        "results/logs/plan.log",
    conda:
        "../../environment.yml"
    script:
        "../../scripts/plan.py"
