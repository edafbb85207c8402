# Tables, figures, verdicts and the report.
# Takes: every score; config section reporting; resources/paper, resources/claims.yaml.
# Makes: the report's folder.


rule tables:
    """Gather the scores into tables, the paper's numbers beside them."""
    input:
        unpack(cell("tables/{name}")),
    output:
        "results/tables/{name}/{key}/manifest.json",
    log:
        "logs/tables/{name}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("tables")


rule figures:
    """Draw the figures."""
    input:
        unpack(cell("figures/{name}")),
    output:
        "results/figures/{name}/{key}/manifest.json",
    log:
        "logs/figures/{name}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("figures")


rule claims:
    """Give a verdict on every claim of the paper."""
    input:
        unpack(cell("claims/{name}")),
    output:
        "results/claims/{name}/{key}/manifest.json",
    log:
        "logs/claims/{name}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("claims")


rule report:
    """Put everything on one page."""
    input:
        unpack(cell("report/{name}")),
    output:
        "results/report/{name}/{key}/manifest.json",
    log:
        "logs/report/{name}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("report")
