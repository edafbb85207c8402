# Instruction data and instruction tuning.
# Takes: checkpoints; config sections prepare_instructions, tunings, finetune.
# Makes: a tuned model for every model and tuning.


rule prepare_instructions:
    """Put a language's instruction pairs in a stable order."""
    input:
        unpack(cell("prepare_instructions/{language}")),
    output:
        "results/prepare_instructions/{language}/{key}/manifest.json",
    log:
        "logs/prepare_instructions/{language}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("prepare_instructions")


rule finetune:
    """Tune a model on instructions, loss on responses only."""
    input:
        unpack(cell("finetune/{model}/{tuning}")),
    output:
        "results/finetune/{model}/{tuning}/{key}/manifest.json",
    log:
        "logs/finetune/{model}.{tuning}.{key}.log",
    retries: needs.retries("finetune")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("finetune")
    resources:
        **needs.resources("finetune"),
    shell:
        stage("finetune")
