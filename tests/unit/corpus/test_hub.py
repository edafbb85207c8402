"""huggingface_hub and datasets themselves, against a server that speaks the hub's protocol."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from langtransfer.config import RuntimeConfig
from langtransfer.corpus.download import download_from_hub
from langtransfer.corpus.jsonl import read_jsonl
from langtransfer.corpus.registry import fetch, identity, load_registry
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.provenance import sha256_file
from tests.hub_server import COMMIT, Fault, Hub, Repository, serving
from tests.unit.pretraining.tiny_study import make_job, sentences, vocabulary

__all__ = ["sentences", "vocabulary"]

REPOSITORY = Path(__file__).resolve().parents[3]
ROWS = [{"text": f"document {n} 文", "url": f"https://example.org/{n}"} for n in range(500)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
LARGE = os.urandom(1_000_000)
"""Nothing that packs, so that a cut is where it is said to be."""
TOKEN = "hf_secret"


def parquet(rows: list[dict[str, str]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out, row_group_size=100)
    return out.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    import huggingface_hub.constants
    import huggingface_hub.utils._http

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    texts = {
        "README.md": b"# Texts\n",
        "data/a.jsonl.gz": gzip.compress(LINES),
        "data/b.jsonl.gz": gzip.compress(LINES),
        "data/c.parquet": parquet(ROWS),
        "large.bin": LARGE,
        "empty.txt": b"",
    }
    repositories = {
        "datasets/org/texts": Repository(texts),
        "datasets/org/private": Repository({"a.bin": LARGE}, token=TOKEN),
        "org/gated": Repository({"config.json": b"{}"}, token=TOKEN, gated=True),
    }
    with serving(repositories) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def get(folder: Path, *files: str, location: str = "datasets/org/texts") -> dict[str, Path]:
    return download_from_hub(location, COMMIT, dict.fromkeys(files, ""), folder, "row")


# -- file by file ---------------------------------------------------------------------------------


def test_small_and_large_files_come_at_the_pinned_commit(hub: Hub, tmp_path: Path) -> None:
    paths = get(tmp_path, "README.md", "data/*.gz", "large.bin", "empty.txt")
    assert list(paths) == [
        "README.md",
        "data/a.jsonl.gz",
        "data/b.jsonl.gz",
        "empty.txt",
        "large.bin",
    ]
    assert paths["large.bin"].read_bytes() == LARGE
    assert paths["README.md"].read_bytes() == b"# Texts\n"
    assert hub.tokens == {None}
    asked = len(hub.asked)
    get(tmp_path, "large.bin")
    assert not hub.ranges_of("large.bin")[1:], "a finished file is not asked for again"
    assert len(hub.asked) == asked + 1, "only what the tree says of it is"


def test_a_cut_connection_resumes_in_the_middle(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole pieces survive a cut; the client's are 10 MB, here 64 KiB."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    hub.faults = [Fault("/storage/.*large", cut=600_000), Fault("/storage/.*large", cut=100_000)]
    assert get(tmp_path, "large.bin")["large.bin"].read_bytes() == LARGE
    first, second, third = hub.ranges_of("large.bin")[-3:]
    assert first is None
    assert second == "bytes=589824-"
    assert third == "bytes=655360-"


def test_a_storage_without_ranges_starts_over(hub: Hub, tmp_path: Path) -> None:
    hub.ranges = False
    hub.faults = [Fault("/storage/.*large", cut=600_000)]
    assert get(tmp_path, "large.bin")["large.bin"].read_bytes() == LARGE


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/storage/", status=429, retry_after="1"),
        Fault("/resolve/", status=503, method="HEAD"),
        Fault("/resolve/", status=429, method="HEAD"),
    ],
    ids=["429-storage", "503-head", "429-head"],
)
def test_passing_refusals_are_tried_again(hub: Hub, tmp_path: Path, fault: Fault) -> None:
    hub.faults = [fault]
    assert get(tmp_path, "large.bin")["large.bin"].read_bytes() == LARGE
    assert hub.faults == []


@pytest.mark.parametrize("status", [500, 502, 503])
def test_lasting_refusals_are_one_line(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.faults = [Fault("/storage/", status=status) for _ in range(50)]
    with pytest.raises(
        UserError, match=rf"row: 'datasets/org/texts': the hub refused \({status}\)"
    ):
        get(tmp_path, "large.bin")
    hub.faults = []
    assert get(tmp_path, "large.bin")["large.bin"].read_bytes() == LARGE, "nothing is in the way"


@pytest.mark.parametrize(("name", "hash"), [("large.bin", "sha256"), ("README.md", "git hash")])
def test_other_bytes_than_the_commits_are_refused_and_not_kept(
    hub: Hub, tmp_path: Path, name: str, hash: str
) -> None:
    """Even where the row knows no checksum: the commit's tree does."""
    hub.faults = [Fault(f"(storage|resolve)/.*{name}", spoil=True)]
    with pytest.raises(UserError, match=f"{name}': has {hash}"):
        get(tmp_path, name)
    assert not (tmp_path / "hub" / name).exists()
    assert get(tmp_path, name)[name].stat().st_size > 0


