"""A checkpoint as a hub keeps it: the model's files in one folder, with a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from langtransfer.corpus.registry import Registry, load_registry
from langtransfer.errors import UserError
from langtransfer.folders import put_in_place
from langtransfer.provenance import read_manifest
from langtransfer.resources import RESOURCES, locate
from langtransfer.sharing.artifacts import Artifact, artifact_of
from langtransfer.workflow.cells import Cell
from langtransfer.workflow.study import Study

MODELS = ("train_base", "adopt_model", "extend_embeddings", "pretrain", "finetune")
# The figures of an evaluation's summary.json that a card shows.
METRICS = {
    "score": ("average", "average_without_harmlessness"),
    "code_switching": ("rate",),
    "knowledge": ("accuracy", "chance"),
    "perplexity": ("bits_per_byte", "perplexity"),
    "alignment": ("retrieval",),
}


def export(study: Study, cell: Cell, target: Path, *, name: str, licence: str, source: str) -> None:
    """Write a model's files and its card to a new folder.

    Raises UserError for a cell that is no model, is not here, or a folder that is there already.
    """
    if cell.stage not in MODELS:
        raise UserError("CELL", cell.path, f"is no model; those of {', '.join(MODELS)} are")
    if target.exists():
        raise UserError("TO", str(target), "is there already: give a new folder")
    if not cell.finished():
        raise UserError("CELL", cell.path, "is not finished: snakemake, or make receive")
    artifact = artifact_of(cell)
    if not artifact.is_here():
        raise UserError("CELL", cell.path, f"is not here: make receive CELLS={cell.path}")
    part = next(p for p in ("adapter", "model", "") if (artifact.data / p).is_dir())
    staged = target.with_name(f".{target.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    # Bytes of their own: nobody edits a hub folder into the cache.
    shutil.copytree(artifact.data / part, staged)
    card = model_card(study, cell, artifact, part, name=name, licence=licence, source=source)
    (staged / "README.md").write_text(card, encoding="utf-8", newline="\n")
    put_in_place(staged, target)


def model_card(
    study: Study, cell: Cell, artifact: Artifact, part: str, *, name: str, licence: str, source: str
) -> str:
    """The card: what it is made of, how, how good it is, under which licence."""
    registry = load_registry(locate(study.config.runtime.registry))
    data = list(data_rows(cell, registry))
    base = [a.recipe["config"] for a in ancestry_of_parents(cell) if a.stage == "adopt_model"]
    scores = list(score_rows(study, cell))
    languages = sorted({row["language"] for row in data})
    front = {
        "language": languages,
        "license": licence.lower(),
        "library_name": "peft" if part == "adapter" else "transformers",
        "base_model": [config["identity"]["key"] for config in base],
        "pipeline_tag": "text-generation",
        "tags": ["langtransfer", cell.stage],
        "datasets": sorted({row["dataset"] for row in data}),
        "model-index": [{"name": name, "results": list(_index(scores))}],
    }
    environment = Environment(
        loader=FileSystemLoader(RESOURCES / "hub", encoding="utf-8"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("README.md.jinja").render(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        name=name,
        what=_what(cell, languages),
        cell=cell.path,
        key=artifact.folder.name,
        digest=artifact.manifest["outputs"]["digest"],
        source=source,
        licence=licence,
        code=_code(name, part, cell),
        data=data,
        licences_open=any(not row["licence"] for row in data),
        recipe=json.dumps(artifact.manifest["recipe"]["config"], indent=1, ensure_ascii=False),
        scores=scores,
        lineage=list(lineage_rows(cell)),
    )


def data_rows(cell: Cell, registry: Registry) -> Iterator[dict[str, str]]:
    """Every dataset a model learnt from, by the recipes of its ancestors, each once."""
    for ancestor in ancestry_of_parents(cell):
        if ancestor.stage not in ("fetch_corpus", "prepare_instructions"):
            continue
        config = ancestor.recipe["config"]
        for entry in config.get("entries", [config]):
            language = entry.get("language") or config["language"]
            identity = entry["identity"]
            known = registry.rows.get((identity["key"], language)) or registry.rows.get(
                (identity["key"], "*")
            )
            amount = entry.get("documents") or entry.get("source", {}).get("examples")
            unit = "documents" if ancestor.stage == "fetch_corpus" else "examples"
            yield {
                "stage": ancestor.stage,
                "language": language,
                "dataset": identity["key"],
                "revision": identity["revision"],
                "licence": known.licence if known else "",
                "amount": f"{amount:,} {unit}" if amount else "all",
            }


def ancestry_of_parents(cell: Cell) -> Iterator[Cell]:
    """What a cell was made from: gates, which decide nothing, left out."""
    seen: dict[str, Cell] = {}

    def visit(current: Cell) -> None:
        for parent in current.parents.values():
            visit(parent)
        seen.setdefault(current.path, current)

    visit(cell)
    return iter(seen.values())


def score_rows(study: Study, cell: Cell) -> Iterator[dict[str, Any]]:
    """Figures of every evaluation of this model that is here."""
    for other in study.cells:
        if other.stage not in METRICS or not other.finished() or not _evaluates(other, cell):
            continue
        path = artifact_of(other).data / "summary.json"
        if not path.exists():
            continue
        summary: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        figures = {**summary, **summary.get("mean", {})}
        for metric in METRICS[other.stage]:
            if isinstance(value := figures.get(metric), int | float):
                yield {"cell": other.path, "metric": metric, "value": round(value, 4)}


def _evaluates(other: Cell, cell: Cell) -> bool:
    """Whether a cell asks this model: its tuned form is another model."""
    asked = other.parents.get("answers", other).parents
    model = asked.get("chat") or asked.get("checkpoint")
    return model is not None and model.path == cell.path


def _index(scores: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in scores:
        stage, _, _, *benchmark, language = row["cell"].split("/")
        dataset = benchmark[0] if benchmark else stage
        yield {
            "task": {"type": "text-generation"},
            "dataset": {"name": f"{dataset} ({language})", "type": dataset},
            "metrics": [{"type": row["metric"], "value": row["value"]}],
        }


def lineage_rows(cell: Cell) -> Iterator[dict[str, str]]:
    """Cells a model comes from, oldest first, with keys and digests of what was used."""
    for ancestor in ancestry_of_parents(cell):
        if ancestor.finished():
            digest = str(read_manifest(ancestor.folder)["outputs"]["digest"])
        else:
            digest = "not here"
        yield {"cell": ancestor.path, "key": ancestor.key, "digest": digest}


def _what(cell: Cell, languages: Sequence[str]) -> str:
    words = {
        "train_base": "A base model",
        "adopt_model": "A published checkpoint, with an exact tokenizer",
        "extend_embeddings": "A model with an extended vocabulary, not yet trained on it",
        "pretrain": "A model after further pretraining",
        "finetune": "An instruction-tuned model",
    }
    return f"{words[cell.stage]}; its data are in {', '.join(languages) or 'no language we know'}."


def _code(name: str, part: str, cell: Cell) -> str:
    if part == "adapter":
        below = cell.parents["checkpoint"]
        return (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            f"# the model of {below.path}, key {below.key}\n"
            'base = AutoModelForCausalLM.from_pretrained("<base>")\n'
            f'model = PeftModel.from_pretrained(base, "{name}")\n'
        )
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("{name}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")\n'
    )
