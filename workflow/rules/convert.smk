rule convert:
    input:
        "results/dicom/{shard}/ledger.tsv",
    output:
        "results/converted/{shard}/ledger.tsv",
    params:
        formats=settings.formats,
    log:
        "results/logs/convert/{shard}.log",
    conda:
        "../../environment.yml"
    script:
        "../../scripts/convert.py"
