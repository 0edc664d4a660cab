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
    script:
        "../../scripts/summary.py"


# Without output, so that every run ends with it: a ledger that is missing is then needed, and the
# exit code is that of the whole cohort.
rule verdict:
    default_target: True
    input:
        ledgers,
        index=INDEX,
        summary="results/summary.tsv",
    log:
        "results/logs/verdict.log",
    conda:
        "../../environment.yml"
    script:
        "../../scripts/verdict.py"
