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
        **converting(
            "results/dicom/{shard}/ledger.tsv", "results/logs/convert/{shard}.log"
        ),
    params:
        formats=settings.formats,
        upload=settings.upload,
        postscript=settings.postscript,
        input_order=settings.input_order,
    script:
        "../../scripts/convert.py"
