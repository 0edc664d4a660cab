rule fetch:
    input:
        "results/plan/shards/{shard}.jsonl",
    output:
        "results/dicom/{shard}/ledger.tsv",
    log:
        "results/logs/fetch/{shard}.log",
    resources:
        **fetching(INDEX, settings.settings.servers),
    conda:
        "../../environment.yml"
    script:
        "../../scripts/fetch.py"
