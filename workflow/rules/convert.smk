rule convert:
    input:
        ledger("dicom"),
        retry=retry("converted"),
    output:
        ledger("converted"),
    log:
        f"{RESULTS}/logs/convert/{{shard}}.log",
    conda:
        "../envs/seriesport.yml"
    resources:
        **converting(
            str(results.ledger("dicom", "{shard}")),
            str(results.log("convert", "{shard}")),
        ),
    params:
        formats=settings.formats,
        upload=settings.upload,
        postscript=settings.postscript,
        input_order=settings.input_order,
        results=subpath(output[0], ancestor=3),
    script:
        "../../scripts/convert.py"
