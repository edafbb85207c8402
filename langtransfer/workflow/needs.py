"""What a cell asks of a cluster: a row of the profile's table, scaled by the cell's recipe.

The table is `slurm/resources.yaml`. A model's size and the tokens of a training run are read from
the recipe (its own and its parents'), so a compute node finds the same figures as the login node.
No result depends on any of it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from langtransfer.budget import Budget
from langtransfer.config.base import Model
from langtransfer.errors import UserError
from langtransfer.provenance import RECIPES, RESULTS

KEY = "cluster"
EMBEDDING_ROWS = 32_000  # LLaMA's; a vocabulary trained here is not known before it is trained
Recipe = Mapping[str, Any]


class Partition(Model):
    """A partition and its limits; what is asked for never exceeds them."""

    max_hours: float = Field(gt=0)
    max_memory_gb: int = Field(gt=0)
    max_gpus: int = Field(default=0, ge=0)
    """On one node."""
    tflops: float = Field(default=0.0, ge=0)
    """Sustained by one GPU in training, not its peak: time limits come from it."""


class Row(Model):
    """What the jobs of a rule ask for, at their first attempt."""

    partition: str
    threads: int = Field(default=1, gt=0)
    """Of a CPU job; of each GPU of a GPU job."""
    memory_gb: float = Field(gt=0)
    memory_gb_per_billion: float = Field(default=0.0, ge=0)
    """On top, for each billion parameters of the model."""
    hours: float = Field(gt=0)
    hours_per_billion: float = Field(default=0.0, ge=0)
    """On top, for each billion parameters; what training takes comes on top of both."""
    billions_per_gpu: float | None = Field(default=None, gt=0)
    """So many billion parameters want one GPU; as many GPUs as the next power of two."""
    nodes: int = Field(default=1, gt=0)
    """More than one: the rule's command starts its processes on them with srun."""
    retries: int = Field(default=1, ge=0)
    warn_seconds: int | None = Field(default=None, gt=0)
    """SIGTERM so long before the time limit: the stage saves and asks to be run again."""


class Table(Model):
    """The profile's table."""

    partitions: dict[str, Partition]
    rules: dict[str, Row]
    adopted_billions: dict[str, float]
    """Parameters of models made elsewhere, by registry key; `default` for those not named."""
    tokens_per_sample: int = Field(gt=0)
    """Of a budget in samples."""
    tokens_per_example: int = Field(gt=0)
    """Of an instruction pair."""
    more_memory_per_attempt: float = Field(ge=0)
    """Share of the first attempt's memory that each further one gets on top."""


def read_table(path: Path) -> Table:
    """UserError where the table is not there, misspelt or names a partition it does not have."""
    try:
        table = Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError("cluster", str(path), "no such table; see slurm/resources.yaml") from None
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        field = ".".join(map(str, mistake["loc"]))
        raise UserError(f"{path.name}: {field}", mistake["input"], mistake["msg"]) from None
    for rule, row in table.rules.items():
        if row.partition not in table.partitions:
            known = ", ".join(table.partitions)
            raise UserError(f"{path.name}: {rule}.partition", row.partition, f"one of {known}")
    return table


