rule summary:
    input:
        ledgers,
        index=INDEX,
    output:
        report(
            "results/summary.tsv",
            caption="../report/summary.rst",
            category="Cohort",
        ),
    log:
        "results/logs/summary.log",
    retries: 0
    conda:
        "../../environment.yml"
    script:
        "../../scripts/summary.py"
