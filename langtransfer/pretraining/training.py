"""Training on a token stream: the base model from scratch, and further pretraining.

One path for both: Hugging Face's Trainer over fixed packed blocks in the stream's own order.
Documents of a block do not see each other: the batch carries position ids and no attention mask,
and the model keeps no cache (with either, transformers lets documents leak silently).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import get_peft_model
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from langtransfer.budget import Budget
from langtransfer.config.training import (
    Mix,
    OptimizationConfig,
    PretrainCell,
    TrainBaseCell,
)
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining import checkpoints
from langtransfer.pretraining.adapters import peft_config
from langtransfer.pretraining.arguments import (
    Batches,
    cut_batches,
    hardware,
    load_whole_models,
    trainer_arguments,
    uses_cpu,
)
from langtransfer.pretraining.embeddings_first import EmbeddingsFirst
from langtransfer.pretraining.models import (
    load_model,
    merge_adapter,
    new_model,
    save_config,
    save_model,
    weight_files,
)
from langtransfer.pretraining.preemption import stops_when_told
from langtransfer.pretraining.processes import from_first, is_first, leave, world_size
from langtransfer.pretraining.rows import (
    Promise,
    count_rows,
    earlier_rows,
    explain_rows,
    promise,
    stored_matrices,
)
from langtransfer.pretraining.stream import Stream, open_stream
from langtransfer.pretraining.varlen import keep_documents_apart
from langtransfer.pretraining.zero import UniversalResume, check_made_here, prepare_state
from langtransfer.vocabulary.contract import check_contract, copy_vocabulary, read_contract


@dataclass(frozen=True)
class Plan:
    """One training run on a stream."""

    model: Any
    """Causal LM, or the same with adapters, as it is before the first step."""
    vocabulary: Path
    """Folder whose vocabulary files go beside the weights."""
    mix: Mix
    budget: Budget
    optimization: OptimizationConfig
    seed: int
    chained: bool = False
    """Whether a larger budget may go on from here: then `trainer/` is written."""
    start: Path | None = None
    """Checkpoint folder of a smaller budget, with `trainer/`, to go on from."""
    base: Path | None = None
    """With adapters: `model/` folder of the weights below them."""
    embedding_steps: int = 0
    """Optimizer steps from the stream's beginning that train the embeddings alone."""
    promised: Promise | None = None
    """What is to become of the vocabulary folder's embedding rows; None where it has none yet."""


class StreamTrainer(checkpoints.AtomicCheckpoints, UniversalResume, EmbeddingsFirst, Trainer):
    """Hugging Face's Trainer with checkpoints that survive a kill, in one stage or two."""


def train_base(job: Job) -> dict[str, Any]:
    """Train a model from scratch; volatile facts. See docs/pipeline.md for what is written."""
    cell = job.config(TrainBaseCell)
    vocabulary = job.parent("vocabulary")
    model = new_model(cell.shape, check_contract(vocabulary, job.stage), cell.seed)
    plan = Plan(model, vocabulary, cell.mix, cell.budget, cell.optimization, cell.seed)
    return train(job, plan)


def pretrain(job: Job) -> dict[str, Any]:
    """Go on training a checkpoint on other languages; volatile facts.

    Raises UserError as `train` does, for new rows to be trained where the vocabulary has none, and
    for new rows that were to learn and did not.
    """
    cell = job.config(PretrainCell)
    checkpoint = job.parent("checkpoint")
    chained = cell.budgets == "chained"
    goes_on = chained and (checkpoint / "trainer").is_dir()
    start = checkpoint if goes_on else None
    base = None
    if cell.lora is not None:
        base = checkpoint / "trainer" / "base" if goes_on else checkpoint / "model"
    vocabulary = checkpoint / "model"
    check_contract(vocabulary, job.stage)
    model = load_model(base or vocabulary)
    if cell.lora is not None:
        settings = peft_config(cell.lora, read_contract(vocabulary), model)
        set_seed(cell.seed)
        model = get_peft_model(model, settings)
    plan = Plan(
        model, vocabulary, cell.mix, cell.budget, cell.optimization, cell.seed,
        chained=chained, start=start, base=base,
        embedding_steps=cell.embedding_steps, promised=promise(cell.lora),
    )  # fmt: skip
    return train(job, plan)


def train(job: Job, plan: Plan) -> dict[str, Any]:
    """Train on the stream up to the budget and write the cell's data; volatile facts.

    Goes on from this cell's own newest whole checkpoint, else from plan.start, else from the
    start. Raises UserError for batches that leave a rest and for a loss that is not finite.
    """
    optimization = plan.optimization
    batches = cut_batches(optimization, job.runtime.micro_batch, world_size())
    length = optimization.sequence_length
    stream = open_stream(job.group("tokens"), plan.mix, length, seed=plan.seed)
    check_vocabulary(plan.vocabulary, stream)
    blocks = stream.blocks(plan.budget, optimization.global_batch_tokens)
    folder = job.work / "checkpoints"
    if plan.start is not None:
        check_made_here(plan.start, job.runtime.trust_received_state)
    trainer = build_trainer(job, plan, batches, stream.dataset(blocks), folder)
    seconds, first = run(trainer, job, lambda: find_start(folder, plan))
    leave()
    if not is_first():
        return {}
    load_whole_models()
    final = checkpoints.newest_complete(folder)
    assert final is not None, "the Trainer saves at its last step"
    write_outputs(job, plan, stream, blocks, final)
    tokens = (trainer.state.global_step - first) * optimization.global_batch_tokens
    speed = tokens / seconds
    return {"tokens": tokens, "tokens_per_second": speed, **hardware(job.runtime)}


