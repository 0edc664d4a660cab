rule summary:
    input:
        ledgers,
        index=INDEX,
    output:
        report(
            f"{RESULTS}/summary.tsv",
            caption="../report/summary.rst",
            category="Cohort",
        ),
    log:
        f"{RESULTS}/logs/summary.log",
    retries: 0
    localrule: True
    conda:
        "../envs/seriesport.yml"
    params:
        results=subpath(output[0], parent=True),
    script:
        "../../scripts/summary.py"
