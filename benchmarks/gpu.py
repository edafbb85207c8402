"""Pretraining steps on one GPU: tokens a second, MFU and peak memory of real LLaMA shapes.

    python -m benchmarks.gpu --cases 7b,1b --steps 6 --out gpu.json

Every case runs in a process of its own, through the product's own Trainer and arguments, on packed
blocks of synthetic documents (mean length 512, ids uniform over the vocabulary). A step is timed
from the end of the one before; the first three are warm-up. MFU is training FLOPs over the chip's
dense bf16 peak: 6 per weight and token (the input embedding apart), and 6 layers x length x hidden
for causal attention over whole blocks; recomputed activations count for nothing. Without a GPU
`--tiny` runs a small shape on the CPU, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SHAPES = {
    # hidden, intermediate, layers, heads, key-value heads
    "7b": (4096, 11008, 32, 32, 32),  # LLaMA-7B (arXiv 2302.13971)
    "1b": (2048, 5632, 22, 32, 4),  # TinyLlama-1.1B's
    "tiny": (64, 128, 2, 4, 4),
}
PEAK = {"NVIDIA H200": 989e12, "NVIDIA H100 80GB HBM3": 989e12, "NVIDIA A100-SXM4-80GB": 312e12}
"""Dense bf16 FLOP/s of the vendor's data sheets."""


@dataclass(frozen=True)
class Case:
    """One shape and the settings it runs under."""

    shape: str
    vocabulary: int = 32_000
    length: int = 2048
    micro_batch: int = 2
    blocks: int = 16
    checkpointing: int = 0
    liger: bool = True
    deepspeed: str = "none"
    varlen: bool = True


CASES = {
    "7b-stock": Case("7b", micro_batch=4, checkpointing=1, liger=False, varlen=False),
    "7b-checkpointed": Case("7b", micro_batch=4, checkpointing=1),
    "7b-half": Case("7b", micro_batch=4, checkpointing=2),
    "7b": Case("7b", micro_batch=2),
    "7b-zero3": Case("7b", micro_batch=2, deepspeed="zero3"),
    "7b-55296": Case("7b", vocabulary=55_296, micro_batch=2, checkpointing=4),
    "1b-stock": Case("1b", micro_batch=8, blocks=64, checkpointing=1, liger=False, varlen=False),
    "1b": Case("1b", micro_batch=16, blocks=64),
    "1b-55296": Case("1b", vocabulary=55_296, micro_batch=16, blocks=64),
    "1b-zero2": Case("1b", micro_batch=16, blocks=64, deepspeed="zero2"),
    "1b-zero3": Case("1b", micro_batch=16, blocks=64, deepspeed="zero3"),
    "tiny": Case("tiny", vocabulary=512, length=128, micro_batch=2, blocks=4, liger=False),
}


def flops_per_token(shape: str, vocabulary: int, length: int) -> float:
    """Training FLOPs a token, as the module's docstring counts them."""
    hidden, intermediate, layers, heads, kv = SHAPES[shape]
    attention = hidden * hidden * 2 + 2 * hidden * hidden * kv // heads
    weights = layers * (attention + 3 * hidden * intermediate) + vocabulary * hidden
    return 6.0 * weights + 6.0 * layers * length * hidden


