"""What goes wrong on the way is detected and named, never used, and gone after a repeat."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.labs import Lab, make_lab, objects
from tests.studies import environment
from tests.system.conftest import World

pytestmark = pytest.mark.system

CELL = "train_base/base"
FILE = "model/model.safetensors"
SCORING = ("judge: {kind: reference}", "judge: {kind: reference, temperature: 0.5}")


def object_of(world: World, name: str) -> Path:
    """Where the remote keeps a file of the cell, or with an empty name the list of its files."""
    (pointer,) = world.first.folder.glob(f"results/{CELL}/*/data.dvc")
    oid = yaml.safe_load(pointer.read_text())["outs"][0]["md5"]
    listed = world.remote / "files" / "md5" / oid[:2] / oid[2:]
    if not name:
        return listed
    (part,) = (e["md5"] for e in json.loads(listed.read_text()) if e["relpath"] == name)
    return world.remote / "files" / "md5" / part[:2] / part[2:]


def flip(path: Path) -> None:
    """Change one bit in the middle, and nothing that a look at the folder would show."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


def place_of(lab: Lab) -> Path:
    (manifest,) = lab.folder.glob(f"results/{CELL}/*/manifest.json")
    return manifest.parent


@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink], ids=["flipped", "cut", "deleted"])
@pytest.mark.parametrize("name", [FILE, ""], ids=["file", "list"])
def test_a_harmed_object(world: World, harm: Callable[[Path], None], name: str) -> None:
    harmed = object_of(world, name)
    harm(harmed)
    b = world.clone("b")
    cells = (f"{CELL} fetch_benchmark/llm-eval",)
    done = b.share("receive", "--cells", *cells, check=False)
    assert done.returncode == 2
    problem = done.stdout.splitlines()[0]
    assert str(place_of(b).relative_to(b.folder) / "data" / name) in problem
    assert str(harmed.relative_to(world.remote)) in problem
    assert f"make publish AGAIN={CELL}" in problem
    assert not (place_of(b) / "data").exists()
    assert b.data_folders() == {f"fetch_benchmark/llm-eval/{x}" for x in ("en", "sw", "zh")}
    assert b.share("receive", "--cells", *cells, check=False).returncode == 2, "nor from the cache"

    world.first.share("publish", "--again", CELL)
    assert "1 results received" in b.share("receive", "--cells", *cells).stdout
    assert not (set(place_of(b).iterdir()) - {place_of(b) / n for n in (
        "data", "data.dvc", "data.received", "manifest.json")})  # fmt: skip
    assert (place_of(b) / "data" / FILE).read_bytes() == (
        place_of(world.first) / "data" / FILE
    ).read_bytes()


def test_a_harmed_file_at_home(world: World) -> None:
    """One flipped byte in data and cache at once, for they are links: named, and received anew."""
    b = world.clone("b")
    b.share("receive", "--cells", CELL)
    flip(place_of(b) / "data" / FILE)
    verified = b.cells("verify", check=False)
    assert verified.returncode == 2
    assert f"data/{FILE}: not as in the manifest" in verified.stdout
    assert "1 results received" in b.share("receive", "--cells", CELL).stdout
    assert b.cells("verify").returncode == 0


def test_a_manifest_edited_by_hand(world: World) -> None:
    b = world.clone("b")
    path = place_of(b) / "manifest.json"
    path.write_text(path.read_text().replace(FILE, "model/other.safetensors"))
    for done in (
        b.share("receive", "--cells", CELL, check=False),
        b.share("publish", check=False),
        b.cells("verify", check=False),
    ):
        assert done.returncode == 2
        assert "edited by hand: restore it from git" in done.stdout + done.stderr
    assert not (place_of(b) / "data").exists()
    b.git("checkout", "--", "results")
    b.share("receive", "--cells", CELL)


def test_a_pointer_of_another_manifest(world: World) -> None:
    """As after a merge that took one from each side."""
    b = world.clone("b")
    path = place_of(b) / "data.dvc"
    pointer = yaml.safe_load(path.read_text())
    pointer["meta"]["manifest"] = "0" * 64
    path.write_text(yaml.safe_dump(pointer))
    done = b.share("receive", "--cells", CELL, check=False)
    assert done.returncode == 2
    assert "belongs to another manifest" in done.stdout


def unpublished(finished: Path, root: Path) -> World:
    world = World(root)
    make_lab(world.root / "first", finished, world.server, str(world.remote))
    return world


