"""Speed of a knowledge benchmark: this package against lm-evaluation-harness' stock backend.

Run: python -m benchmarks.knowledge [--tokenizer tokenizer.model] [--mmlu mmlu.zip]
Both answer the same 5-shot task files with the same random LLaMA (2,048 positions, float32) on one
core, one after the other, from the task files to the last score; the stock backend through
`simple_evaluate`. Processor time is counted, so that other load matters little. Without arguments:
a vocabulary and questions of the generated world. A line a size also says what the backend alone
brings, put into `simple_evaluate` like the stock one.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}
SHOTS = 5
BATCH = 8  # the stock backend's fastest here: 143, 142 and 265 ms a question with 1, 8 and 32
HEAD = 64  # size of an attention head; layers follow hidden_size / HEAD, as in LLaMA
Tasks = list[dict[str, Any]]
Scores = dict[str, list[float]]
Run = Callable[[Any, Tasks], Scores]


def llama_shape(millions: int, rows: int) -> dict[str, int]:
    """A LLaMA of LLaMA's proportions with at least so many parameters over `rows` embeddings."""

    def layers(heads: int) -> int:
        rest = millions * 1e6 - 2 * rows * heads * HEAD
        return max(2, -int(-rest // (12 * (heads * HEAD) ** 2)))

    heads = min(range(2, 16), key=lambda n: abs(layers(n) - n))
    return {
        "hidden_size": heads * HEAD,
        "intermediate_size": -(-heads * HEAD * 8 // 3 // 16) * 16,
        "layers": layers(heads),
        "heads": heads,
        "key_value_heads": heads,
    }


def load(millions: int, vocabulary: Path) -> tuple[Any, Any]:
    """A random model, and the tokenizer of a vocabulary folder."""
    from langtransfer.config.training import ModelShape
    from langtransfer.pretraining.models import load_tokenizer, new_model
    from langtransfer.vocabulary.contract import read_contract

    contract = read_contract(vocabulary)
    sizes = llama_shape(millions, contract.embedding_rows)
    shape = ModelShape(**sizes, max_position_embeddings=2048)
    return new_model(shape, contract, seed=1).eval(), load_tokenizer(vocabulary)


def write_benchmark(folder: Path, archive: Path | None, questions: int) -> Path:
    """Task files by the stage itself: MMLU from its archive, or facts of the generated world."""
    from langtransfer.config import RuntimeConfig
    from langtransfer.config.evaluation import FetchBenchmarkCell
    from langtransfer.corpus.registry import identity, load_registry
    from langtransfer.job import Job
    from langtransfer.provenance import sha256_file
    from langtransfer.resources import ROOT
    from scripts import fetch_benchmark

    key, registry = "atlas", ROOT / "resources" / "datasets.csv"
    if archive is not None:
        key, registry = "mmlu", folder / "datasets.csv"
        columns = "key,language,kind,location,revision,files,format,field,licence,homepage,note"
        row = f"mmlu,en,file,{archive.resolve().parent},,{archive.name},mmlu,,MIT,,"
        registry.write_text(f"{columns}\n{row}\n", encoding="utf-8")
    config = FetchBenchmarkCell(
        kind="knowledge",
        format=key,
        language="en",
        items=questions,
        subjects=None,
        shots=SHOTS,
        split="test",
        seed=1,
        identity=identity(load_registry(registry).row(key, "en"), sha256_file),
    )
    (folder / "out").mkdir()
    (folder / "work").mkdir()
    runtime = RuntimeConfig(registry=str(registry))
    job = Job("fetch_benchmark", "fetch_benchmark/speed", "key", config.model_dump(), {},
              folder / "out", folder / "work", runtime)  # fmt: skip
    fetch_benchmark.run(job)
    return folder / "out"


def run_stock(model: Any, tasks: Tasks) -> Scores:
    """Log-likelihoods of the options by item, through the harness' own way."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    copies: list[Any] = [dict(task) for task in tasks]
    found = simple_evaluate(model=model, tasks=copies, task_manager=manager, bootstrap_iters=0)
    assert found is not None  # it is on every rank but the first
    return {
        str(sample["doc"]["id"]): [response[0] for response in sample["filtered_resps"]]
        for task in tasks
        for sample in found["samples"][task["task"]]
    }


def run_ours(model: Any, tasks: Tasks) -> Scores:
    """The same by the `knowledge` stage's way."""
    from langtransfer.evaluation.knowledge import run_task

    rows = [row for task in tasks for row in run_task(model, task, SHOTS)]
    return {row["id"]: list(row["loglikelihoods"].values()) for row in rows}


def measure(ways: Mapping[str, tuple[Run, Any]], tasks: Tasks) -> dict[str, tuple[float, Scores]]:
    """Questions per second of processor time, and log-likelihoods, of each way."""
    for name, (run, model) in ways.items():
        if name != "stock":  # slow, and the same code as "backend"
            run(model, tasks[:1])  # imports and the dataset's cache
    measured = {}
    for name, (run, model) in ways.items():
        begun = time.process_time()
        found = run(model, tasks)
        measured[name] = (len(found) / (time.process_time() - begun), found)
    return measured


def differences(one: Scores, other: Scores) -> tuple[float, int]:
    """Largest difference of a log-likelihood, and how many predictions differ."""
    pairs = [(one[item], other[item]) for item in one]
    largest = max(abs(a - b) for p in pairs for a, b in zip(*p, strict=True))
    return largest, sum(a.index(max(a)) != b.index(max(b)) for a, b in pairs)


def main() -> None:
    """Time both for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, help="a SentencePiece model")
    parser.add_argument("--mmlu", type=Path, help="the upstream archive as mmlu.zip")
    parser.add_argument("--questions", type=int, default=100, help="a subject")
    parser.add_argument("--subjects", type=int, default=3, help="spread evenly over the alphabet")
    parser.add_argument("--sizes", type=int, nargs="+", default=[19, 60], help="million parameters")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    import torch
    from lm_eval.models.huggingface import HFLM

    from benchmarks.tokenization import trained_here
    from langtransfer.evaluation.knowledge import task_configs, wrap_model
    from langtransfer.vocabulary.contract import write_vocabulary
    from langtransfer.vocabulary.conversion import read_proto

    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        benchmark = write_benchmark(folder, options.mmlu, options.questions)
        every = list(task_configs(benchmark, folder / "datasets", SHOTS).values())
        configs = every[:: -(-len(every) // options.subjects)]
        proto = read_proto(options.tokenizer) if options.tokenizer else trained_here()
        write_vocabulary(proto, folder / "vocabulary")
        for millions in options.sizes:
            model, tokenizer = load(millions, folder / "vocabulary")
            stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH, backend="causal")
            shared = wrap_model(model, tokenizer, BATCH)
            ways: dict[str, tuple[Run, Any]] = {
                "stock": (run_stock, stock),
                "backend": (run_stock, shared),
                "ours": (run_ours, shared),
            }
            measured = measure(ways, configs)
            ours, found = measured["ours"]
            peer, expected = measured["stock"]
            largest, differing = differences(found, expected)
            print(
                f"{model.num_parameters() / 1e6:.1f} M parameters, {len(found)} questions of "
                f"{', '.join(config['task'] for config in configs)}: log-likelihoods within "
                f"{largest:.1e}, {differing} predictions differ; our backend in the harness' own "
                f"loop: {measured['backend'][0] / peer:.1f} times the stock one"
            )
            lines.append(
                {
                    "name": f"knowledge {millions} M",
                    "ours": round(ours, 2),
                    "peer": round(peer, 2),
                    "ratio": round(ours / peer, 2),
                    "unit": "5-shot questions/s of one core (ours, lm_eval's stock backend)",
                }
            )
    for line in lines:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