def test_another_checksum_than_the_rows_is_refused_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    digest = hashlib.sha256(LARGE).hexdigest()
    with pytest.raises(UserError, match=f"has sha256 {digest}, not {'0' * 64}"):
        download_from_hub("datasets/org/texts", COMMIT, {"large.bin": "0" * 64}, tmp_path, "row")
    assert not (tmp_path / "hub" / "large.bin").exists()
    paths = download_from_hub("datasets/org/texts", COMMIT, {"large.bin": digest}, tmp_path, "row")
    assert paths["large.bin"].read_bytes() == LARGE


@pytest.mark.parametrize(
    ("location", "revision", "name", "message"),
    [
        ("datasets/org/texts", "", "a", f"no revision is given: the newest is {COMMIT}"),
        ("datasets/org/texts", "f" * 40, "README.md", "no such revision on the hub"),
        ("datasets/org/texts", COMMIT, "absent", "'absent': no such file at this revision"),
        ("datasets/org/texts", COMMIT, "data", "'data': no such file at this revision"),
        ("datasets/org/texts", COMMIT, "*.zip", r"'\*\.zip': matches no file of org/texts"),
        ("datasets/org/none", COMMIT, "a", "gated, private or unknown: .*set HF_TOKEN"),
        ("datasets/org/private", COMMIT, "a.bin", "gated, private or unknown: .*set HF_TOKEN"),
        ("org/gated", COMMIT, "config.json", "gated, private or unknown: .*set HF_TOKEN"),
    ],
)
def test_refusals_are_one_line(
    hub: Hub, tmp_path: Path, location: str, revision: str, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        download_from_hub(location, revision, {name: ""}, tmp_path, "row")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "name"), [("datasets/org/private", "a.bin"), ("org/gated", "config.json")]
)
def test_the_token_comes_from_the_environment(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, name: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(UserError, match="gated, private or unknown") as caught:
        get(tmp_path, name, location=location)
    assert "hf_of" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert get(tmp_path, name, location=location)[name].is_file()
    assert TOKEN in hub.tokens


@pytest.mark.parametrize("files", [{"*": ""}, {"a": ""}])
def test_a_hub_out_of_reach_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict
) -> None:
    import huggingface_hub.constants
    import huggingface_hub.utils._http

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"row: 'datasets/o/n': .*the hub"):
        download_from_hub("datasets/o/n", COMMIT, files, tmp_path, "row")


def test_offline_mode_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub cannot be reached"):
        download_from_hub("datasets/o/n", COMMIT, {"a": ""}, tmp_path, "row")


