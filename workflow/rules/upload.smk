rule upload:
    input:
        "results/dicom/{shard}/ledger.tsv",
        retry=retry("uploaded"),
    output:
        "results/uploaded/{shard}/ledger.tsv",
    log:
        "results/logs/upload/{shard}.log",
    conda:
        "../../environment.yml"
    resources:
        **uploading(INDEX, settings.settings.servers),
    params:
        destinations=destinations(INDEX, settings.settings.servers),
    script:
        "../../scripts/upload.py"
