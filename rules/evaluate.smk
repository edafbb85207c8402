# Benchmarks and scores.
# Takes: checkpoints, tuned models; config sections benchmarks, translate_benchmark, generate, score,
# calibrate_judge, code_switching, perplexity, alignment.
# Makes: answers, and scores of each model; answering and scoring are cells apart.


rule fetch_benchmark:
    """Fetch a benchmark in a language."""
    input:
        unpack(cell("fetch_benchmark/{benchmark}/{language}")),
    output:
        "results/fetch_benchmark/{benchmark}/{language}/{key}/manifest.json",
    log:
        "logs/fetch_benchmark/{benchmark}.{language}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("fetch_benchmark")


rule translate_benchmark:
    """Translate a benchmark's questions."""
    input:
        unpack(cell("translate_benchmark/{benchmark}/{language}")),
    output:
        "results/translate_benchmark/{benchmark}/{language}/{key}/manifest.json",
    log:
        "logs/translate_benchmark/{benchmark}.{language}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("translate_benchmark")


rule switch_prompts:
    """Put a clause of the source language into each question."""
    input:
        unpack(cell("switch_prompts/{benchmark}/{language}")),
    output:
        "results/switch_prompts/{benchmark}/{language}/{key}/manifest.json",
    log:
        "logs/switch_prompts/{benchmark}.{language}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("switch_prompts")


rule generate:
    """Let a tuned model answer a benchmark's questions."""
    input:
        unpack(cell("generate/{model}/{tuning}/{benchmark}/{language}")),
    output:
        "results/generate/{model}/{tuning}/{benchmark}/{language}/{key}/manifest.json",
    log:
        "logs/generate/{model}.{tuning}.{benchmark}.{language}.{key}.log",
    retries: needs.retries("generate")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("generate")
    resources:
        **needs.resources("generate"),
    shell:
        stage("generate")


rule score:
    """Score answers in five aspects."""
    input:
        unpack(cell("score/{model}/{tuning}/{benchmark}/{language}")),
    output:
        "results/score/{model}/{tuning}/{benchmark}/{language}/{key}/manifest.json",
    log:
        "logs/score/{model}.{tuning}.{benchmark}.{language}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("score")


rule calibrate_judge:
    """Compare judges with people on released scores."""
    input:
        unpack(cell("calibrate_judge/{name}")),
    output:
        "results/calibrate_judge/{name}/{key}/manifest.json",
    log:
        "logs/calibrate_judge/{name}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("calibrate_judge")


rule code_switching:
    """Find answers that leave the language asked for."""
    input:
        unpack(cell("code_switching/{model}/{tuning}/{benchmark}/{language}")),
    output:
        "results/code_switching/{model}/{tuning}/{benchmark}/{language}/{key}/manifest.json",
    log:
        "logs/code_switching/{model}.{tuning}.{benchmark}.{language}.{key}.log",
    conda:
        "../envs/langtransfer.yaml"
    shell:
        stage("code_switching")


rule knowledge:
    """Answer multiple-choice questions."""
    input:
        unpack(cell("knowledge/{model}/{tuning}/{benchmark}/{language}")),
    output:
        "results/knowledge/{model}/{tuning}/{benchmark}/{language}/{key}/manifest.json",
    log:
        "logs/knowledge/{model}.{tuning}.{benchmark}.{language}.{key}.log",
    retries: needs.retries("knowledge")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("knowledge")
    resources:
        **needs.resources("knowledge"),
    shell:
        stage("knowledge")


rule perplexity:
    """Measure perplexity and bits per byte on held-out text."""
    input:
        unpack(cell("perplexity/{model}/{tuning}/{language}")),
    output:
        "results/perplexity/{model}/{tuning}/{language}/{key}/manifest.json",
    log:
        "logs/perplexity/{model}.{tuning}.{language}.{key}.log",
    retries: needs.retries("perplexity")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("perplexity")
    resources:
        **needs.resources("perplexity"),
    shell:
        stage("perplexity")


rule alignment:
    """Probe a model's layers: which documents of two languages are each other's translation."""
    input:
        unpack(cell("alignment/{model}/{tuning}/{language}")),
    output:
        "results/alignment/{model}/{tuning}/{language}/{key}/manifest.json",
    log:
        "logs/alignment/{model}.{tuning}.{language}.{key}.log",
    retries: needs.retries("alignment")
    conda:
        "../envs/langtransfer.yaml"
    threads: needs.threads("alignment")
    resources:
        **needs.resources("alignment"),
    shell:
        stage("alignment")