def test_a_published_adapter_and_its_base_from_the_hub(
    hub: Hub, tmp_path: Path, vocabulary: Path
) -> None:
    """A small checkpoint and a LoRA release over it, both fetched as adopt_model does."""
    from scripts.adopt_model import run
    from tests.unit.pretraining.test_merging import (
        LLAMA_7B_TARGETS,
        adapter,
        product,
        tiny,
        weights,
    )

    tiny(310, seed=1).save_pretrained(tmp_path / "llama")
    shutil.copyfile(vocabulary / "tokenizer.spm", tmp_path / "llama" / "tokenizer.model")
    table = adapter(tmp_path / "lora")
    for name in ("llama", "lora"):
        files = {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
        hub.repositories[f"org/{name}"] = Repository(files)
    registry = tmp_path / "datasets.csv"
    registry.write_text(
        "key,language,kind,location,revision,files,format,base\n"
        f"llama,*,hub,org/llama,{COMMIT},*.json;*.safetensors;*.model,huggingface,\n"
        f"zh,*,hub,org/lora,{COMMIT},adapter_*,lora,llama\n"
    )
    parents: dict[str, Path] = {}
    for key in ("llama", "zh"):
        source = identity(load_registry(registry).row(key, "en"), sha256_file)
        settings = source.model_dump(include={"format", "revision", "files"})
        job = make_job(tmp_path / f"job-{key}", f"adopt_model/{key}", settings, parents,
                       registry=str(registry))  # fmt: skip
        run(job)
        parents = {"base": job.out}
    before, after = weights(tmp_path / "llama"), weights(job.out / "model")
    for target in LLAMA_7B_TARGETS:
        (name,) = (n for n in before if n.endswith(f"{target}.weight"))
        update = 4 * product(table, name.removesuffix(".weight"))
        assert torch.equal(after[name], (before[name].float() + update).to(torch.float16))


# -- whole data sets ------------------------------------------------------------------------------

STREAM = """
import sys
from pathlib import Path
from tests.unit.corpus.test_hub import corpus_job
from scripts.fetch_corpus import run
run(corpus_job(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])))
"""


def registry_of(folder: Path) -> Path:
    path = folder / "datasets.csv"
    texts = f"datasets/org/texts,{COMMIT}"
    path.write_text(
        "key,language,kind,location,revision,files,format,field\n"
        f"lines,en,hub,{texts},data/*.gz,jsonl,text\n"
        f"lines-streamed,en,hub-stream,{texts},data/*.gz,jsonl,text\n"
        f"table,en,hub,{texts},data/c.parquet,parquet,text\n"
        f"table-streamed,en,hub-stream,{texts},data/c.parquet,parquet,text\n"
        f"wrong-field,en,hub-stream,{texts},data/c.parquet,parquet,body\n"
        f"wrong-format,en,hub-stream,{texts},README.md,txt,\n"
        f"both,en,rows,,,lines;table,jsonl,text\n"
    )
    return path


def corpus_job(registry: Path, key: str, documents: str, folder: Path) -> Job:
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)
    source = identity(load_registry(registry).row(key, "en"), sha256_file)
    entry = {"dataset": key, "language": "en", "documents": int(documents) or None}
    settings = {
        "language": "en", "seed": 1, "entries": [{**entry, "identity": source.model_dump()}],
    }  # fmt: skip
    runtime = RuntimeConfig(registry=str(registry))
    return Job("fetch_corpus", "fetch_corpus/en", "k", settings, {}, folder / "out",
               folder / "work", runtime)  # fmt: skip


def fetched(
    hub: Hub, registry: Path, key: str, documents: int, folder: Path
) -> list[dict[str, str]]:
    """Documents that fetch_corpus writes in a process of its own, where HF_ENDPOINT was set."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "no_proxy": "*",
        "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0",
    }  # fmt: skip
    command = [sys.executable, "-c", STREAM, str(registry), key, str(documents), str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError("process", key, done.stderr.strip().splitlines()[-1])
    assert (folder / "out" / "stats.json").is_file()
    rows = list(read_jsonl(folder / "out" / "documents.jsonl.zst"))
    return [row | {"id": row["id"].replace("-streamed", "")} for row in rows]


@pytest.mark.parametrize("key", ["lines", "table"])
def test_streamed_is_what_whole_files_give(hub: Hub, tmp_path: Path, key: str) -> None:
    registry = registry_of(tmp_path)
    whole = fetched(hub, registry, key, 0, tmp_path / "whole")
    hub.asked.clear()
    hub.faults = [Fault("/(storage|resolve)/.*(a.jsonl|parquet)", status=503)]
    streamed = fetched(hub, registry, f"{key}-streamed", 0, tmp_path / "streamed")
    assert whole == streamed
    assert [row["text"] for row in whole][:500] == [row["text"] for row in ROWS]
    assert len(whole) == {"lines": 1_000, "table": 500}[key]
    assert hub.faults == []
    assert not list((tmp_path / "streamed" / "work").rglob("*.gz"))


def test_a_stream_reads_no_further_than_asked(hub: Hub, tmp_path: Path) -> None:
    found = fetched(hub, registry_of(tmp_path), "lines-streamed", 20, tmp_path / "job")
    assert len(found) == 20
    assert not hub.ranges_of("b.jsonl.gz"), "the second file is not opened"


@pytest.mark.parametrize(
    ("key", "message"),
    [("wrong-field", "row 1: 'body'.*its keys: text, url"), ("wrong-format", "cannot be streamed")],
)
def test_what_cannot_be_streamed_is_one_line(
    hub: Hub, tmp_path: Path, key: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        fetched(hub, registry_of(tmp_path), key, 0, tmp_path / "job")


def test_rows_of_several_repositories_are_one_source(hub: Hub, tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    source = identity(load_registry(registry).row("both", "en"), sha256_file)
    assert sorted(source.files) == [f"lines@{COMMIT}/data/*.gz", f"table@{COMMIT}/data/c.parquet"]
    paths = fetch(registry, source, "en", tmp_path / "work")
    assert list(paths) == ["lines/data/a.jsonl.gz", "lines/data/b.jsonl.gz", "table/data/c.parquet"]
    assert gzip.decompress(paths["lines/data/a.jsonl.gz"].read_bytes()) == LINES
