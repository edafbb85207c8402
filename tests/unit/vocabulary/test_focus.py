"""FOCUS: new rows are sparse convex combinations of the base's, the same wherever they are made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from transformers import AutoTokenizer

from langtransfer.config.loading import parse_config
from langtransfer.config.vocabulary import ExtendEmbeddingsConfig, FocusConfig
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.provenance import SourceHashes
from langtransfer.resources import ROOT
from langtransfer.vocabulary.contract import read_contract, write_vocabulary
from langtransfer.vocabulary.encoding import load_encoder
from langtransfer.vocabulary.focus import Auxiliary, focus_rows, train_auxiliary
from langtransfer.vocabulary.sub_pieces import sub_pieces_of
from langtransfer.workflow.study import Study
from scripts.extend_embeddings import run
from tests.studies import TINY
from tests.unit.vocabulary.test_embeddings import (
    load,
    make_byte_level,
    make_checkpoint,
    make_extended,
)

# Few dimensions: fastText's table of n-grams takes 8 MB for each.
FOCUS = {"dim": 8, "min_count": 10}
# Progress bars, fastText's greeting, deepfocus' own lines.
LITTER = re.compile(r"it/s|%\||load_model|FOCUS|Canonicalizing|words/sec")
ABSENT = "北京"  # two pieces' characters that the training text lacks


@pytest.fixture
def texts(sentences: Callable[..., list[str]]) -> list[str]:
    """Chinese with English in it, so that pieces of the base are met: documents of two lines."""
    mixed = [*sentences("zh", 600), *sentences("en", 200)]
    lines = [re.sub(f"[{ABSENT}]", "", line) for line in mixed]
    return ["\n".join(pair) for pair in zip(lines[::2], lines[1::2], strict=True)]


@pytest.fixture
def folders(make_job: Callable[..., Job], tmp_path: Path, english: Any, chinese: Any) -> list[Path]:
    """A SentencePiece vocabulary and its extension with control tokens."""
    write_vocabulary(english, tmp_path / "base")
    write_vocabulary(chinese, tmp_path / "pieces")
    extended = make_extended(make_job, tmp_path / "base", tmp_path / "pieces", "<|user|>")
    return [tmp_path / "base", extended]


@pytest.fixture
def byte_level(
    make_job: Callable[..., Job], corpus: Callable[..., Path], sentences: Callable[..., list[str]]
) -> list[Path]:
    """A byte-level vocabulary and its extension."""
    corpora = {language: corpus(language, sentences(language)) for language in ("en", "zh")}
    return list(make_byte_level(make_job, corpora))


def counts(vocabulary: Path, texts: list[str]) -> Counter[int]:
    """How often each id is met in the lines of some documents."""
    lines = [line for text in texts for line in text.split("\n")]
    return Counter(i for ids in load_encoder(vocabulary)(lines) for i in ids)


def auxiliary_of(folders: list[Path], texts: list[str], work: Path, **settings: int) -> Auxiliary:
    work.mkdir(exist_ok=True)
    lines = [line for text in texts for line in text.split("\n")]
    base, extended = (read_contract(folder) for folder in folders)
    config = FocusConfig.model_validate(FOCUS | settings)
    return train_auxiliary(lines, folders[1], extended, base.size, config, work)


def weights_of(folders: list[Path], auxiliary: Auxiliary, work: Path) -> Tensor:
    """(covered, base size): with an identity matrix for rows the rows made are the weights."""
    base, extended = (read_contract(folder) for folder in folders)
    return focus_rows(torch.eye(base.size), extended.size, auxiliary, work / "log")


@pytest.mark.parametrize("kind", ["folders", "byte_level"])
def test_rows_are_sparse_convex_combinations(
    request: pytest.FixtureRequest, kind: str, texts: list[str], tmp_path: Path
) -> None:
    import fasttext

    folders = request.getfixturevalue(kind)
    auxiliary = auxiliary_of(folders, texts, tmp_path / "work")
    weights = weights_of(folders, auxiliary, tmp_path).double()
    assert weights.shape[0] == len(auxiliary.covered) > 10
    assert (weights >= 0).all()
    assert torch.allclose(weights.sum(1), torch.ones(1, dtype=torch.float64), atol=1e-5)
    others = sorted(set(range(weights.shape[1])) - set(auxiliary.anchors))
    assert not weights[:, others].any()
    # The rule itself, from the vectors: the simplex's nearest point to the cosines.
    with redirect_stderr(StringIO()):
        model = fasttext.load_model(str(auxiliary.model))
    names = {i: token for token, i in auxiliary.tokens.items()}
    new, old = (
        np.stack([model[names[i]] / np.linalg.norm(model[names[i]]) for i in ids])
        for ids in (auxiliary.covered, auxiliary.anchors)
    )
    expected = np.stack([nearest_in_simplex(row) for row in (new @ old.T).astype(np.float64)])
    assert np.allclose(weights[:, list(auxiliary.anchors)].numpy(), expected, atol=1e-4)


def nearest_in_simplex(cosines: np.ndarray) -> np.ndarray:
    """Sparsemax by its definition: subtract what makes the positive parts sum to one."""
    low, high = cosines.min() - 1, cosines.max()
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.clip(cosines - middle, 0, None).sum() > 1 else (low, middle)
        )
    return np.clip(cosines - high, 0, None)


@pytest.mark.parametrize("kind", ["folders", "byte_level"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_stage(
    request: pytest.FixtureRequest,
    make_job: Callable[..., Job],
    corpus: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
    kind: str,
    tied: bool,
    texts: list[str],
    tmp_path: Path,
) -> None:
    folders = request.getfixturevalue(kind)
    job = make_focus_job(make_job, folders, corpus("mul", texts), tmp_path, tied=tied)
    capfd.readouterr()  # what making the checkpoint prints
    run(job)
    assert not LITTER.search("".join(capfd.readouterr()))
    before, after = load(job.parent("checkpoint")), load(job.out)
    base, extended = (read_contract(folder) for folder in folders)
    met = counts(folders[1], texts)
    new = range(base.size, extended.size)
    covered = [i for i in new if met[i] >= FOCUS["min_count"]]
    report = json.loads((job.out / "embeddings.json").read_text())
    share = round(len(covered) / len(new), 6)
    assert report["covered"] == {"pieces": len(covered), "share": share}
    assert 0.2 < share < 1
    assert len(before) == len(after) == (1 if tied else 2)
    auxiliary = auxiliary_of(folders, texts, tmp_path / "again")
    assert auxiliary.covered == tuple(covered)
    assert not set(auxiliary.anchors) & set(extended.special_tokens.values())
    assert report["anchors"] == len(auxiliary.anchors)
    weights = weights_of(folders, auxiliary, tmp_path)
    segments = sub_pieces_of(*folders)
    for old, rows in zip(before, after, strict=True):
        assert torch.equal(rows[: base.size], old[: base.size])
        assert torch.allclose(rows[covered], weights @ old[: base.size], atol=1e-6)
        for i in set(new) - set(covered):
            mean = old[segments[i - base.size]].mean(0)
            assert torch.allclose(rows[i], mean, atol=1e-6)


def test_pieces_that_never_occur_are_not_covered(folders: list[Path], texts: list[str]) -> None:
    """The corpus of these tests lacks some new pieces, or the share above would say nothing."""
    tokens = AutoTokenizer.from_pretrained(folders[1]).get_vocab()
    met = counts(folders[1], texts)
    absent = [token for token in tokens if set(token) & set(ABSENT)]
    assert absent
    assert not any(met[tokens[token]] for token in absent)


def make_focus_job(
    make_job: Callable[..., Job], folders: list[Path], corpus: Path, tmp_path: Path, *, tied: bool
) -> Job:
    checkpoint = make_checkpoint(
        tmp_path / "checkpoint", folders[0], tied=tied, rows=320, dtype=torch.float32
    )
    parents = {"checkpoint": checkpoint, "vocabulary": folders[1], "corpus.mul": corpus}
    return make_job("extend_embeddings", "mul/x", {"method": "focus", "focus": FOCUS}, parents)


IN_ANOTHER_PROCESS = """
import json, sys
from pathlib import Path
from langtransfer.job import Job
from scripts.extend_embeddings import run
settings, parents, out, work = json.loads(sys.argv[1])
parents = {role: Path(folder) for role, folder in parents.items()}
run(Job("extend_embeddings", "zh/x", "key", settings, parents, Path(out), Path(work)))
"""


def test_the_same_bytes_in_another_process_and_nothing_outside(
    make_job: Callable[..., Job],
    corpus: Callable[..., Path],
    folder_bytes: Callable[[Path], dict[str, bytes]],
    folders: list[Path],
    texts: list[str],
    tmp_path: Path,
) -> None:
    """Other threads, other folders, an empty home: the same result, and the home stays empty."""
    job = make_focus_job(make_job, folders, corpus("mul", texts), tmp_path, tied=False)
    run(job)
    other, home = tmp_path / "elsewhere", tmp_path / "home"
    for folder in (other / "out", other / "work", home):
        folder.mkdir(parents=True)
    parents = {role: str(folder) for role, folder in job.parents.items()}
    what = [dict(job.settings), parents, str(other / "out"), str(other / "work")]
    caches = ("XDG_CACHE_HOME", "HF_HOME", "HF_DATASETS_CACHE", "NUMBA_CACHE_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in caches}
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, json.dumps(what)],
        cwd=ROOT,
        env=kept | {"HOME": str(home), "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not LITTER.search(done.stdout + done.stderr)
    assert folder_bytes(other / "out") == folder_bytes(job.out)
    assert list(home.iterdir()) == []
    assert not any(str(tmp_path).encode() in data for data in folder_bytes(job.out).values())


def test_a_finished_model_is_used_again(
    folders: list[Path], texts: list[str], tmp_path: Path
) -> None:
    """A killed stage need not learn again; a half-written model does not count."""
    first = auxiliary_of(folders, texts, tmp_path / "work")
    assert auxiliary_of(folders, [], tmp_path / "work") == first
    (tmp_path / "work" / "focus-words.json").unlink()
    with pytest.raises(UserError, match="corpus: 'no text': give documents"):
        auxiliary_of(folders, [], tmp_path / "work")


@pytest.mark.parametrize(
    ("texts", "settings", "said"),
    [
        ([], {}, "focus: corpus: 'no text': give documents in the target language"),
        (["", "\n"], {}, "focus: corpus: 'no text'"),
        (["首都 the river"], {}, "focus.min_count: 10: no piece of the base"),
        (["the river and the sea"] * 20, {}, "focus.min_count: 10: no new piece"),
        (["首都"] * 5, {"min_count": 1_000}, "focus.min_count: 1000: no .*lower it"),
    ],
)
def test_text_that_teaches_nothing(
    folders: list[Path], texts: list[str], settings: dict[str, int], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        auxiliary_of(folders, texts, tmp_path / "work", **settings)


def test_its_settings_go_with_its_method() -> None:
    assert ExtendEmbeddingsConfig(method="focus").focus == FocusConfig()
    assert ExtendEmbeddingsConfig().focus is None
    with pytest.raises(ValueError, match="only `method: focus` reads it"):
        ExtendEmbeddingsConfig(method="mean", focus=FocusConfig())


def test_each_vocabulary_begins_as_it_says(tmp_path: Path) -> None:
    """Only FOCUS waits for text, that of all its targets; other vocabularies keep their keys."""
    plain = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    entry = plain["vocabularies"]["ext100"]
    content = plain | {
        "vocabularies": {"ext100": entry, "own": entry | {"embeddings": {"method": "focus"}}},
        "models": [
            *plain["models"],
            {"label": "own", "vocabulary": "own", "tunings": ["none"], "languages": ["zh"]},
            {"label": "joint", "vocabulary": "own", "mix": "joint", "tunings": ["none"]},
        ],
    }
    before, after = (
        {
            cell.path: cell
            for cell in Study(parse_config(some), SourceHashes(tmp_path / "hashes.json")).cells
            if cell.stage == "extend_embeddings"
        }
        for some in (plain, content)
    )
    roles = {path: [r for r in cell.parents if "corpus" in r] for path, cell in after.items()}
    assert roles == {path: [] for path in before} | {
        "extend_embeddings/zh/own": ["corpus.zh"],
        "extend_embeddings/sw+zh/own": ["corpus.sw", "corpus.zh"],
    }
    assert {path: after[path].key for path in before} == {p: c.key for p, c in before.items()}
    assert after["extend_embeddings/zh/own"].settings == ExtendEmbeddingsConfig(method="focus")
