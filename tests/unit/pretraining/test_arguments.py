"""Batches and hardware; DeepSpeed through the same training code."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from langtransfer.config import RuntimeConfig
from langtransfer.config.training import OptimizationConfig
from langtransfer.errors import UserError
from langtransfer.pretraining.arguments import (
    Batches,
    check_kernels,
    cut_batches,
    trainer_arguments,
    uses_cpu,
)
from langtransfer.pretraining.zero import BACKENDS
from langtransfer.resources import RESOURCES
from tests.unit.pretraining.tiny_study import OPTIMIZATION, Pretrain, pretrain_settings

OPTIMIZATION_CONFIG = OptimizationConfig.model_validate(
    OPTIMIZATION | {"sequence_length": 32, "global_batch_tokens": 12 * 32}
)


@pytest.mark.parametrize(
    ("micro", "processes", "expected"),
    [(4, 1, Batches(12, 4, 3)), (64, 1, Batches(12, 12, 1)), (3, 2, Batches(12, 3, 2))],
)
def test_cut(micro: int, processes: int, expected: Batches) -> None:
    assert cut_batches(OPTIMIZATION_CONFIG, micro, processes) == expected


def test_rests_are_bad_input() -> None:
    with pytest.raises(UserError, match=r"micro_batch: 5: .*use one of 1, 2, 3, 4, 6, 12"):
        cut_batches(OPTIMIZATION_CONFIG, 5, 1)
    with pytest.raises(UserError, match="12 blocks a step do not divide over 5 processes"):
        cut_batches(OPTIMIZATION_CONFIG, 4, 5)


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert uses_cpu(RuntimeConfig(device="auto"))
    with pytest.raises(UserError, match="no GPU is visible"):
        uses_cpu(RuntimeConfig(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert uses_cpu(RuntimeConfig(device="cpu"))
    with pytest.raises(UserError, match="sees several GPUs"):
        uses_cpu(RuntimeConfig(device="auto"))
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not uses_cpu(RuntimeConfig(device="auto"))


def test_gpu_settings_reach_the_trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def arguments(**runtime: Any) -> dict[str, Any]:
        cut = Batches(12, 4, 3)
        return trainer_arguments(OPTIMIZATION_CONFIG, RuntimeConfig(**runtime), cut, 1, tmp_path)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    found = arguments(activation_checkpointing=4)
    assert found["activation_checkpointing"]
    assert found["activation_checkpointing_kwargs"] == {"every_n_layers": 4}
    assert not arguments(activation_checkpointing=0)["activation_checkpointing"]
    # A CPU's memory is not what runs out.
    assert not arguments(device="cpu", activation_checkpointing=1)["activation_checkpointing"]


def test_missing_kernels_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langtransfer.pretraining.arguments.find_spec", lambda name: None)
    check_kernels(RuntimeConfig(liger_kernels=True), cpu=True)
    with pytest.raises(UserError, match=r"runtime.liger_kernels: .*requirements-gpu.txt"):
        check_kernels(RuntimeConfig(liger_kernels=True), cpu=False)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "none"])
def test_deepspeed_files_leave_the_optimizer_to_us(name: str) -> None:
    settings = json.loads((RESOURCES / "deepspeed" / f"{name}.json").read_text(encoding="utf-8"))
    # DeepSpeed's own AdamW would decay norm weights too: the loss differs by 2e-3 (measured).
    assert "optimizer" not in settings
    assert settings["zero_allow_untested_optimizer"] is True
    assert settings["zero_optimization"]["stage"] == int(name.removeprefix("zero")[0])
    # With offload DeepSpeed would put in its own CPU optimizer, which needs a compiler.
    assert settings.get("zero_force_ds_cpu_optimizer", False) is False
    if name.startswith("zero3"):
        assert settings["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True


LORA = {"rank": 4, "alpha": 8, "modules_to_save": ["embed_tokens", "lm_head"]}
IN_A_PROCESS = """
import json, sys
from pathlib import Path
from tests.unit.pretraining.tiny_study import make_job
from scripts.pretrain import run
folder, settings, parents, runtime = json.loads(sys.argv[1])
run(make_job(Path(folder), "pretrain/x", settings, {k: Path(v) for k, v in parents.items()},
             **runtime))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="deepspeed cannot be imported"
)
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("zero2", {}),
        ("zero2", {"embeddings_first": "1280-tokens"}),
        ("zero3", {"embeddings_first": "1280-tokens", "method": "lora", "lora": LORA}),
    ],
)
def test_deepspeed_gives_the_plain_loss_curve(
    pretrain: Pretrain, base: Path, tokens: Path, tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    plain = pretrain("plain", "2560-tokens", **changes)
    parents = {"checkpoint": str(base), "tokens.zh": str(tokens)}
    argument = json.dumps(
        [str(tmp_path / kind), pretrain_settings("2560-tokens", **changes), parents,
         {"deepspeed": kind}]
    )  # fmt: skip
    # No launcher, no compiler on PATH: one process, as a laptop would run it.
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, argument], check=True, timeout=120,
        capture_output=True, env=environment | {"PATH": "/nowhere"},
    )  # fmt: skip
    one, other = (
        [float(line.split(",")[2]) for line in path.read_text().splitlines()[1:]]
        for path in (plain.out / "losses.csv", tmp_path / kind / "out" / "losses.csv")
    )
    assert len(one) == 20
    assert one == pytest.approx(other, abs=1e-4)
    with pytest.raises(UserError, match=f"was written by ZeRO {kind[-1]}: set {kind}"):
        pretrain("mixed", "5120-tokens", parent=tmp_path / kind / "out", **changes)
