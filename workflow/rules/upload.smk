rule upload:
    input:
        read_by(steps.UPLOAD),
        retry=retry(steps.UPLOAD),
    output:
        ledger(steps.UPLOAD),
    log:
        f"{RESULTS}/logs/upload/{{shard}}.log",
    conda:
        "../envs/seriesport.yml"
    resources:
        **uploading(
            results.plan.index,
            settings.settings.servers,
            JOBS,
            str(results.log("upload", "{shard}")),
        ),
    params:
        upload=settings.upload,
        destinations=destinations(results.plan.index, settings.settings.servers),
        results=subpath(output[0], ancestor=3),
    script:
        "../../scripts/step.py"
