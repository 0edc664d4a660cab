INDEX = "results/plan/shards.tsv"

# How many jobs share a server's connections. On a cluster every job works out its share once more,
# by what it knows as well.
JOBS = None
if workflow.is_main_process and not workflow.resource_settings.nodes:
    JOBS = workflow.resource_settings.cores


def ledgers(wildcards):
    index = checkpoints.plan.get().output[0]
    return expand(
        "results/{step}/{shard}/ledger.tsv",
        step=["dicom", "converted", "uploaded"],
        shard=shards(index),
    )


def again(wildcards):
    if workflow.is_main_process:
        order_plan(INDEX, settings.ask_again_after)
    return [path for path in ["results/plan/again"] if exists(path)]


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
