"""What a cell asks of a cluster: scaled by model, budget and attempt, within its partition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from langtransfer.errors import UserError
from langtransfer.provenance import make_recipe, write_recipe
from langtransfer.workflow import needs
from langtransfer.workflow.needs import Needs, Table, read_table

TABLE = {
    "partitions": {
        "cpu": {"max_hours": 10, "max_memory_gb": 50},
        "gpu": {"max_hours": 10, "max_memory_gb": 100, "max_gpus": 4, "tflops": 100},
    },
    "rules": {
        "clean_corpus": {"partition": "cpu", "threads": 4, "memory_gb": 20, "hours": 4},
        "pretrain": {
            "partition": "gpu", "threads": 2, "memory_gb": 10, "memory_gb_per_billion": 5,
            "hours": 1, "hours_per_billion": 0.5, "billions_per_gpu": 1, "retries": 5,
            "warn_seconds": 60,
        },
    },
    "adopted_billions": {"large": 13.0, "default": 3.0}, "tokens_per_sample": 500,
    "tokens_per_example": 100, "more_memory_per_attempt": 0.5,
}  # fmt: skip
SHAPE = {
    "hidden_size": 2048, "intermediate_size": 5632, "layers": 22, "heads": 32,
    "key_value_heads": 4, "tie_embeddings": False,
}  # fmt: skip


@pytest.fixture
def table() -> Table:
    return Table.model_validate(TABLE)


def recipe(stage: str, cell: str, config: dict[str, Any], **parents: str) -> dict[str, Any]:
    return make_recipe(stage, 1, f"{stage}/{cell}", config, parents, {})


def written(made: dict[str, Any]) -> str:
    """Write a recipe; its result folder."""
    path = write_recipe(made)
    return f"results/{path.relative_to('recipes').with_suffix('').as_posix()}"


@pytest.fixture
def adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Result folder of a model of 3 billion parameters."""
    monkeypatch.chdir(tmp_path)
    needs.read.cache_clear()
    return written(recipe("adopt_model", "small", {}))


def pretraining(checkpoint: str, budget: str, budgets: str = "independent") -> dict[str, Any]:
    config = {"budget": budget, "budgets": budgets}
    return recipe("pretrain", f"zh.{budget}", config, checkpoint=checkpoint)


def test_grows_with_the_model(table: Table, adopted: str) -> None:
    large = written(recipe("adopt_model", "large", {}))
    small_one, large_one = (pretraining(one, "1k-tokens") for one in (adopted, large))
    ask = Needs(table)
    assert [ask.gpus("pretrain", one) for one in (small_one, large_one)] == [4, 4]
    assert ask.memory_mb("pretrain", small_one, 1) == 25_000
    assert ask.memory_mb("pretrain", large_one, 1) == 75_000
    assert ask.minutes("pretrain", small_one, 1) == 60 * 2.5 + 1
    assert ask.minutes("pretrain", large_one, 1) == 60 * 7.5 + 1


def test_size_of_a_trained_base_is_its_shape_s(table: Table, adopted: str) -> None:
    """TinyLlama's, which has 1.10 billion."""
    base = written(recipe("train_base", "base", {"shape": SHAPE, "budget": "1M-tokens"}))
    extended = written(recipe("extend_embeddings", "zh", {}, checkpoint=base))
    assert needs.billions(pretraining(extended, "1k-tokens"), table) == pytest.approx(
        1.10, abs=0.01
    )
    assert Needs(table).gpus("pretrain", pretraining(extended, "1k-tokens")) == 2


def test_grows_with_the_budget(table: Table, adopted: str) -> None:
    """6 x 3e9 x 1e9 operations on four GPUs of 100 TFLOP/s are 12.5 hours; the limit is ten."""
    ask = Needs(table)
    assert ask.minutes("pretrain", pretraining(adopted, "0.1B-tokens"), 1) == 60 * (2.5 + 1.25)
    assert ask.minutes("pretrain", pretraining(adopted, "200k-samples"), 1) == 60 * (2.5 + 1.25)
    assert ask.minutes("pretrain", pretraining(adopted, "1B-tokens"), 1) == 600


def test_a_chained_budget_pays_for_what_the_smaller_one_has_not(table: Table, adopted: str) -> None:
    small = pretraining(adopted, "0.1B-tokens", "chained")
    large = pretraining(written(small), "0.3B-tokens", "chained")
    assert (needs.tokens(small, table), needs.tokens(large, table)) == (10**8, 2 * 10**8)


def test_tuning_and_evaluation(table: Table, adopted: str) -> None:
    tuning = recipe("finetune", "x", {"examples": 50, "epochs": 2}, checkpoint=adopted)
    assert needs.tokens(tuning, table) == 10_000
    assert needs.tokens(recipe("generate", "x", {}, checkpoint=adopted), table) == 0
    assert needs.billions(recipe("clean_corpus", "zh", {}), table) == 0


def test_each_attempt_gets_more_up_to_the_limit(table: Table, adopted: str) -> None:
    ask, cleaning = Needs(table), recipe("clean_corpus", "zh", {})
    asked = [
        (ask.memory_mb("clean_corpus", cleaning, n), ask.minutes("clean_corpus", cleaning, n))
        for n in (1, 2, 3, 5)
    ]
    assert asked == [(20_000, 240), (30_000, 480), (40_000, 600), (50_000, 600)]


def test_words_of_the_plugin(table: Table) -> None:
    resources = Needs(table).resources("pretrain")
    assert set(resources) == {"slurm_partition", "mem_mb", "runtime", "gres", "slurm_extra"}
    assert resources["slurm_extra"] == "--signal=TERM@60"
    assert set(Needs(table).resources("clean_corpus")) == {"slurm_partition", "mem_mb", "runtime"}
    assert (Needs(table).threads("clean_corpus"), Needs(table).retries("pretrain")) == (4, 5)
    assert Needs(table, retries=False).retries("pretrain") is None, "inside a job"


def test_several_nodes(adopted: str) -> None:
    content = json.loads(json.dumps(TABLE))
    content["rules"]["pretrain"]["nodes"] = 2
    ask = Needs(Table.model_validate(content))
    resources = ask.resources("pretrain")
    assert (resources["nodes"], resources["mpi"], resources["tasks_per_node"]) == (2, "srun", 2)
    assert ask.gpus("pretrain", pretraining(adopted, "1k-tokens")) == 2, "on each of two nodes"


def test_nothing_without_a_table() -> None:
    assert Needs(None).resources("pretrain") == {}
    assert (Needs(None).threads("pretrain"), Needs(None).retries("pretrain")) == (1, None)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rules.clean_corpus.partition", "fast", "one of cpu, gpu"),
        ("rules.clean_corpus.memory", 3, "rules.clean_corpus.memory"),
        ("partitions.cpu.max_hours", 0, "partitions.cpu.max_hours"),
    ],
)
def test_misspelt_table(tmp_path: Path, path: str, value: object, message: str) -> None:
    content = json.loads(json.dumps(TABLE))
    *parents, last = path.split(".")
    where = content
    for name in parents:
        where = where[name]
    where[last] = value
    file = tmp_path / "resources.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message):
        read_table(file)


def test_missing_table_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        Needs.of_profile({"cluster": "mine.yaml"}, str(tmp_path), main=True)
    assert capsys.readouterr().err.startswith("error: cluster: ")
    assert Needs.of_profile({}, str(tmp_path), main=True).resources("pretrain") == {}
