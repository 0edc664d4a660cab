# The results as the rules have them; Snakemake adds the prefix of a module to their paths.
RESULTS = str(settings.results)
INDEX = f"{RESULTS}/plan/shards.tsv"

# How many jobs share a server's connections. On a cluster every job works out its share once more,
# by what it knows as well.
JOBS = None
if workflow.is_main_process and not workflow.resource_settings.nodes:
    JOBS = workflow.resource_settings.cores


def ledger(step):
    return f"{RESULTS}/{step.folder}/{{shard}}/ledger.tsv"


def ledgers(wildcards):
    wanted = waited_for(workflow.dag.untilrules, RULES, SUMMARY)
    checkpoints.plan.get()
    return expand(list(map(ledger, wanted)), shard=shards(results.plan.index))


def again(wildcards):
    if workflow.is_main_process:
        order_plan(results, settings.ask_again_after)
    return [f"{RESULTS}/plan/again"] if exists(results.plan.again) else []


arrays = Arrays(workflow, settings.settings.servers)


def refuse_arrays():
    problem = arrays.problem(shards(results.plan.index))
    if problem:
        logger.error(problem)
        # Snakemake would show where an exception was raised.
        raise SystemExit(1)


def retry(step):
    def orders(wildcards):
        shard = wildcards.shard
        if workflow.is_main_process:
            refuse_arrays()
        if step == steps.UPLOAD and workflow.is_main_process:
            rechecks.order(shard, forced(workflow.dag_settings))
        there = exists(results.retry(step, shard))
        return [f"{RESULTS}/plan/retry/{step.folder}/{shard}"] if there else []

    return orders


def read_by(step):
    def ledgers_before(wildcards):
        needed = inputs(step, results.plan.index, settings.upload, wildcards.shard)
        return [ledger(one) for one in needed]

    return ledgers_before
