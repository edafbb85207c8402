"""Labs that share a study: what one has done the other has, and the same edits cost the same."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.labs import Lab, make_lab
from tests.studies import TINY
from tests.system.conftest import World
from tests.workflow.conftest import edited, expanded, write_config

pytestmark = pytest.mark.system

EDITS = {
    "corpus": ("clean_corpus.min_characters", 11),
    "split": ("split_corpus.seed", 2),
    "vocabulary": ("vocabularies.ext100.pieces", "target-script"),
    "gate": ("check_vocabulary.documents", 21),
    "pretraining": ("pretrain.optimization.learning_rate", 0.003),
    "tuning": ("finetune.lora.rank", 5),
    "generation": ("generate.max_new_tokens", 13),
    "judge": ("score.judge.temperature", 0.5),
    "perplexity": ("perplexity.stride", 32),
    "report": ("reporting.confidence", 0.9),
}
SCORING = ("judge: {kind: reference}", "judge: {kind: reference, temperature: 0.5}")


def stages(cells: set[str]) -> set[str]:
    return {cell.split("/")[0] for cell in cells}


def test_two_labs_do_each_other_s_work_once(world: World) -> None:
    a, b = world.first, world.clone("b")
    first, results = a.git("rev-parse", "HEAD").strip(), a.digests()

    received = b.share("receive").stdout
    assert f"{len(results)} results received" in received
    assert b.to_run() == set()
    assert b.digests() == results
    assert b.git("status", "--porcelain") == ""

    for leaf, value in EDITS.values():  # the same cells are invalidated on both
        with ThreadPoolExecutor() as pool:
            sides = list(pool.map(lambda lab, e=(leaf, value): stale(lab, *e), (a, b)))
        assert sides[0] == sides[1] != set(), leaf
    assert stale(a, "generate.max_new_tokens", 12) == set(), "the value it had"

    b.edit("min_run_letters: 2", "min_run_letters: 3")
    to_run = b.to_run()
    assert stages(to_run) == {"code_switching", "tables", "figures", "claims", "report"}
    b.snakemake("all")
    done = b.share("publish").stdout
    assert f"{len(to_run)} of them new" in done

    a.git("pull", "--quiet")
    assert a.to_run() == set(), "manifests alone are enough"
    assert f"{len(to_run)} results received" in a.share("receive").stdout
    assert a.to_run() == set()
    assert a.digests() == b.digests() != results

    c = world.clone("c")
    c.git("checkout", "--quiet", first)
    c.share("receive")
    assert c.to_run() == set()
    assert c.digests() == results
    assert not (c.folder / "work").exists(), "nothing was run"


def stale(lab: Lab, leaf: str, value: object) -> set[str]:
    write_config(lab.folder, edited(expanded(), leaf, value))
    return lab.to_run("study.yaml")


@pytest.fixture
def without_hi_and_sw(tmp_path: Path) -> Path:
    """The tiny study for Chinese alone."""
    content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    content["languages"] = ["zh"]
    content["mixes"] = {name: content["mixes"][name] for name in ("target-only", "with-english")}
    del content["tunings"]["t40-sequence"]
    del content["benchmarks"]["llm-eval"]["switched_tunings"]
    labels = {"LLaMA", "LLaMA+8k", "LLaMA-EXT"}
    content["models"] = [model for model in content["models"] if model["label"] in labels]
    return write_config(tmp_path, content)


def test_two_languages_meet(finished_tiny: Path, without_hi_and_sw: Path, tmp_path: Path) -> None:
    """Cells of zh and sw are the tiny study's; hi's are computed, and tables for each lab."""
    world = World(tmp_path / "world")
    d = make_lab(
        world.root / "d", finished_tiny, world.server, str(world.remote), config=without_hi_and_sw
    )
    d.snakemake("all")
    d.share("publish")
    e, f = world.clone("e"), world.clone("f")
    e.share("receive")
    for part in ("results", "recipes"):  # e has done Swahili
        shutil.copytree(finished_tiny / part, e.folder / part, symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("zh*", "en*", "study"))  # fmt: skip

    d.edit("languages:\n- zh\n", "languages:\n- hi\n- zh\n")
    e.edit("languages:\n- zh\n", "languages:\n- sw\n- zh\n")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda lab: lab.snakemake("all", LANGTRANSFER_WORKER=""), (d, e)))
    d.share("publish")
    refused = e.share("publish", check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: git push: 'main': not pushed")
    assert "git pull, then publish again" in refused.stderr

    assert "CONFLICT" in e.git("pull", "--no-rebase", "--no-edit", check=False)
    conflicts = e.git("diff", "--name-only", "--diff-filter=U").split()
    assert conflicts == ["config.yaml"], "both added a line at one place"
    e.run("sed", "-i", "/^[<=>]\\{7\\}/d", "config.yaml")  # keep both
    languages = yaml.safe_load((e.folder / "config.yaml").read_text())["languages"]
    assert sorted(languages) == ["hi", "sw", "zh"]
    e.git("commit", "--quiet", "--all", "--no-edit")
    e.git("push", "--quiet")

    f.git("pull", "--quiet")
    to_run = f.to_run()
    # No lab has had both: each new vocabulary has yet to meet the other's language.
    gates = {"check_vocabulary/hi/sw.ext100", "check_vocabulary/sw/hi.ext100"}
    assert gates <= to_run
    assert stages(to_run - gates) == {"tables", "figures", "claims", "report"}
    f.share("receive")
    f.snakemake("all")
    assert f.to_run() == set()
    rows = (f.folder / "results/report/table2_perplexity.csv").read_text()
    assert all(f"\n{language}," in rows or f",{language}," in rows for language in languages)


def test_only_what_is_read_is_downloaded(world: World) -> None:
    b = world.clone("b")
    assert b.to_run() == set()
    total = sum(path.stat().st_size for path in world.remote.rglob("*") if path.is_file())

    b.edit(*SCORING)
    assert stages(b.to_run()) == {"score", "tables", "figures", "claims", "report"}
    failed = b.snakemake("all", check=False)
    assert failed.returncode
    assert "data are not here: make receive CELLS=" in failed.stderr.strip().splitlines()[-1]

    plan = b.share("needed").stdout
    assert "fetch them: make receive CELLS=needed" in plan
    got = b.share("receive", "--cells", "needed").stdout
    downloaded = sum(
        path.stat().st_size for path in (b.folder / ".dvc/cache/files").rglob("*") if path.is_file()
    )
    assert stages(b.data_folders()) == {
        "generate", "fetch_benchmark", "code_switching", "knowledge", "perplexity", "alignment",
        "check_vocabulary",
    }  # fmt: skip
    assert downloaded < total / 10, (downloaded, total)
    b.snakemake("all")
    assert b.to_run() == set()
    logs = {path.name for path in (b.folder / "logs").iterdir() if path.is_dir()}
    assert logs == {"score", "tables", "figures", "claims", "report"}, "nothing else ran"
    print(f"{plan}{got}{downloaded:,} of {total:,} bytes downloaded")

    b.share("publish")  # most data are not here, and stay published
    a = world.first
    a.git("pull", "--quiet")
    a.share("receive")
    assert a.to_run() == set()


def test_a_stale_study_is_not_published(world: World) -> None:
    a = world.first
    head = a.git("rev-parse", "HEAD")
    a.edit(*SCORING)
    refused = a.share("publish", check=False)
    assert refused.returncode == 2
    assert "13 of 163 cells are not finished: run snakemake first" in refused.stderr
    assert a.git("rev-parse", "HEAD") == head
