rule convert:
    input:
        read_by(steps.CONVERT),
        retry=retry(steps.CONVERT),
    output:
        ledger(steps.CONVERT),
    log:
        f"{RESULTS}/logs/convert/{{shard}}.log",
    conda:
        "../envs/seriesport.yml"
    resources:
        **converting(
            str(results.ledger(steps.CONVERT.before[-1], "{shard}")),
            str(results.log("convert", "{shard}")),
        ),
    params:
        formats=settings.formats,
        upload=settings.upload,
        postscript=settings.postscript,
        input_order=settings.input_order,
        results=subpath(output[0], ancestor=3),
    script:
        "../../scripts/step.py"
