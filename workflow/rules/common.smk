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


rechecks = Rechecks(Results(Path("results")), settings.recheck)


def again(wildcards):
    if workflow.is_main_process:
        order_plan(INDEX, settings.ask_again_after)
    return [path for path in ["results/plan/again"] if exists(path)]


def retry(step):
    def orders(wildcards):
        if step == "uploaded" and workflow.is_main_process:
            rechecks.order(wildcards.shard, forced(workflow.dag_settings))
        path = f"results/plan/retry/{step}/{wildcards.shard}"
        return [path] if exists(path) else []

    return orders


def made(wildcards):
    if delivers(INDEX, settings.upload, wildcards.shard):
        return ["results/converted/{shard}/ledger.tsv"]
    return []
