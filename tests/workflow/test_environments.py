"""One set of pins: the lock, conda's files, the image and pyproject.toml say the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from langtransfer.resources import ROOT

ENVS = ROOT / "envs"
LOCK, SLURM = ENVS / "requirements.lock.txt", ENVS / "requirements-slurm.txt"
CONDA = sorted(ENVS.glob("*.yaml"))
IMAGE = (ENVS / "langtransfer.def").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Apptainer 1.3, "Definition Files": sections of an image with a single stage.
SECTIONS = {
    "arguments", "setup", "files", "environment", "post", "runscript", "startscript", "test",
    "labels", "help",
}  # fmt: skip


def pins(path: Path) -> dict[str, str]:
    """Package -> version of a file of exact pins."""
    lines = path.read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[^=]+", line) for line in lines)
    found = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    assert len(found) == len(lines), "a package is pinned once"
    return found


def sections() -> dict[str, str]:
    parts = re.split(r"^%(\w+)[^\n]*\n", IMAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def filled(name: str) -> str:
    """A section with the image's arguments put in."""
    given = dict(line.strip().split("=", 1) for line in sections()["arguments"].split("\n") if line)
    return re.sub(r"{{ *(\w+) *}}", lambda match: given[match[1]], sections()[name])


def conda(path: Path) -> tuple[dict[str, str], list[str]]:
    """conda's own packages (name -> version, "" where free), and what pip is told."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    plain = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    return {name: version for name, _, version in (entry.partition("=") for entry in plain)}, pip


def test_everything_the_project_names_is_in_the_lock_at_a_version_it_allows() -> None:
    lock = pins(LOCK)
    for line in PROJECT["dependencies"]:
        asked = Requirement(line)
        assert asked.specifier.contains(lock[canonicalize_name(asked.name)]), line


def test_slurm_pins_are_those_of_the_extra() -> None:
    extra = [Requirement(line) for line in PROJECT["optional-dependencies"]["slurm"]]
    assert pins(SLURM) == {r.name: str(r.specifier).removeprefix("==") for r in extra}
    assert not set(pins(SLURM)) & set(pins(LOCK))


@pytest.mark.parametrize("path", CONDA, ids=lambda path: path.stem)
def test_conda_installs_the_lock_and_nothing_else(path: Path) -> None:
    packages, pip = conda(path)
    assert set(packages) == {"python", "pip"}, "what is pinned in the lock is not conda's to choose"
    files = [(path.parent / line.removeprefix("-r ")).resolve() for line in pip]
    assert files[0] == LOCK
    assert set(files[1:]) <= {SLURM}
    assert SpecifierSet(PROJECT["requires-python"]).contains(packages["python"])


def test_every_environment_has_one_python() -> None:
    versions = {conda(path)[0]["python"] for path in CONDA}
    image = re.search(r"^From: python:(\d+\.\d+)-", IMAGE, re.MULTILINE)
    assert image is not None
    assert versions == {image[1]}


def test_every_rule_names_a_file_that_is_there() -> None:
    named = {
        (ROOT / "rules" / match).resolve()
        for path in (ROOT / "rules").glob("*.smk")
        for match in re.findall(r'conda:\s+"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert named == {ENVS / "langtransfer.yaml"}


def test_this_environment_is_the_locks() -> None:
    lock = pins(LOCK)
    found = {name: Version(metadata.version(name)).public for name in lock}
    assert found == {name: Version(version).public for name, version in lock.items()}


def test_the_image_has_a_header_and_known_sections() -> None:
    header = IMAGE.split("%", 1)[0]
    assert re.match(r"Bootstrap: docker\nFrom: \S+:\S+\n", header)
    assert set(sections()) <= SECTIONS
    assert {"files", "post", "environment", "runscript", "test"} <= set(sections())


def test_the_image_installs_the_lock_with_torch_by_name() -> None:
    copied = dict(line.split() for line in sections()["files"].split("\n") if line.strip())
    assert {(ROOT / source).resolve() for source in copied} == {LOCK, SLURM}
    post = filled("post")
    named = re.findall(r"torch==(\S+)", post)
    assert named == [pins(LOCK)["torch"]], "named, so that its CUDA libraries come with it"
    read = re.findall(r"(?:-r|--constraint) (\S+)", post)
    assert {f"/opt/langtransfer/{name}" for name in read} == set(copied.values())
    assert "--no-deps -r requirements.lock.txt" in post


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_the_images_scripts_are_shell(name: str) -> None:
    shell = shutil.which("sh")
    assert shell is not None
    done = subprocess.run([shell, "-n"], input=filled(name), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_images_own_test_names_packages_of_the_lock() -> None:
    lock = pins(LOCK)
    for names in re.findall(r"import ([\w, ]+)", filled("test")):
        for name in names.split(", "):
            assert canonicalize_name(name) in lock, name
