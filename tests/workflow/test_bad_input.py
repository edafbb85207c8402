"""Bad input, end to end: the last line says what to do, and the next good run loses nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from langtransfer.corpus.jsonl import write_jsonl
from tests.workflow.conftest import edited, plan, planned_jobs, write_config
from tests.workflow.small import (
    SOURCES,
    last_line,
    sentences,
    shown,
    small_study,
    truncate,
    write_registry,
    write_source,
    write_study,
)

Content = dict[str, Any]
Change = Callable[[Path, Content], Content]
ZH = {"fetch_corpus/zh", "clean_corpus/zh", "split_corpus/zh"}


@pytest.fixture(scope="session")
def finished_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small study's models are finished."""
    folder = tmp_path_factory.mktemp("small")
    done = shown(folder, write_study(folder), "models", worker=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert len(manifests(folder)) == 13
    return folder


@pytest.fixture
def folder(finished_small: Path, tmp_path: Path) -> Path:
    """A copy of the finished folder to spoil."""
    return Path(shutil.copytree(finished_small, tmp_path / "copy"))


def manifests(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Manifest -> bytes and time of writing, of every finished cell."""
    found = sorted((folder / "results").rglob("manifest.json"))
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in found
    }


def cells(manifests: dict[str, Any]) -> set[str]:
    return {"/".join(path.split("/")[1:-2]) for path in manifests}


def more_chinese(folder: Path, content: Content) -> Content:
    """The good input most cases end with: a second target language and its file."""
    write_source(folder, "zh", sentences("zh", 40))
    return content | {"languages": ["sw", "zh"]}


def changed(leaf: str, value: Any) -> Change:
    """One leaf of the config, changed."""
    return lambda folder, content: edited(content, leaf, value)


def truncated_gzip(folder: Path, content: Content) -> Content:
    good = more_chinese(folder, content)
    truncate(folder / SOURCES / "zh.jsonl.gz")
    return good


def line_without_field(folder: Path, content: Content) -> Content:
    rows = [{"text": text} for text in sentences("zh", 40)]
    rows[6] = {"txt": "你好", "url": ""}
    write_jsonl(folder / SOURCES / "zh.jsonl.gz", rows)
    return content | {"languages": ["sw", "zh"]}


def empty_file(folder: Path, content: Content) -> Content:
    write_source(folder, "zh", [])
    return content | {"languages": ["sw", "zh"]}


def nothing_kept(folder: Path, content: Content) -> Content:
    write_source(folder, "zh", ["短", "也短"])
    return content | {"languages": ["sw", "zh"]}


def adopted(folder: Path, content: Content) -> Content:
    """The base trained before, adopted from a folder of Hugging Face files."""
    (model,) = (folder / "results" / "train_base").glob("base/*/data/model")
    target = folder / SOURCES / "base"
    shutil.copytree(model, target, dirs_exist_ok=True)
    files = "config.json model.safetensors tokenizer.json tokenizer_config.json"
    write_registry(folder, f"our-base,*,file,{SOURCES}/base,,{files},huggingface,")
    entry = {"label": "adopted", "adopt": {"model": "our-base"}}
    return content | {"models": [*content["models"], entry]}


def rows_that_do_not_fit(folder: Path, content: Content) -> Content:
    """The adopted weights lose rows, as if the tokenizer were another model's."""
    good = adopted(folder, content)
    weights = folder / SOURCES / "base" / "model.safetensors"
    tensors = load_file(weights)
    cut = {name: t[:392].clone() if t.shape[0] == 400 else t for name, t in tensors.items()}
    save_file(cut, weights, metadata={"format": "pt"})
    settings = json.loads((weights.parent / "config.json").read_text())
    (weights.parent / "config.json").write_text(json.dumps(settings | {"vocab_size": 392}))
    return good


def with_budget(budget: str, label: str = "larger") -> Change:
    def change(folder: Path, content: Content) -> Content:
        return content | {"models": [*content["models"], {"label": label, "budget": budget}]}

    return change


@dataclass(frozen=True)
class Case:
    """What is spoilt, what the last line says of it, what mends it, what then is computed."""

    spoil: Change
    says: tuple[str, ...]
    mend: Change
    target: str
    computed: set[str] = field(default_factory=set)
    exit: int = 1
    """Of the spoilt run: 2 where the plan fails, 1 (Snakemake's own) where a job does."""
    finished: set[str] = field(default_factory=set)
    """Cells of `computed` that the spoilt run may finish: those before the bad one."""


CASES = {
    "unknown-language": Case(
        changed("languages", ["sw", "zz"]),
        ("languages: 'zz': unknown language; known: ",),
        more_chinese, "corpora", ZH, exit=2,
    ),
    "misspelt-key": Case(
        changed("split_corpus", {"valid_document": 6}),
        ("split_corpus.valid_document: 6: unknown key; did you mean valid_documents?",),
        changed("split_corpus", {"valid_documents": 21}),
        "corpora", {"split_corpus/en", "split_corpus/sw"}, exit=2,
    ),
    "missing-file": Case(
        changed("languages", ["sw", "zh"]),
        ("line 2, key texts", "'sources/zh.jsonl.gz'", "no such source file: put it there"),
        more_chinese, "corpora", ZH, exit=2,
    ),
    "truncated-gzip": Case(
        truncated_gzip,
        ("file: 'sources/zh.jsonl.gz': truncated", "fetch or compress it again"),
        more_chinese, "corpora", ZH,
    ),
    "line-without-field": Case(
        line_without_field,
        ("sources/zh.jsonl.gz, line 7: 'text': has no such field; its keys: txt, url", "mend"),
        more_chinese, "corpora", ZH,
    ),
    "empty-file": Case(
        empty_file,
        ("fetch_corpus, zh, texts, documents: 'all': the dataset has only 0", "mend its files"),
        more_chinese, "corpora", ZH,
    ),
    "nothing-kept": Case(
        nothing_kept,
        ("clean_corpus, language: 'zh': nothing is left of 2 documents (short 2)", "add data"),
        more_chinese, "corpora", ZH, finished={"fetch_corpus/zh"},
    ),
    "tokenizer-too-large": Case(
        changed("tokenizers.base.train.size", 60000),
        ("tokenizer base: size: 60000: the corpus gives at most", "lower it"),
        changed("tokenizers.base.train.size", 410),
        "train_tokenizer/en/base", {"train_tokenizer/en/base"},
    ),
    "rows-do-not-fit": Case(
        rows_that_do_not_fit,
        ("embedding rows (adopt_model/our-base): 392: the vocabulary has 400", "its own tokenizer"),
        adopted, "adopt_model/our-base", {"adopt_model/our-base"},
    ),
    "budget-too-large": Case(
        with_budget("2M-tokens"),
        ("budget: '2M-tokens': the corpora of sw hold", "lower the budget or fetch more text"),
        with_budget("3k-tokens"), "pretrain/sw.target-only.original.{budget}.s1",
        {"pretrain/sw.target-only.original.3k-tokens.s1"},
    ),
    "duplicate-label": Case(
        with_budget("4k-tokens", label="LLaMA+2k"),
        ("models.label: 'LLaMA+2k': duplicate model label; rename one",),
        with_budget("4k-tokens"), "corpora", exit=2,
    ),
}  # fmt: skip


def target_of(case: Case, folder: Path, content: Content) -> str:
    """A rule's name, or the manifest of a cell of the study as it is now."""
    if "/" not in case.target:
        return case.target
    cell = case.target.format(budget=content["models"][-1].get("budget"))
    with contextlib.chdir(folder):
        study = plan(content, folder / "hashes.json")
        return next(c.manifest.as_posix() for c in study.cells if c.path == cell)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(folder: Path, name: str) -> None:
    case, before = CASES[name], manifests(folder)

    spoilt = case.spoil(folder, small_study())
    target = target_of(case, folder, spoilt) if case.exit == 1 else case.target
    bad = shown(folder, write_config(folder, spoilt), target)
    says(bad, *case.says, exit=case.exit)
    between = manifests(folder)
    assert cells(between) - cells(before) == case.finished
    assert {path: between[path] for path in before} == before

    mended = case.mend(folder, small_study())
    target = target_of(case, folder, mended)
    good = shown(folder, write_config(folder, mended), target)
    assert good.returncode == 0, good.stdout
    assert planned_jobs(good) == case.computed
    after = manifests(folder)
    assert {path: after[path] for path in between} == between
    assert case.computed <= cells(after)


def says(done: subprocess.CompletedProcess[str], *parts: str, exit: int) -> None:
    """The run failed, and its last line is an error line with these parts."""
    assert done.returncode == exit, done.stdout
    assert last_line(done).startswith("error: "), done.stdout
    for part in parts:
        assert part in last_line(done)


def test_settings_on_the_command_line_are_refused(folder: Path) -> None:
    config, before = folder / "study.yaml", manifests(folder)
    done = shown(folder, config, "models", "--config", "languages=zh")
    says(done, "--config: 'languages=zh': only the config file is read", exit=2)
    done = shown(folder, config, "--configfile", str(config), str(config), "--dry-run")
    says(done, "--configfile: ", "config files are not merged: give one", exit=2)
    assert manifests(folder) == before


def test_windows_line_ends_change_nothing(folder: Path) -> None:
    text = (folder / "study.yaml").read_bytes()
    (folder / "study.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    done = shown(folder, folder / "study.yaml", "models", "--dry-run")
    assert done.returncode == 0, done.stdout
    assert planned_jobs(done) == set()


CLEAN = "clean_corpus/sw/*"


def edit_manifest(folder: Path) -> Path:
    (path,) = folder.glob(f"results/{CLEAN}/manifest.json")
    path.write_text(path.read_text().replace('"bytes": ', '"bytes": 1'))
    return path


def edit_recipe(folder: Path) -> Path:
    (path,) = folder.glob(f"recipes/{CLEAN}.json")
    path.write_text(path.read_text().replace('"min_characters": 10', '"min_characters": 11'))
    return path


@pytest.mark.parametrize(
    ("spoil", "parts", "exit"),
    [
        (edit_manifest, ("manifest: '{}': edited by hand: ", "or delete it"), 1),
        (edit_recipe, ("recipe: '{}': changed by hand, ", "delete it and run again"), 2),
    ],
)
def test_a_file_of_ours_edited_by_hand(
    folder: Path, spoil: Callable[[Path], Path], parts: tuple[str, ...], exit: int
) -> None:
    """The remedy is to delete it: the cell's data are whole, so nothing is computed again."""
    before = manifests(folder)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("data/.cell.json")}
    path = spoil(folder)
    # The corpora are split anew from what was cleaned.
    config = write_config(folder, edited(small_study(), "split_corpus.valid_documents", 21))
    bad = shown(folder, config, "corpora")
    says(bad, *(part.format(path.relative_to(folder)) for part in parts), exit=exit)
    path.unlink()
    assert shown(folder, config, "corpora").returncode == 0
    after = manifests(folder)
    assert {name: after[name][0] for name in before} == {n: m[0] for n, m in before.items()}
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
