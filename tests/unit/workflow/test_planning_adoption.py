"""Models that change another one wait for it, and their keys hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langtransfer.config.loading import load_config, parse_config
from langtransfer.errors import UserError
from langtransfer.provenance import SourceHashes
from langtransfer.resources import ROOT
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.study import Study
from tests.workflow.conftest import expanded

HEADER = "key,language,kind,location,revision,files,format,base"
ATLAS = "atlas,*,atlas,resources/atlas,,{language}.yaml,atlas,"
BASE = f"llama,*,hub,org/llama,{'1' * 40},config.json,huggingface,"


def cells(folder: Path, *rows: str) -> dict[str, Cell]:
    """The tiny study with one more model, adopted from the row `other`."""
    registry = folder / "registry.csv"
    registry.write_text("\n".join([HEADER, ATLAS, *rows]) + "\n", encoding="utf-8")
    content: dict[str, Any] = expanded()
    content["runtime"]["registry"] = str(registry)
    other = {"label": "Other", "adopt": {"model": "other"}, "languages": ["zh"]}
    content["models"] = [*content["models"], other]
    study = Study(parse_config(content), SourceHashes(folder / "hashes.json"))
    return {cell.path: cell for cell in study.cells}


def row(form: str, base: str) -> str:
    return f"other,*,hub,org/other,{'2' * 40},adapter_config.json,{form},{base}"


@pytest.mark.parametrize("form", ["lora", "delta"])
def test_the_base_is_a_parent_and_part_of_the_key(tmp_path: Path, form: str) -> None:
    found = cells(tmp_path, BASE, row(form, "llama"))
    merged = found["adopt_model/other"]
    assert dict(merged.parents) == {"base": found["adopt_model/llama"]}
    assert not found["adopt_model/llama"].parents
    other = cells(tmp_path, BASE.replace("1" * 40, "3" * 40), row(form, "llama"))
    assert other["adopt_model/other"].key != merged.key


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("none", "'none': not in"),
        ("other", "base: 'other': has format lora, and a base is a checkpoint"),
        ("atlas", "base: 'atlas': has format atlas, and a base is a checkpoint"),
    ],
)
def test_a_base_that_is_none(tmp_path: Path, base: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cells(tmp_path, BASE, row("lora", base))


def test_the_papers_chinese_models_are_made_from_its_llama(tmp_path: Path) -> None:
    study = Study(load_config(ROOT / "config.yaml"), SourceHashes(tmp_path / "hashes.json"))
    found = {cell.path: cell for cell in study.cells}
    for name in ("chinese-llama-plus-7b", "open-chinese-llama-7b"):
        parents = dict(found[f"adopt_model/{name}"].parents)
        assert parents == {"base": found["adopt_model/llama-7b"]}
    assert not found["adopt_model/chinese-llama2-7b"].parents
