"""Labs that share a study: clones of one repository, with a git server and a DVC remote on disk."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langtransfer.resources import ROOT
from tests.studies import TINY, environment
from tests.workflow.conftest import planned_jobs

NAME = ("-c", "user.name=lab", "-c", "user.email=lab@example.org")
CODE = (
    "Snakefile", "Makefile", "dvc.yaml", ".gitignore", ".gitattributes", ".dvcignore", ".dvc",
    "langtransfer", "scripts", "rules", "profiles", "slurm", "resources", "envs",
)  # fmt: skip


@dataclass(frozen=True)
class Lab:
    """One clone."""

    folder: Path

    def run(
        self, *command: str, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment() | {"LANGTRANSFER_WORKER": "none"} | variables,
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def git(self, *arguments: str, check: bool = True) -> str:
        done = self.run("git", *NAME, *arguments, check=check)
        return done.stdout if check else done.stdout + done.stderr

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments).stdout

    def share(
        self, *arguments: str, check: bool = True, config: str = "config.yaml"
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "scripts.share", "--config", config, *arguments]
        return self.run(*command, check=check)

    def cells(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "scripts.cells", *arguments, check=check)

    def snakemake(
        self, *arguments: str, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake; without the warm worker, unless `LANGTRANSFER_WORKER=""` is given."""
        command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", *arguments]
        return self.run(*command, check=check, **variables)

    def to_run(self, config: str = "config.yaml") -> set[str]:
        """Cells a dry run of Snakemake would compute."""
        return planned_jobs(self.snakemake("-n", "--configfile", config))

    def edit(self, old: str, new: str) -> None:
        """Change a line of the config."""
        path = self.folder / "config.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the config"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def digests(self) -> dict[str, str]:
        """Cell -> digest of what is in place, for the cells of the config."""
        plan = json.loads(self.cells("plan").stdout)
        return {
            cell: json.loads(
                (self.folder / "results" / cell / p["key"] / "manifest.json").read_text()
            )["outputs"]["digest"]
            for cell, p in plan.items()
        }

    def key(self, cell: str) -> str:
        """Key of a cell's one finished result."""
        (manifest,) = self.folder.glob(f"results/{cell}/*/manifest.json")
        return manifest.parent.name

    def data_folders(self) -> set[str]:
        """Cells whose data are here."""
        found = (self.folder / "results").rglob("data")
        return {p.parent.parent.relative_to(self.folder / "results").as_posix() for p in found}


def make_lab(
    folder: Path, finished: Path | None, server: Path, remote: str, *, config: Path = TINY
) -> Lab:
    """The first lab: this repository's code, a config and perhaps its finished cells, committed."""
    folder.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z", "--", *CODE],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name, follow_symlinks=False)
    shutil.copyfile(config, folder / "config.yaml")
    if finished is not None:
        for part in ("results", "recipes"):
            shutil.copytree(finished / part, folder / part, symlinks=True)
        for recipe in (folder / "recipes").rglob("*.json"):
            # Other tests have planned other studies where this one was run.
            cell = folder / "results" / recipe.relative_to(folder / "recipes").with_suffix("")
            if not (cell / "manifest.json").exists():
                recipe.unlink()
    lab = Lab(folder)
    subprocess.run(["git", "init", "--quiet", "--bare", str(server)], check=True)
    lab.git("init", "--quiet", "--initial-branch=main")
    lab.git("remote", "add", "origin", str(server))
    _introduce(lab)
    lab.dvc("remote", "add", "--default", "lab", remote)
    lab.git("add", "--", *CODE, "config.yaml")
    lab.git("commit", "--quiet", "--message", "The pipeline and our study")
    lab.git("push", "--quiet", "--set-upstream", "origin", "main")
    subprocess.run(["git", "symbolic-ref", "HEAD", "refs/heads/main"], cwd=server, check=True)
    return lab


def clone(server: Path, folder: Path) -> Lab:
    """Another lab."""
    subprocess.run(["git", "clone", "--quiet", str(server), str(folder)], check=True)
    lab = Lab(folder)
    _introduce(lab)
    return lab


def _introduce(lab: Lab) -> None:
    lab.git("config", "user.name", lab.folder.name)
    lab.git("config", "user.email", "lab@example.org")


def objects(remote: Path) -> Sequence[Path]:
    """Files of a DVC remote that is a folder."""
    return sorted(path for path in remote.rglob("*") if path.is_file())
