INDEX = "results/plan/shards.tsv"


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
