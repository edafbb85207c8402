"""The verbs of sharing, in this process: publish, receive, needed, status, adopt, release, hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import share
from tests.labs import Lab, clone, make_lab

MODEL = "pretrain/zh.target-only.original.16k-tokens.s1"
SCORING = ("judge: {kind: reference}", "judge: {kind: reference, temperature: 0.5}")


@pytest.fixture(scope="module")
def first(finished_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab with the finished tiny study, published; its server and remote lie beside it."""
    root = tmp_path_factory.mktemp("labs")
    lab = make_lab(root / "first", finished_tiny, root / "server.git", str(root / "remote"))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(lab.folder)
        assert share.main(["publish"]) == 0
    return lab


@pytest.fixture
def second(first: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Another lab, without data; the test runs inside it."""
    lab = clone(first.folder.parent / "server.git", tmp_path / "second")
    monkeypatch.chdir(lab.folder)
    return lab


def test_publish_is_committed_and_pushed_once(
    first: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(first.folder)
    assert first.git("log", "--format=%s", "-1").strip() == "Publish 163 results of config.yaml"
    assert share.main(["publish"]) == 0
    assert capfd.readouterr().out.strip() == (
        "163 cells published, 0 of them new (0 bytes); 0 objects uploaded; nothing to commit, "
        "pushed main"
    )
    assert share.main(["status"]) == 0
    said = capfd.readouterr().out
    assert said.strip() == "163 cells: 163 finished, 163 published, 163 with their data here"
    assert first.git("status", "--porcelain") == ""


def test_receive_some_then_what_is_needed(second: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    assert share.main(["needed"]) == 0
    assert capfd.readouterr().out.strip() == "nothing to run, nothing needed"
    assert share.main(["receive", "--cells", "perplexity/base alignment/base"]) == 0
    assert "5 results received" in capfd.readouterr().out
    second.edit(*SCORING)
    assert share.main(["publish"]) == 2
    assert "13 of 163 cells are not finished" in capfd.readouterr().err
    assert share.main(["needed"]) == 0
    plan = capfd.readouterr().out.splitlines()
    assert plan[0] == "to run: 9 score, 1 tables, 1 figures, 1 claims, 1 report"
    assert plan[-1] == "fetch them: make receive CELLS=needed"
    assert share.main(["receive", "--cells", "needed"]) == 0
    assert f"{len(plan) - 3} results received" in capfd.readouterr().out
    assert share.main(["needed"]) == 0
    assert "needed and not here: 0 results, 0 bytes" in capfd.readouterr().out


def test_what_is_not_there_is_one_line(
    first: Lab, second: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments, expected in (
        (["receive", "--cells", "nonsense"], "error: CELL: 'nonsense': no such cell"),
        (["receive", "--remote", "nowhere"], "error: remote: 'nowhere'"),
        (["adopt", str(second.folder / "no"), MODEL], "error: git: 'clone'"),
        (["adopt", str(first.folder), MODEL, "--key", "0" * 16], "error: KEY: '0000000000000000'"),
        (["hub", MODEL, "model", "--licence", "MIT"], f"error: CELL: '{MODEL}': is not here"),
        (
            ["hub", "report", "model", "--licence", "MIT"],
            "error: CELL: 'report/study': is no model",
        ),
        (["release", MODEL, "Capital"], "error: NAME: 'Capital'"),
        (["release", "report", "x"], "error: CELL: 'report/study': is no model"),
    ):
        assert share.main(arguments) == 2
        assert capfd.readouterr().err.splitlines()[-1].startswith(expected)
    (pointer,) = second.folder.glob(f"results/{MODEL}/*/data.dvc")
    pointer.write_text("nonsense")
    assert share.main(["receive", "--cells", MODEL]) == 2
    assert "not a pointer to a folder: restore it from git" in capfd.readouterr().out
    pointer.unlink()
    assert share.main(["receive", "--cells", MODEL]) == 2
    assert "never published, and its data are not here" in capfd.readouterr().out
    assert share.main(["publish"]) == 2
    assert "neither data nor pointer" in capfd.readouterr().err


def test_a_model_released_and_on_a_hub(
    second: Lab, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert share.main(["receive", "--cells", f"{MODEL} finetune/base/t40.zh"]) == 0
    tuned = "finetune/base/t40.zh"
    for cell, name, amount in ((MODEL, "model", "400 doc"), (tuned, "adapter", "120 examples")):
        target = tmp_path / name
        assert share.main(["hub", cell, str(target), "--licence", "Apache-2.0"]) == 0
        card = (target / "README.md").read_text()
        assert "license: apache-2.0" in card
        assert f"| atlas | - | Apache-2.0 | {amount}" in card
        assert "None: the study evaluates this model in no cell whose data are here." in card
        assert (target / f"{name}_config.json").exists() or (target / "config.json").exists()
    assert share.main(["release", MODEL, "zh-16k"]) == 0
    assert share.main(["release", MODEL, "zh-16k"]) == 0
    assert share.main(["release", "train_base/base", "zh-16k"]) == 2
    assert "take another name" in capfd.readouterr().err


def test_another_key_is_adopted_for_a_reason(
    first: Lab, second: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root = tmp_path / "own"
    own = make_lab(root / "lab", None, root / "server.git", str(root / "remote"))
    own.edit("learning_rate: 0.004", "learning_rate: 0.0041")
    monkeypatch.chdir(own.folder)
    theirs, cell = str(second.folder), "train_base/base"
    key = first.key(cell)
    assert share.main(["adopt", theirs, cell]) == 2
    assert f"KEY={key} is" in capfd.readouterr().err
    assert share.main(["adopt", theirs, cell, "--key", key]) == 0
    shown = capfd.readouterr().out
    (digest,) = (line.split()[1] for line in shown.splitlines() if line.startswith("outputs"))
    there = ["adopt", theirs, cell, "--key", key, "--outputs", digest[:16]]
    assert share.main(there) == 2
    assert "say why" in capfd.readouterr().err
    assert share.main([*there, "--reason", "the rates are equal in single precision"]) == 0
    (note,) = own.folder.glob(f"accepted/{cell}/*.json")
    assert json.loads(note.read_text())["accepted"] == key
    (trusted,) = own.folder.glob(f"adopted/{cell}/{key}.json")
    assert json.loads(trusted.read_text())["outputs"] == digest
    assert share.main(["status"]) == 0
    assert "163 cells: 1 finished, 0 published, 1 with their data here" in capfd.readouterr().out
    assert share.main(["adopt", str(first.folder), cell, "--key", key, "--outputs", digest,
                       "--reason", "again"]) == 2  # fmt: skip
    assert "is finished here already" in capfd.readouterr().err
