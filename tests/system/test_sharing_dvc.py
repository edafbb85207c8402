"""What DVC's users expect works on a published study; and what it costs in bytes and seconds."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from langtransfer.provenance import STAMP, hash_outputs, write_manifest
from langtransfer.sharing import needs
from langtransfer.sharing.artifacts import Artifact
from langtransfer.sharing.receive import receive
from langtransfer.sharing.store import open_store
from tests.labs import Lab
from tests.system.conftest import World

pytestmark = pytest.mark.system

MODEL = "pretrain/zh.target-only.original.16k-tokens.s1"


def test_two_revisions_side_by_side(world: World) -> None:
    a = world.first
    first = a.git("rev-parse", "HEAD").strip()
    a.edit("documents: 20}\ncode_switching", "documents: 19}\ncode_switching")
    a.snakemake("all", LANGTRANSFER_WORKER="")
    a.share("publish")

    # Nothing but git's part is needed to compare.
    b = world.clone("b")
    params = json.loads(b.dvc("params", "diff", "--json", first, "HEAD"))
    assert params == {"config.yaml": {"alignment.documents": {"old": 20, "new": 19, "diff": -1}}}
    metrics = json.loads(b.dvc("metrics", "diff", "--json", first, "HEAD"))
    changed = metrics["results/report/metrics.json"]
    assert changed
    assert all(name.startswith(("retrieval.", "claims.")) for name in changed)
    both = json.loads(b.dvc("exp", "diff", "--json", first, "HEAD"))
    assert both["params"] == params
    assert both["metrics"]["results/report/metrics.json"] == changed
    drawn = json.loads(b.dvc("plots", "diff", "--json", first, "HEAD"))
    assert any("bits per byte" in title for title in drawn.get("data", drawn))
    lines = b.cells("diff", first, "HEAD").stdout.splitlines()
    assert any("config.documents: 20 -> 19" in line for line in lines)
    shown = {line.strip().split(": ")[0] for line in lines if " -> " in line}
    assert set(changed) <= shown, "metrics side by side"


def test_a_released_model(world: World, tmp_path: Path) -> None:
    a = world.first
    said = a.share("release", MODEL, "zh-16k").stdout
    assert "git tag -a zh-16k@v1.0.0" in said
    assert "# " in (a.folder / "dvc.yaml").read_text(), "comments stay"
    a.git("commit", "--quiet", "--message", "Release zh-16k", "dvc.yaml")
    a.git("tag", "--annotate", "zh-16k@v1.0.0", "--message", "zh-16k 1.0.0")
    a.git("push", "--quiet", "--follow-tags")
    assert a.share("release", MODEL, "Zh 16k", check=False).returncode == 2
    taken = a.share("release", "train_base/base", "zh-16k", check=False)
    assert "take another name" in taken.stderr

    (place,) = a.folder.glob(f"results/{MODEL}/*/data")
    weights = "model/model.safetensors"
    # What DVC reads is the remote the commit names: here the one it was first published to.
    user = Lab(tmp_path / "user")
    user.folder.mkdir()
    user.git("init", "--quiet")
    user.dvc("init", "--quiet")
    path = place.relative_to(a.folder)
    user.dvc("get", str(world.server), f"{path}/model", "--out", "got")
    user.dvc("import", str(world.server), f"{path}/model", "--out", "imported", "--rev", "main")
    user.dvc("artifacts", "get", str(world.server), "zh-16k", "--rev", "v1.0.0", "--out", "art")
    for copy in ("got/model.safetensors", "imported/model.safetensors", f"art/{weights}"):
        assert (user.folder / copy).read_bytes() == (place / weights).read_bytes()


def test_a_hub_folder(world: World, tmp_path: Path) -> None:
    import yaml
    from transformers import AutoModelForCausalLM, AutoTokenizer

    a = world.first
    arguments = ("hub", MODEL, str(tmp_path / "model"), "--licence", "Apache-2.0", "--name", "zh")
    a.share(*arguments)
    again = a.share(*arguments, check=False)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    card = (tmp_path / "model" / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["language"] == ["en", "zh"]
    assert front["license"] == "apache-2.0"
    assert "| fetch_corpus | zh | atlas | - | Apache-2.0 | 400 documents |" in card
    (summary,) = a.folder.glob(f"results/perplexity/{MODEL[9:]}/none/zh/*/data/summary.json")
    value = round(json.loads(summary.read_text())["bits_per_byte"], 4)
    assert f"| `perplexity/{MODEL[9:]}/none/zh` | bits_per_byte | {value} |" in card
    assert f"| `train_base/base` | `{a.key('train_base/base')}` |" in card
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").num_parameters() > 0
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("a")["input_ids"]
    for file in (tmp_path / "model").rglob("*"):
        assert file.stat().st_nlink == 1 or file.is_dir(), "no link into the cache"
    refused = a.share("hub", "report", str(tmp_path / "x"), "--licence", "MIT", check=False)
    assert "is no model" in refused.stderr


def used_bytes(*folders: Path) -> int:
    """What folders take on the disk together; a hard link counts once."""
    command = ["du", "--summarize", "--total", "--block-size=1", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1].split()[0])


def repository(folder: Path, remote: Path) -> Lab:
    folder.mkdir(parents=True)
    lab = Lab(folder)
    lab.git("init", "--quiet")
    lab.dvc("init", "--quiet")
    lab.dvc("config", "cache.type", "hardlink,symlink")
    lab.dvc("remote", "add", "--default", "lab", str(remote))
    return lab


def make_artifact(folder: Path, cell: str, files: dict[str, bytes]) -> Artifact:
    """A finished result as a stage leaves it."""
    key = hashlib.sha256(cell.encode()).hexdigest()[:16]
    place = folder / "results" / cell / key
    for name, content in files.items():
        (place / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "data" / name).write_bytes(content)
    outputs = hash_outputs(place / "data").as_json()
    body = {"key": key, "outputs": outputs, "volatile": {}}
    (place / "data" / STAMP).write_text(json.dumps(body))
    write_manifest(place / "manifest.json", body | {"recipe": {"cell": cell}, "parents": {}})
    return Artifact(cell, place)


def test_a_checkpoint_is_stored_once(tmp_path: Path) -> None:
    size = 500_000_000
    content = {"model/model.safetensors": os.urandom(size)}
    a = repository(tmp_path / "a", tmp_path / "remote")
    artifact = make_artifact(a.folder, "pretrain/large", content)
    with open_store(a.folder) as store:
        artifact.write_pointer(store.add(artifact.data))
        assert used_bytes(a.folder) <= 1.02 * size
        shutil.rmtree(artifact.folder)  # computed again, the same bytes
        artifact = make_artifact(a.folder, "pretrain/large", content)
        artifact.write_pointer(store.add(artifact.data))
        assert used_bytes(a.folder) <= 1.02 * size
        store.upload([artifact.oid()])

    b = repository(tmp_path / "b", tmp_path / "remote")
    place = b.folder / artifact.folder.relative_to(a.folder)
    place.mkdir(parents=True)
    for name in ("manifest.json", "data.dvc"):
        shutil.copyfile(artifact.folder / name, place / name)
    received = Artifact("pretrain/large", place)
    with open_store(b.folder) as store:
        assert receive([received], store).problems == ()
    assert received.problems(contents=True) == []
    assert used_bytes(b.folder) <= 1.02 * size


def cpu_seconds() -> float:
    """Of this process and its children: unlike the clock it does not hang on the neighbours."""
    spent = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def test_a_thousand_artifacts(tmp_path: Path) -> None:
    a = repository(tmp_path / "a", tmp_path / "remote")
    files = {"summary.json": b"{}", "predictions.jsonl": b"", "model/weights": b""}
    artifacts = [
        make_artifact(
            a.folder, f"stage{i % 20}/cell{i}", {name: f"{name}{i}".encode() * 99 for name in files}
        )
        for i in range(1000)
    ]
    with open_store(a.folder) as store:
        for artifact in artifacts:
            artifact.write_pointer(store.add(artifact.data))
        assert store.upload([artifact.oid() for artifact in artifacts]) == 5000
    began = cpu_seconds(), time.monotonic()
    assert needs.counts_of(artifacts) == "1000 published, 1000 with their data here"
    assert "up to date" in a.dvc("status")
    assert "in sync" in a.dvc("status", "--cloud")
    assert cpu_seconds() - began[0] < 10
    print(f"status of 1,000 artifacts, three ways: {time.monotonic() - began[1]:.1f} s")


def test_publish_and_receive_take_seconds(published: World, world: World) -> None:
    """163 cells; a study of the demo's size is measured in docs/sharing.md."""
    began = cpu_seconds()
    world.first.share("publish")
    world.clone("b").share("receive")
    assert cpu_seconds() - began < 30


def test_data_of_a_lab_without_hard_links(tmp_path: Path) -> None:
    """A cache on another file system: symbolic links, and still one copy."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    cache = shm / f"langtransfer-{os.getpid()}"
    a = repository(tmp_path / "a", tmp_path / "remote")
    a.dvc("cache", "dir", "--local", str(cache))
    try:
        artifact = make_artifact(a.folder, "pretrain/x", {"model/weights": os.urandom(10_000_000)})
        with open_store(a.folder) as store:
            artifact.write_pointer(store.add(artifact.data))
        assert (artifact.data / "model/weights").is_symlink()
        assert artifact.problems(contents=True) == []
        assert used_bytes(a.folder, cache) < 1.1 * 10_000_000
    finally:
        shutil.rmtree(cache)