class Needs:
    """Values for `threads`, `retries` and `resources` of rules; nothing without a table."""

    def __init__(self, table: Table | None, *, retries: bool = True) -> None:
        self._table, self._retries = table, retries

    @classmethod
    def of_profile(cls, overrides: Mapping[str, object], basedir: str, *, main: bool) -> Needs:
        """What a profile's `config: {cluster: <file in the repository>}` says; exits as UserError.

        Snakemake's main process retries, with a new job: one inside a job would do so there.
        """
        if (table := overrides.get(KEY)) is None:
            return cls(None)
        try:
            return cls(read_table(Path(basedir) / str(table)), retries=main)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(2)

    def threads(self, rule: str) -> int | Callable[..., int]:
        """For `threads:`; with a table, of all GPUs of the job."""
        if self._table is None:
            return 1
        row = self._table.rules[rule]
        if row.billions_per_gpu is None:
            return row.threads
        return lambda wildcards, input: row.threads * self.gpus(rule, read(input.recipe))

    def retries(self, rule: str) -> int | None:
        """For `retries:`; None leaves it to `--retries`."""
        told = self._table is not None and self._retries
        return self._given().rules[rule].retries if told else None

    def resources(self, rule: str) -> dict[str, Any]:
        """For `resources:`, in the words of the SLURM plugin."""
        if self._table is None:
            return {}
        row = self._table.rules[rule]
        asked: dict[str, Any] = {
            "slurm_partition": row.partition,
            "mem_mb": lambda wildcards, input, attempt: self.memory_mb(
                rule, read(input.recipe), attempt
            ),
            "runtime": lambda wildcards, input, attempt: self.minutes(
                rule, read(input.recipe), attempt
            ),
        }
        if row.billions_per_gpu is not None:
            asked["gres"] = lambda wildcards, input: f"gpu:{self.gpus(rule, read(input.recipe))}"
        if row.warn_seconds is not None:
            asked["slurm_extra"] = f"--signal=TERM@{row.warn_seconds}"
        if row.nodes > 1:
            # The plugin leaves srun to the command where `mpi` is set, and then wants two tasks a
            # node; the command starts one, with all of the node's GPUs.
            asked |= {"nodes": row.nodes, "mpi": "srun", "tasks_per_node": 2}
            asked["cpus_per_task"] = lambda wildcards, threads: max(1, threads // 2)
        return asked

    def gpus(self, rule: str, recipe: Recipe) -> int:
        """GPUs on each node: the model's share, as a power of two, up to what a node has."""
        table, row = self._given(), self._given().rules[rule]
        assert row.billions_per_gpu is not None, "asked for rules with GPUs only"
        wanted = billions(recipe, table) / row.billions_per_gpu / row.nodes
        power = 1 << math.ceil(math.log2(max(wanted, 1.0)))
        return min(power, table.partitions[row.partition].max_gpus)

    def memory_mb(self, rule: str, recipe: Recipe, attempt: int) -> int:
        """Main memory on each node; more at each attempt, up to the partition's limit."""
        table, row = self._given(), self._given().rules[rule]
        first = row.memory_gb + row.memory_gb_per_billion * billions(recipe, table)
        wanted = first * (1 + table.more_memory_per_attempt * (attempt - 1))
        return round(1000 * min(wanted, table.partitions[row.partition].max_memory_gb))

    def minutes(self, rule: str, recipe: Recipe, attempt: int) -> int:
        """Time limit; longer at each attempt, up to the partition's limit."""
        table, row = self._given(), self._given().rules[rule]
        partition, size = table.partitions[row.partition], billions(recipe, table)
        hours = row.hours + row.hours_per_billion * size
        if partition.tflops and (trained := tokens(recipe, table)):
            gpus = row.nodes * self.gpus(rule, recipe)
            # 6 floating-point operations a parameter and token (Kaplan et al. 2020)
            hours += 6 * size * 1e9 * trained / (gpus * partition.tflops * 1e12) / 3600
        return math.ceil(60 * min(hours * attempt, partition.max_hours))

    def _given(self) -> Table:
        assert self._table is not None, "nothing is asked of a cluster without a table"
        return self._table


@lru_cache(maxsize=10_000)
def read(path: str) -> Recipe:
    """A recipe; who computes the cell checks it."""
    recipe: Recipe = json.loads(Path(path).read_text(encoding="utf-8"))
    return recipe


def billions(recipe: Recipe, table: Table) -> float:
    """Parameters, in billions, of the model a cell makes or works on; 0 where it has none."""
    config = recipe["config"]
    if recipe["stage"] == "adopt_model":
        name = recipe["cell"].rpartition("/")[2]
        return table.adopted_billions.get(name, table.adopted_billions["default"])
    if (shape := config.get("shape")) is not None:
        return _parameters(shape) / 1e9
    checkpoint = recipe["parents"].get("checkpoint")
    return billions(_recipe_of(checkpoint), table) if checkpoint is not None else 0.0


def tokens(recipe: Recipe, table: Table) -> int:
    """Tokens a cell trains on, at most; 0 where it trains nothing."""
    config = recipe["config"]
    if recipe["stage"] == "finetune":
        return int(config["examples"] * config["epochs"] * table.tokens_per_example)
    if recipe["stage"] not in ("train_base", "pretrain"):
        return 0
    own = _tokens_of(config["budget"], table)
    if config.get("budgets") == "chained":  # goes on from the smaller one
        before = _recipe_of(recipe["parents"]["checkpoint"])
        own -= _tokens_of(before["config"]["budget"], table) if _chained(before) else 0
    return own


def _chained(recipe: Recipe) -> bool:
    return bool(recipe["stage"] == "pretrain" and recipe["config"]["budgets"] == "chained")


def _tokens_of(budget: object, table: Table) -> int:
    parsed = Budget.parse(budget)
    return parsed.amount * (table.tokens_per_sample if parsed.unit == "samples" else 1)


def _recipe_of(folder: str) -> Recipe:
    """The recipe of a result folder."""
    return read((RECIPES / Path(folder).relative_to(RESULTS)).as_posix() + ".json")


def _parameters(shape: Mapping[str, Any]) -> int:
    """Weights of a LLaMA; norms are left out."""
    hidden = shape["hidden_size"]
    keys = hidden * shape["key_value_heads"] // shape["heads"]
    layer = 2 * hidden * (hidden + keys) + 3 * hidden * shape["intermediate_size"]
    embeddings = EMBEDDING_ROWS * hidden * (1 if shape["tie_embeddings"] else 2)
    return int(shape["layers"] * layer + embeddings)
