"""Counting changed rows: slices, chains, adapters of every kind against peft's own merge."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from langtransfer.pretraining import rows as rows_module
from langtransfer.pretraining.models import load_model, save_model
from langtransfer.pretraining.rows import (
    Matrix,
    Promise,
    count_rows,
    explain_rows,
    merged_matrices,
    stored_matrices,
)
from langtransfer.vocabulary.contract import VocabularyContract

SIZE, BASE = 11, 7
CONTRACT = VocabularyContract(
    size=SIZE, embedding_rows=12, base_size=BASE, unk=None, bos=None, eos=None, pad=None,
    special_tokens={}, sha256={},
)  # fmt: skip
START = torch.zeros(12, 2)


def matrix(values: torch.Tensor) -> Matrix:
    return lambda first, end: values[first:end]


def moved(ids: set[int]) -> torch.Tensor:
    """START after training that changed one number of each of these rows."""
    after = START.clone()
    after[sorted(ids), 1] = 1e-30
    return after


@given(st.sets(st.integers(0, SIZE)), st.sets(st.integers(0, SIZE)))
def test_a_chain_adds_up(one: set[int], two: set[int]) -> None:
    """Counts and listed ids are those of a set of ids; padding (id 11) is left out of them."""
    first = count_rows({"input": matrix(START)}, {"input": matrix(moved(one))}, CONTRACT)
    second = count_rows({"input": matrix(START)}, {"input": matrix(moved(two))}, CONTRACT, first)
    for row, changed in ((first["input"], one), (second["input"], one | two)):
        assert row["old_changed"] == len([i for i in changed if i < BASE])
        assert row["new_changed"] == len([i for i in changed if BASE <= i < SIZE])
        listed = [i for low, high in row["unchanged"] for i in range(low, high + 1)]
        assert listed == sorted(set(range(SIZE)) - changed)
        assert all(
            high + 1 < low
            for (_, high), (low, _) in zip(row["unchanged"], row["unchanged"][1:], strict=False)
        )
    assert (first["input"]["old"], first["input"]["new"]) == (BASE, SIZE - BASE)


def test_slices_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {0, 3, 4, 8, 10}
    whole = count_rows({"input": matrix(START)}, {"input": matrix(moved(ids))}, CONTRACT)
    monkeypatch.setattr(rows_module, "SLICE", 4)
    assert count_rows({"input": matrix(START)}, {"input": matrix(moved(ids))}, CONTRACT) == whole


def test_old_rows_that_moved_are_a_defect() -> None:
    found = count_rows({"input": matrix(START)}, {"input": matrix(moved({3, 8}))}, CONTRACT)
    with pytest.raises(AssertionError, match=r"defect: .* old embedding rows: {'input': 1}"):
        explain_rows(found, Promise(new_rows_learn=True, old_rows_stay=True), "pretrain")
    assert explain_rows(found, Promise(True, False), "pretrain") is None


def test_a_lost_tie_is_a_defect() -> None:
    one = {"input": matrix(START)}
    with pytest.raises(AssertionError, match="lost their tie"):
        count_rows(one, one | {"output": matrix(START)}, CONTRACT)


def test_one_matrix_that_did_not_learn_is_noted() -> None:
    before = {"input": matrix(START), "output": matrix(START)}
    after = {"input": matrix(START), "output": matrix(moved({8}))}
    note = explain_rows(count_rows(before, after, CONTRACT), Promise(True, True), "pretrain")
    assert note == "none of the 4 new rows of the input matrix changed"


NEW = list(range(300, 310))
ADAPTERS: dict[str, dict[str, Any]] = {
    "low rank on both": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "low rank on neither": {"target_modules": ["q_proj"]},
    "whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "some rows": {
        "target_modules": ["q_proj"],
        "trainable_token_indices": {"embed_tokens": NEW, "lm_head": NEW[3:]},
    },
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_merged_as_peft_merges(base: Path, tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    settings = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, **ADAPTERS[kind])
    adapted = get_peft_model(load_model(base / "model"), settings)
    with torch.no_grad():  # as after training: nothing is left at its beginning
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    adapted.save_pretrained(tmp_path / "adapter")
    found = merged_matrices(base / "model", tmp_path / "adapter")
    save_model(copy.deepcopy(adapted).merge_and_unload(), base / "model", tmp_path / "model")
    expected = stored_matrices(tmp_path / "model")
    assert found.keys() == expected.keys() == {"input", "output"}
    before = stored_matrices(base / "model")
    for name in found:
        for first, end in ((0, 310), (0, 303), (303, 310)):
            torch.testing.assert_close(found[name](first, end), expected[name](first, end))
        changed = (found[name](0, 310) != before[name](0, 310)).any(dim=1).numpy()
        at = {"some rows": NEW if name == "input" else NEW[3:], "low rank on neither": []}
        assert np.flatnonzero(changed).tolist() == at.get(kind, list(range(310)))
