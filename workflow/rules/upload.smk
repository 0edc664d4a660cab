rule upload:
    input:
        ledger("dicom"),
        made=made,
        retry=retry("uploaded"),
    output:
        ledger("uploaded"),
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
        "../../scripts/upload.py"