def measure(case: Case, steps: int, profile: Path | None) -> dict[str, Any]:
    """Run warm-up and `steps` optimizer steps of a case; what the table shows."""
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

    from langtransfer.budget import Budget
    from langtransfer.config import RuntimeConfig
    from langtransfer.config.training import Mix, OptimizationConfig
    from langtransfer.job import Job
    from langtransfer.pretraining import training
    from langtransfer.pretraining.arguments import cut_batches, uses_cpu

    if not case.varlen:
        training.keep_documents_apart = lambda model: None
    runtime = RuntimeConfig(
        micro_batch=case.micro_batch, checkpoint_steps=10**6, deepspeed=case.deepspeed,
        activation_checkpointing=case.checkpointing, liger_kernels=case.liger,
    )  # fmt: skip
    cpu = uses_cpu(runtime)
    hidden, intermediate, layers, heads, kv = SHAPES[case.shape]
    config = LlamaConfig(
        vocab_size=case.vocabulary, hidden_size=hidden, intermediate_size=intermediate,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv,
        max_position_embeddings=case.length, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(1)
    with torch.device("cpu" if cpu else "cuda"):
        model = LlamaForCausalLM(config)
    optimization = OptimizationConfig(
        sequence_length=case.length, global_batch_tokens=case.length * case.blocks,
        learning_rate=1e-4, schedule="constant", precision="bf16",
    )  # fmt: skip
    warm = 3
    data = blocks(case, (warm + steps) * case.blocks, np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        job = Job("pretrain", "benchmark", "0" * 16, {}, {}, home, home / "work", runtime)
        plan = training.Plan(
            model, home, Mix(shares={"en": 1.0}), Budget(len(data), "samples"), optimization, 1
        )
        batches = cut_batches(optimization, case.micro_batch, 1)
        trainer = training.build_trainer(job, plan, batches, data, home / "checkpoints")
        trainer.args.save_strategy = "no"

        ends: list[float] = []

        class Clock(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if not cpu:
                    torch.cuda.synchronize()
                ends.append(time.perf_counter())
                if profile is not None and state.global_step == warm:
                    self.profiler = torch.profiler.profile()
                    self.profiler.start()
                if profile is not None and state.global_step == warm + 1:
                    self.profiler.stop()
                    table = self.profiler.key_averages().table("self_cuda_time_total", row_limit=40)
                    profile.write_text(table, encoding="utf-8")
                control.should_save = False

        trainer.add_callback(Clock)
        trainer.train()
    took = np.diff(ends[warm - 1 :])
    took = took[1:] if profile is not None else took
    speed = case.blocks * case.length / float(np.median(took))
    name = "cpu" if cpu else torch.cuda.get_device_name()
    per_token = flops_per_token(case.shape, case.vocabulary, case.length)
    return {
        "device": name, "torch": torch.__version__, "tokens_per_second": round(speed, 1),
        "step_seconds": [round(float(t), 4) for t in took],
        "mfu": round(speed * per_token / PEAK[name], 4) if name in PEAK else None,
        "peak_gib": 0.0 if cpu else round(torch.cuda.max_memory_allocated() / 2**30, 1),
        "loss": round(trainer.state.log_history[-2]["loss"], 3),
    }  # fmt: skip


def blocks(case: Case, count: int, random: Any) -> Any:
    """Packed blocks of documents of mean length 512, as the stream yields them."""
    import numpy as np

    data = []
    for _ in range(count):
        first = random.random(case.length) < 1 / 512
        first[0] = True
        starts = np.flatnonzero(first)
        positions = np.arange(case.length) - np.repeat(starts, np.diff([*starts, case.length]))
        ids = random.integers(3, case.vocabulary, case.length)
        labels = np.where(first, -100, ids)
        data.append({"input_ids": ids, "position_ids": positions, "labels": labels})
    return data


def main() -> None:
    """Run cases, each in its own process, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", default="tiny")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--profile", default="", help="case whose kernels are listed beside --out")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds a case may take")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        profile = arguments.out.with_suffix(".txt") if arguments.profile == arguments.one else None
        found = measure(CASES[arguments.one], arguments.steps, profile)
        print("RESULT " + json.dumps(found))
        return
    rows = []
    for name in arguments.cases.split(","):
        begun = time.perf_counter()
        command = [
            sys.executable, "-m", "benchmarks.gpu", "--one", name, "--steps",
            str(arguments.steps), "--out", str(arguments.out), "--profile", arguments.profile,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=arguments.limit
            )
            out, err = done.stdout, done.stderr
        except subprocess.TimeoutExpired:
            out, err = "", f"took more than {arguments.limit} s"
        found = [line for line in out.splitlines() if line.startswith("RESULT ")]
        row = json.loads(found[0][7:]) if found else {"error": err[-1500:]}
        row = {"case": name, **asdict(CASES[name]), **row, "wall": time.perf_counter() - begun}
        rows.append(row)
        arguments.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        kept = ("case", "tokens_per_second", "mfu", "peak_gib", "loss", "wall", "error")
        print({k: row[k] for k in kept if k in row}, flush=True)


if __name__ == "__main__":
    main()
