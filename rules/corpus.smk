# From raw corpora to clean, split documents.
# Takes: config sections fetch_corpus, clean_corpus, split_corpus; datasets.csv.
# Makes: clean training and held-out documents of every language.


rule fetch_corpus:
    """Fetch a language's raw documents."""
    input:
        unpack(cell("fetch_corpus/{language}")),
    output:
        "results/fetch_corpus/{language}/{key}/manifest.json",
    log:
        "logs/fetch_corpus/{language}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("fetch_corpus")


rule clean_corpus:
    """Clean a language's documents; keep what is dropped, by reason."""
    input:
        unpack(cell("clean_corpus/{language}")),
    output:
        "results/clean_corpus/{language}/{key}/manifest.json",
    log:
        "logs/clean_corpus/{language}.{key}.log",
    retries: needs.retries("clean_corpus")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("clean_corpus")
    resources:
        **needs.resources("clean_corpus"),
    shell:
        stage("clean_corpus")


rule split_corpus:
    """Set held-out documents apart."""
    input:
        unpack(cell("split_corpus/{language}")),
    output:
        "results/split_corpus/{language}/{key}/manifest.json",
    log:
        "logs/split_corpus/{language}.{key}.log",
    retries: needs.retries("split_corpus")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("split_corpus")
    resources:
        **needs.resources("split_corpus"),
    shell:
        stage("split_corpus")