def publishing(lab: Lab) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.share", "publish"], cwd=lab.folder, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("moment", ["into the cache", "to the remote"])
def test_a_publish_cut_off_half_way(finished_tiny: Path, tmp_path: Path, moment: str) -> None:
    world = unpublished(finished_tiny, tmp_path / "world")
    a = world.first
    results = a.digests()
    watched = world.remote if moment == "to the remote" else a.folder / ".dvc" / "cache" / "files"
    process = publishing(a)
    while len(objects(watched)) < 100:
        assert process.poll() is None, "it was too fast to be cut off"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(objects(world.remote)) < 643

    b = world.clone("b")  # git knows nothing of it
    assert list(b.folder.glob("results/*")) in ([], [b.folder / "results/report"])
    assert a.cells("verify").returncode == 0, "everything is still here"
    assert a.to_run() == set()

    assert "163 cells published" in a.share("publish").stdout
    b.git("pull", "--quiet")
    b.share("receive")
    assert b.to_run() == set()
    assert b.digests() == results


def test_two_publishes_at_once(finished_tiny: Path, tmp_path: Path) -> None:
    world = unpublished(finished_tiny, tmp_path / "world")
    a = world.first
    c = world.clone("c")  # the same study, computed in another place
    for part in ("results", "recipes"):
        shutil.copytree(
            a.folder / part, c.folder / part, symlinks=True,
            ignore=shutil.ignore_patterns("tables", "figures", "claims", "report"),
        )  # fmt: skip
    c.edit("bootstrap_samples: 200", "bootstrap_samples: 100")  # tables of its own
    c.snakemake("all")
    lock = a.folder / ".langtransfer" / "publish.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:  # as a publish in this folder holds it
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711")
        held.flush()
        second = a.share("publish", check=False)
    assert second.returncode == 2
    assert "process 4711 is publishing here: wait for it" in second.stderr

    processes = [publishing(a), publishing(c)]
    codes = [process.wait() for process in processes]
    assert sorted(codes) == [0, 2], "git takes the first; the second is told to pull"
    late = c if codes[1] else a
    assert late.git("pull", "--no-rebase", "--no-edit") is not None
    late.share("publish")
    b = world.clone("b")
    b.share("receive")
    assert b.to_run() == set()


def test_another_lab_s_model(world: World, tmp_path: Path) -> None:
    """Adopted with its manifest, after its commit, key and outputs were named; trained nowhere."""
    theirs = make_lab(tmp_path / "c", None, tmp_path / "c.git", str(tmp_path / "c-remote"))
    shown = theirs.share("adopt", str(world.server), CELL).stdout
    commit = world.first.git("rev-parse", "HEAD").strip()
    (line,) = (line for line in shown.splitlines() if line.startswith("outputs"))
    digest = line.split()[1]
    assert commit in shown
    assert not (theirs.folder / "results").exists()

    wrong = theirs.share("adopt", str(world.server), CELL, "--outputs", "0" * 16, check=False)
    assert wrong.returncode == 2
    assert f"has outputs {digest}" in wrong.stderr

    # The clone's remote is where the commit says it is; this world's copy of it is named instead.
    theirs.dvc("remote", "add", "--local", "them", str(world.remote))
    there = ("adopt", str(world.server), CELL, "--outputs", digest[:16], "--remote", "them")
    flip(object_of(world, FILE))
    harmed = theirs.share(*there, check=False)
    assert harmed.returncode == 2
    assert "not as in the manifest" in harmed.stderr
    assert not list((theirs.folder / "results").rglob("manifest.json"))
    world.first.share("publish", "--again", CELL)

    theirs.share(*there)
    note = json.loads(next(theirs.folder.glob(f"adopted/{CELL}/*.json")).read_text())
    assert (note["commit"], note["outputs"]) == (commit, digest)
    to_run = theirs.to_run()
    assert CELL not in to_run
    assert "finetune/base/t40.zh.s1" in to_run

    # Under another setting the same model is equivalent only because somebody says so.
    theirs.edit("learning_rate: 0.004", "learning_rate: 0.0041")
    assert CELL in theirs.to_run()
    key = place_of(theirs).name
    theirs.cells("accept", CELL, key, "their rate differs in the fourth digit")
    assert CELL not in theirs.to_run()
    accepted = json.loads(next(theirs.folder.glob(f"accepted/{CELL}/*.json")).read_text())
    assert accepted["reason"] == "their rate differs in the fourth digit"
