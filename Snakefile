# langtransfer: takes an English language model to other languages and tells which recipe worked.
#
# results/<stage>/<wildcards...>/<key>/manifest.json    a finished cell; its data lie beside it
# recipes/<stage>/<wildcards...>/<key>.json             what decides the cell; the key is its hash
# work/<stage>/<wildcards...>/<key>/                    resumable state of a running cell
# logs/<stage>/<wildcards joined by .>.<key>.log        what the cell's process printed
# results/report/                                       copy of the current report, and runs.csv
#
# The key is in the path, so stale means absent: see docs/pipeline.md and docs/identity.md.

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"  # reads the config, writes recipes, starts the warm worker
include: "rules/corpus.smk"
include: "rules/vocabulary.smk"
include: "rules/pretrain.smk"
include: "rules/finetune.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


# On a cluster: these need the internet or take seconds, and stay where Snakemake runs.
localrules:
    all,
    corpora,
    models,
    evaluations,
    fetch_corpus,
    adopt_model,
    prepare_instructions,
    fetch_benchmark,
    translate_benchmark,
    switch_prompts,
    score,
    calibrate_judge,
    code_switching,
    tables,
    figures,
    claims,
    report,


wildcard_constraints:
    key="[0-9a-f]{16}",
    language="[a-z]{2,3}",
    targets=r"[a-z]{2,3}(\+[a-z]{2,3})*",
    name="[a-z0-9-]+",
    vocabulary="[a-z0-9-]+",
    vocabulary_id="[a-z0-9+.-]+",
    model="[A-Za-z0-9+.-]+",
    tuning="[A-Za-z0-9+.-]+",
    benchmark="[a-z0-9.-]+",


rule all:
    """The whole study, up to its report."""
    default_target: True
    input:
        targets("report"),


rule corpora:
    """Every corpus, clean and split."""
    input:
        targets("split_corpus"),


rule models:
    """Every model, tuned and not."""
    input:
        targets(
            "train_base", "adopt_model", "extend_embeddings", "pretrain", "finetune"
        ),


rule evaluations:
    """Every score, before the tables."""
    input:
        targets(
            "score",
            "calibrate_judge",
            "code_switching",
            "knowledge",
            "perplexity",
            "alignment",
        ),
