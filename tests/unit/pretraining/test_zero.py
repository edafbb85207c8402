"""Whose ZeRO checkpoint it is, and when it is converted."""

from __future__ import annotations

from pathlib import Path

import pytest

from langtransfer.errors import UserError
from langtransfer.pretraining import zero
from langtransfer.pretraining.zero import (
    Writers,
    check_made_here,
    prepare_state,
    state_folder,
    writers,
)
from langtransfer.provenance import RECEIVED


def write_state(checkpoint: Path, processes: int, stage: int) -> Path:
    """Empty files under DeepSpeed's names; returns the checkpoint."""
    state = checkpoint / "global_step7"
    state.mkdir(parents=True)
    prefix = "bf16_" if stage == 2 else ""
    for rank in range(processes):
        (state / f"{prefix}zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
        if stage == 3:
            (state / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt").touch()
    if stage == 2:
        (state / "mp_rank_00_model_states.pt").touch()
    return checkpoint


@pytest.mark.parametrize("stage", [2, 3])
def test_writers(tmp_path: Path, stage: int) -> None:
    checkpoint = write_state(tmp_path, 4, stage)
    (checkpoint / "global_step7_universal").mkdir()
    state = state_folder(checkpoint)
    assert state == checkpoint / "global_step7"
    assert writers(state) == Writers(4, stage)


def test_converted_only_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    monkeypatch.setattr(zero, "make_universal", lambda *paths: converted.append(paths))
    checkpoint = write_state(tmp_path, 4, 3)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not prepare_state(checkpoint, "zero3")
    assert not prepare_state(checkpoint, "zero3-offload")
    assert not converted
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert prepare_state(checkpoint, "zero3")
    assert converted == [(checkpoint, checkpoint / "global_step7")]


def test_another_backend_is_bad_input(tmp_path: Path) -> None:
    zero2, plain = write_state(tmp_path / "zero2", 2, 2), tmp_path / "plain"
    plain.mkdir()
    assert not prepare_state(plain, "none")
    with pytest.raises(
        UserError, match=r"deepspeed: 'zero3': .* by ZeRO 2: set zero2 or zero2-off"
    ):
        prepare_state(zero2, "zero3")
    with pytest.raises(UserError, match=r"'none': .* by ZeRO 2: set zero2 or zero2-offload$"):
        prepare_state(zero2, "none")
    with pytest.raises(UserError, match=r"'zero2': .* without DeepSpeed: set none$"):
        prepare_state(plain, "zero2")


def test_received_state_is_not_unpickled(tmp_path: Path) -> None:
    data = tmp_path / "0123456789abcdef" / "data"
    (data / "trainer" / "global_step3").mkdir(parents=True)
    check_made_here(data, trusted=False)
    data.with_name(RECEIVED).touch()
    with pytest.raises(UserError, match=r"trainer state: .*runtime.trust_received_state"):
        check_made_here(data, trusted=False)
    check_made_here(data, trusted=True)
    (data / "trainer" / "global_step3").rmdir()  # plain state is read as weights alone
    check_made_here(data, trusted=False)
