# The English base and further pretraining.
# Takes: packed tokens; config sections base, mixes, models, pretrain.
# Makes: a checkpoint for every model.


rule train_base:
    """Train the English model from scratch."""
    input:
        unpack(cell("train_base/{model}")),
    output:
        "results/train_base/{model}/{key}/manifest.json",
    log:
        "logs/train_base/{model}.{key}.log",
    retries: needs.retries("train_base")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("train_base")
    resources:
        **needs.resources("train_base"),
    shell:
        stage("train_base")


rule adopt_model:
    """Take in a checkpoint or vocabulary made elsewhere."""
    input:
        unpack(cell("adopt_model/{model}")),
    output:
        "results/adopt_model/{model}/{key}/manifest.json",
    log:
        "logs/adopt_model/{model}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("adopt_model")


rule pretrain:
    """Continue pretraining a model to its token budget."""
    input:
        unpack(cell("pretrain/{model}")),
    output:
        "results/pretrain/{model}/{key}/manifest.json",
    log:
        "logs/pretrain/{model}.{key}.log",
    retries: needs.retries("pretrain")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("pretrain")
    resources:
        **needs.resources("pretrain"),
    shell:
        stage("pretrain")
