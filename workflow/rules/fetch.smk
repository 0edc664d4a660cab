rule fetch:
    input:
        "results/plan/shards/{shard}.jsonl",
        retry=retry("dicom"),
    output:
        "results/dicom/{shard}/ledger.tsv",
    log:
        "results/logs/fetch/{shard}.log",
    conda:
        "../../environment.yml"
    resources:
        **fetching(
            INDEX, settings.settings.servers, JOBS, "results/logs/fetch/{shard}.log"
        ),
    script:
        "../../scripts/fetch.py"
