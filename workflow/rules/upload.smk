rule upload:
    input:
        "results/dicom/{shard}/ledger.tsv",
        made=made,
        retry=retry("uploaded"),
    output:
        "results/uploaded/{shard}/ledger.tsv",
    log:
        "results/logs/upload/{shard}.log",
    conda:
        "../../environment.yml"
    resources:
        **uploading(
            INDEX, settings.settings.servers, JOBS, "results/logs/upload/{shard}.log"
        ),
    params:
        upload=settings.upload,
        destinations=destinations(INDEX, settings.settings.servers),
    script:
        "../../scripts/upload.py"
