"""A study of eleven cells on the user's own files, for tests that run Snakemake many times."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from langtransfer.corpus import atlas
from langtransfer.corpus.jsonl import write_jsonl
from langtransfer.resources import RESOURCES, ROOT
from tests.workflow.conftest import TINY, environment, write_config

SOURCES = "sources"
REGISTRY = "registry.csv"
HEADER = "key,language,kind,location,revision,files,format,field"
TEXTS = f"texts,*,file,{SOURCES},,{{language}}.jsonl.gz,jsonl,text"


def small_study() -> dict[str, Any]:
    """The tiny study with one target language, two models and our own files as corpora."""
    content: dict[str, Any] = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content |= {
        "languages": ["sw"],
        "mixes": {"target-only": {"shares": {"target": 1.0}}},
        "models": [{"label": "LLaMA"}, {"label": "LLaMA+2k", "budget": "2k-tokens"}],
        "tokenizers": {"base": {"train": {"size": 400}}},
        "fetch_corpus": {"default": [{"dataset": "texts"}]},
        "runtime": {"registry": REGISTRY},
    }
    unused = ("vocabularies", "tunings", "benchmarks", "check_vocabulary", "alignment")
    content |= {section: {} for section in unused}
    content["base"]["train"]["budget"] = "4k-tokens"
    return content


def sentences(language: str, count: int = 150) -> list[str]:
    """Texts in a language, from the atlas."""
    templates = atlas.load_templates(RESOURCES / "atlas" / f"{language}.yaml")
    return [document["text"] for document in atlas.documents(templates, count, seed=1)]


def write_source(folder: Path, language: str, texts: Iterable[str]) -> Path:
    """Put a language's corpus where the registry says."""
    path = folder / SOURCES / f"{language}.jsonl.gz"
    path.parent.mkdir(exist_ok=True)
    write_jsonl(path, ({"text": text} for text in texts))
    return path


def write_registry(folder: Path, *rows: str) -> None:
    """Write the registry: our own texts, and further rows."""
    (folder / REGISTRY).write_text("\n".join([HEADER, TEXTS, *rows]) + "\n", encoding="utf-8")


def write_study(folder: Path) -> Path:
    """Write registry, English and Swahili sources and the config; the config's path."""
    write_registry(folder)
    for language in ("en", "sw"):
        write_source(folder, language, sentences(language))
    return write_config(folder, small_study())


def truncate(path: Path) -> None:
    """Cut a gzip file off in the middle."""
    whole = path.read_bytes()
    assert gzip.decompress(whole)
    path.write_bytes(whole[: len(whole) // 2])


def shown(
    folder: Path, config: Path, *arguments: str, worker: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake as a person would; what is shown, in the order shown, is in `stdout`.

    Without the warm worker nothing is imported that the few jobs do not need.
    """
    variables = environment() | ({} if worker else {"LANGTRANSFER_WORKER": "none"})
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(config)]
    command += ["--profile", str(ROOT / "profiles" / "local"), *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=variables, cwd=folder,
    )  # fmt: skip
    return subprocess.CompletedProcess(command, done.returncode, done.stdout, "")


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line a person sees."""
    return done.stdout.rstrip("\n").splitlines()[-1]
