rule upload:
    input:
        "results/dicom/{shard}/ledger.tsv",
    output:
        "results/uploaded/{shard}/ledger.tsv",
    log:
        "results/logs/upload/{shard}.log",
    resources:
        **uploading(INDEX, settings.settings.servers),
    conda:
        "../../environment.yml"
    script:
        "../../scripts/upload.py"