def check_vocabulary(folder: Path, stream: Stream) -> None:
    """UserError unless the stream's ids are those of the model's vocabulary."""
    own = read_contract(folder).identity
    if stream.vocabulary_sha256 != own:
        remedy = f"the model's vocabulary is {own}: pack the tokens with that one"
        raise UserError("vocabulary_sha256 of the tokens", stream.vocabulary_sha256, remedy)


def find_start(folder: Path, plan: Plan) -> Path | None:
    """The checkpoint to go on from; None to begin afresh."""
    found = checkpoints.newest_complete(folder)
    if found is None and plan.start is not None:
        weights = [] if plan.base is not None else weight_files(plan.start / "model")
        found = checkpoints.import_trainer(plan.start / "trainer", weights, folder)
    return found


def build_trainer(
    job: Job, plan: Plan, batches: Batches, dataset: Any, folder: Path
) -> StreamTrainer:
    """The Trainer over a stream's blocks, in their order."""
    plan.model.config.use_cache = False
    optimization = plan.optimization
    if optimization.precision == "bf16" and not uses_cpu(job.runtime):
        keep_documents_apart(plan.model)
    steps = len(dataset) // batches.blocks
    arguments = TrainingArguments(
        **trainer_arguments(optimization, job.runtime, batches, plan.seed, folder),
        max_steps=steps,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
    )
    per_step = optimization.global_batch_tokens
    reporter = checkpoints.Reporter(job, steps * per_step, per_step)
    trainer = StreamTrainer(
        plan.model, arguments, data_collator=stack_blocks, train_dataset=dataset,
        callbacks=[reporter],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.embedding_steps = plan.embedding_steps
    return trainer


def stack_blocks(features: Sequence[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Blocks as one batch, each tensor (blocks, sequence_length); never an attention mask."""
    return {
        name: torch.from_numpy(np.stack([feature[name] for feature in features]))
        for name in ("input_ids", "position_ids", "labels")
    }


def run(trainer: Any, job: Job, find: Callable[[], Path | None]) -> tuple[float, int]:
    """Train to the end, from the checkpoint that `find` finds; seconds taken and the step begun at.

    Files are looked at and put right by the first process alone. Raises UserError for a checkpoint
    that `runtime.deepspeed` cannot go on from, Interrupted where it was told to stop.
    """
    resume, first, universal = from_first(lambda: _prepare(trainer, job, find()))
    if universal:
        trainer.args.hf_deepspeed_config.config["checkpoint"] = {"load_universal": True}
    begun = time.perf_counter()
    with stops_when_told(trainer):
        trainer.train(resume_from_checkpoint=resume)
    return time.perf_counter() - begun, first


def _prepare(trainer: Any, job: Job, found: Path | None) -> tuple[str | None, int, bool]:
    """Path and step of a checkpoint with this run's cadence and processes; whether converted."""
    if found is None:
        return None, 0, False
    universal = prepare_state(found, job.runtime.deepspeed)
    micro = trainer.args.per_device_train_batch_size
    checkpoints.adjust_state(found, job.runtime.checkpoint_steps, micro)
    return str(found), int(checkpoints.read_state(found)["global_step"]), universal


def write_outputs(job: Job, plan: Plan, stream: Stream, blocks: int, final: Path) -> None:
    """Write model/, trainer/ when chained, losses.csv and training.json."""
    optimization = plan.optimization
    write_model(plan, final, job.out / "model")
    if plan.chained:
        checkpoints.export_trainer(final, job.out / "trainer")
        if plan.base is not None:
            for file in sorted(p for p in plan.base.iterdir() if p.is_file()):
                checkpoints.link_or_copy(file, job.out / "trainer" / "base" / file.name)
    per_step = optimization.global_batch_tokens
    rows = [
        (int(r["step"]), int(r["step"]) * per_step, r["loss"]) for r in checkpoints.losses(final)
    ]
    checkpoints.write_losses(job.out / "losses.csv", rows)
    facts = {
        "budget": str(plan.budget), "tokens": blocks * optimization.sequence_length,
        "samples": stream.samples(blocks), "steps": checkpoints.read_state(final)["global_step"],
        "sources": stream.sources(blocks), **row_facts(job, plan),
    }  # fmt: skip
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False) + "\n"
    (job.out / "training.json").write_text(text, encoding="utf-8")


def row_facts(job: Job, plan: Plan) -> dict[str, Any]:
    """`rows` of training.json, and a `note` where there is something to say of them.

    A chained run states what changed since the run began, whatever budget it stopped at between.
    """
    if plan.promised is None:
        return {}
    rows = count_rows(
        stored_matrices(plan.vocabulary), stored_matrices(job.out / "model"),
        read_contract(plan.vocabulary),
        earlier_rows(plan.start) if plan.start is not None else None,
    )  # fmt: skip
    note = explain_rows(rows, plan.promised, job.stage)
    return {"rows": rows} | ({"note": note} if note else {})


def write_model(plan: Plan, final: Path, target: Path) -> None:
    """Write `model/`: the trained weights, adapters merged into the weights below them."""
    if plan.base is not None:
        save_model(merge_adapter(load_model(plan.base), final), plan.vocabulary, target)
        return
    save_config(plan.model, target)
    for file in weight_files(final):
        checkpoints.link_or_copy(file, target / file.name)
    for file in final.glob("*.safetensors.index.json"):
        checkpoints.link_or_copy(file, target / file.name)
    copy_vocabulary(plan.vocabulary, target, plan.model.config.vocab_size)
