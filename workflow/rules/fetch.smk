rule fetch:
    input:
        f"{RESULTS}/plan/shards/{{shard}}.jsonl",
        # A new plan fetches again only the shards that it changed.
        index=ancient(INDEX),
        retry=retry(steps.FETCH),
    output:
        ledger(steps.FETCH),
    log:
        f"{RESULTS}/logs/fetch/{{shard}}.log",
    conda:
        "../envs/seriesport.yml"
    resources:
        **fetching(
            results.plan.index,
            settings.settings.servers,
            JOBS,
            str(results.log("fetch", "{shard}")),
        ),
    params:
        results=subpath(output[0], ancestor=3),
    script:
        "../../scripts/step.py"
