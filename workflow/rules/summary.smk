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
    conda:
        "../../environment.yml"
    retries: 0
    script:
        "../../scripts/summary.py"
