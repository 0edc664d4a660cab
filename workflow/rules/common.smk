INDEX = "results/plan/shards.tsv"

# How many jobs share the connections of a server. In a job of a cluster, Snakemake keeps to what
# it was given when it was sent.
JOBS = 1
if workflow.is_main_process:
    JOBS = workflow.resource_settings.nodes or workflow.resource_settings.cores or 1


def ledgers(wildcards):
    index = checkpoints.plan.get().output[0]
    return expand(
        "results/{step}/{shard}/ledger.tsv",
        step=["dicom", "converted", "uploaded"],
        shard=shards(index),
    )


def retry(step):
    return lambda wildcards: [
        path
        for path in [f"results/plan/retry/{step}/{wildcards.shard}"]
        if exists(path)
    ]


def made(wildcards):
    if delivers(INDEX, settings.upload, wildcards.shard):
        return ["results/converted/{shard}/ledger.tsv"]
    return []
