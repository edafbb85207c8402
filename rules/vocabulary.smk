# Vocabularies, embedding rows and token ids.
# Takes: split corpora; config sections tokenizers, vocabularies, extend_embeddings, pack_tokens.
# Makes: vocabulary folders, models with new rows, packed tokens.


rule train_tokenizer:
    """Train a SentencePiece model."""
    input:
        unpack(cell("train_tokenizer/{targets}/{name}")),
    output:
        "results/train_tokenizer/{targets}/{name}/{key}/manifest.json",
    log:
        "logs/train_tokenizer/{targets}.{name}.{key}.log",
    retries: needs.retries("train_tokenizer")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("train_tokenizer")
    resources:
        **needs.resources("train_tokenizer"),
    shell:
        stage("train_tokenizer")


rule extend_vocabulary:
    """Append new pieces to the base vocabulary."""
    input:
        unpack(cell("extend_vocabulary/{targets}/{vocabulary}")),
    output:
        "results/extend_vocabulary/{targets}/{vocabulary}/{key}/manifest.json",
    log:
        "logs/extend_vocabulary/{targets}.{vocabulary}.{key}.log",
    retries: needs.retries("extend_vocabulary")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("extend_vocabulary")
    resources:
        **needs.resources("extend_vocabulary"),
    shell:
        stage("extend_vocabulary")


rule check_vocabulary:
    """Prove a vocabulary exact on a language's text, or stop."""
    input:
        unpack(cell("check_vocabulary/{language}/{vocabulary_id}")),
    output:
        "results/check_vocabulary/{language}/{vocabulary_id}/{key}/manifest.json",
    log:
        "logs/check_vocabulary/{language}.{vocabulary_id}.{key}.log",
    retries: needs.retries("check_vocabulary")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("check_vocabulary")
    resources:
        **needs.resources("check_vocabulary"),
    shell:
        stage("check_vocabulary")


rule extend_embeddings:
    """Give the base model rows for the new pieces."""
    input:
        unpack(cell("extend_embeddings/{targets}/{vocabulary}")),
    output:
        "results/extend_embeddings/{targets}/{vocabulary}/{key}/manifest.json",
    log:
        "logs/extend_embeddings/{targets}.{vocabulary}.{key}.log",
    retries: needs.retries("extend_embeddings")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("extend_embeddings")
    resources:
        **needs.resources("extend_embeddings"),
    shell:
        stage("extend_embeddings")


rule pack_tokens:
    """Turn training documents into token ids."""
    input:
        unpack(cell("pack_tokens/{language}/{vocabulary_id}")),
    output:
        "results/pack_tokens/{language}/{vocabulary_id}/{key}/manifest.json",
    log:
        "logs/pack_tokens/{language}.{vocabulary_id}.{key}.log",
    retries: needs.retries("pack_tokens")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("pack_tokens")
    resources:
        **needs.resources("pack_tokens"),
    shell:
        stage("pack_tokens")
