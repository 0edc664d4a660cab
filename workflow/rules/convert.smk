rule convert:
    input:
        "results/dicom/{shard}/ledger.tsv",
        retry=retry("converted"),
    output:
        "results/converted/{shard}/ledger.tsv",
    log:
        "results/logs/convert/{shard}.log",
    conda:
        "../../environment.yml"
    resources:
        **converting("results/dicom/{shard}/ledger.tsv"),
    params:
        formats=settings.formats,
        upload=settings.upload,
        postscript=settings.postscript,
    script:
        "../../scripts/convert.py"
