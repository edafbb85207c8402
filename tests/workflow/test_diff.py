"""`make diff`: two revisions of the repository, or two config files, side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from langtransfer.resources import ROOT
from tests.studies import TINY, environment
from tests.workflow.conftest import edited, expanded, write_config


def diff(folder: Path, a: str, b: str) -> subprocess.CompletedProcess[str]:
    config = TINY.relative_to(ROOT)
    command = [sys.executable, "-m", "scripts.cells", "--config", str(config), "diff", a, b]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with two commits more: a comment in the tiny config, then a changed setting."""
    folder = tmp_path_factory.mktemp("clone") / "repository"
    source = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False
    )
    if source.returncode:
        pytest.skip("not a git checkout: there are no revisions to compare")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    path = folder / TINY.relative_to(ROOT)
    text = path.read_text(encoding="utf-8")
    for new in (f"# a comment\n{text}", text.replace("max_new_tokens: 12", "max_new_tokens: 24")):
        path.write_text(new, encoding="utf-8")
        name = ["-c", "user.name=lab", "-c", "user.email=lab@example.org"]
        subprocess.run(["git", *name, "commit", "-qam", "change"], cwd=folder, check=True)
    return folder


def test_a_comment_affects_nothing(clone: Path) -> None:
    done = diff(clone, "HEAD~2", "HEAD~1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 cells affected")


def test_a_setting_affects_its_cells_and_leaves_no_worktree(clone: Path) -> None:
    done = diff(clone, "HEAD~1", "HEAD")
    assert "config.max_new_tokens: 12 -> 24" in done.stdout
    stages = {
        line.split("/")[0].strip()
        for line in done.stdout.splitlines()
        if " -> " in line and line.startswith("  ") and "/" in line
    }
    assert stages == {
        "generate",
        "score",
        "code_switching",
        "tables",
        "figures",
        "claims",
        "report",
    }
    listed = subprocess.run(["git", "worktree", "list"], cwd=clone, capture_output=True, text=True)
    assert len(listed.stdout.splitlines()) == 1


def test_an_unknown_revision_is_one_line(clone: Path) -> None:
    done = diff(clone, "no-such-revision", "HEAD")
    assert done.returncode == 2
    assert done.stderr.startswith("error: revision: 'no-such-revision'")
    assert len(done.stderr.splitlines()) == 1


def test_two_config_files(clone: Path, tmp_path: Path) -> None:
    other = write_config(tmp_path, edited(expanded(), "code_switching.min_run_letters", 3))
    done = diff(clone, str(TINY), str(other))
    assert "config.min_run_letters: 2 -> 3" in done.stdout
