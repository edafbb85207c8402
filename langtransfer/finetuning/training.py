"""Instruction tuning with loss on the response only, through TRL's SFTTrainer.

Examples are packed best-fit-decreasing and carry position ids, so packed ones do not see each
other; TRL passes no attention mask and no cache.

Languages with shares are one part: TRL packs them together and shuffles each epoch. Languages in
order are a part each: packed apart, every epoch of one before the first of the next, and all of
it one run with one optimizer and one schedule.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets, disable_progress_bars
from numpy.typing import NDArray
from transformers import PrinterCallback
from trl.data_utils import pack_dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from langtransfer.config.training import FinetuneCell
from langtransfer.corpus.jsonl import read_jsonl, require_characters
from langtransfer.errors import UserError
from langtransfer.finetuning.steps import WholeSteps
from langtransfer.finetuning.templates import prompts_ids, render_prompt, responses_ids
from langtransfer.job import Job
from langtransfer.pretraining import checkpoints
from langtransfer.pretraining.adapters import peft_config
from langtransfer.pretraining.arguments import (
    cut_batches,
    hardware,
    load_whole_models,
    trainer_arguments,
    uses_cpu,
)
from langtransfer.pretraining.models import (
    load_model,
    load_tokenizer,
    save_config,
    weight_files,
)
from langtransfer.pretraining.processes import is_first, leave, world_size
from langtransfer.pretraining.rows import (
    count_rows,
    explain_rows,
    merged_matrices,
    promise,
    stored_matrices,
)
from langtransfer.pretraining.stream import IGNORED, permutation
from langtransfer.pretraining.training import run
from langtransfer.pretraining.zero import UniversalResume, zero_stage
from langtransfer.vocabulary.contract import check_contract, copy_vocabulary, read_contract

INSTRUCTIONS = "instructions.jsonl.zst"
Row = Mapping[str, Any]
Ints = NDArray[np.int32]


class TuningTrainer(checkpoints.AtomicCheckpoints, UniversalResume, WholeSteps, SFTTrainer):
    """TRL's trainer with checkpoints that survive a kill, on any number of processes."""


@dataclass(frozen=True)
class Examples:
    """Tokenized instruction pairs, as they are trained on."""

    ids: list[Ints]
    """Prompt and response of each pair."""
    labels: list[Ints]
    """The same with IGNORED in place of the prompt."""
    dropped: int
    """Pairs longer than a block, left out whole: a response must not lose its end."""

    def tokens(self) -> int:
        """Tokens in all."""
        return sum(map(len, self.ids))

    def response_tokens(self) -> int:
        """Tokens with a loss."""
        return sum(int((labels != IGNORED).sum()) for labels in self.labels)


def finetune(job: Job) -> dict[str, Any]:
    """Tune a checkpoint on instruction pairs; volatile facts. See docs/pipeline.md for the data.

    Raises UserError for too few pairs, for pairs that are all too long, and as pretraining does.
    New rows that learnt nothing are noted: instructions need not hold the new pieces.
    """
    cell = job.config(FinetuneCell)
    check_backend(cell, job.runtime.deepspeed)
    folder = job.parent("checkpoint") / "model"
    check_contract(folder, job.stage)
    tokenizer = load_tokenizer(folder)
    length = cell.optimization.sequence_length
    parts = [
        tokenize(tokenizer, cell.template, rows, length) for rows in choose_examples(job, cell)
    ]
    model = load_model(folder)
    trainer = build_trainer(job, cell, model, tokenizer, parts)
    first_tokens, seconds = train(job, trainer)
    leave()
    if not is_first():
        return {}
    load_whole_models()
    final = checkpoints.newest_complete(job.work / "checkpoints")
    assert final is not None, "the Trainer saves at its last step"
    write_outputs(job, cell, parts, final)
    tokens = trainer.state.num_input_tokens_seen - first_tokens
    speed = tokens / seconds
    return {"tokens": tokens, "tokens_per_second": speed, **hardware(job.runtime)}


def choose_examples(job: Job, cell: FinetuneCell) -> list[list[Row]]:
    """Pairs of each part, in the order they are trained on; see the module's text.

    They are the first of each language's file, so that a smaller tuning is part of a larger.
    """
    if cell.mix.order is None:
        counts = apportion(cell.examples, cell.mix.shares or {})
        return [[row for name, count in counts.items() for row in first(job, cell, name, count)]]
    counts = apportion(cell.examples, dict.fromkeys(cell.mix.order, 1.0))
    return [first(job, cell, language, counts[language]) for language in cell.mix.order]


def first(job: Job, cell: FinetuneCell, language: str, wanted: int) -> list[Row]:
    """The first pairs of a language. UserError when there are fewer, or half a surrogate pair."""
    file = job.group("instructions")[language] / INSTRUCTIONS
    found: list[Row] = list(islice(read_jsonl(file), wanted))
    if len(found) < wanted:
        tuning = job.cell.rsplit("/", 1)[-1]
        remedy = f"wants {wanted} pairs of {language}, {len(found)} are available: lower examples"
        raise UserError(f"tunings, {tuning}", cell.examples, remedy)
    for row in found:
        text = row["instruction"] + row["input"] + row["output"]
        require_characters(text, f"{file}: pair", row["id"])
    return found


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Split a number by shares, by largest remainder; ties go to the first by name."""
    whole = sum(shares.values())
    exact = {name: total * shares[name] / whole for name in sorted(shares)}
    counts = {name: int(value) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_rest[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def tokenize(tokenizer: Any, template: str, rows: Sequence[Row], length: int) -> Examples:
    """Pairs as ids; those longer than `length` tokens are dropped. UserError when all are."""
    ids: list[Ints] = []
    labels: list[Ints] = []
    for batch in batched(rows, 1_000):
        prompts = [render_prompt(template, row["instruction"], row["input"]) for row in batch]
        responses = responses_ids(tokenizer, [row["output"] for row in batch])
        for prompt, response in zip(prompts_ids(tokenizer, prompts), responses, strict=True):
            if len(prompt) + len(response) <= length:
                ids.append(np.array(prompt + response, np.int32))
                labels.append(np.array([IGNORED] * len(prompt) + response, np.int32))
    if not ids:
        remedy = f"all {len(rows)} pairs are longer: raise it"
        raise UserError("finetune.optimization.sequence_length", length, remedy)
    return Examples(ids, labels, len(rows) - len(ids))


def batched(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Rows in slices of a size, the last with what is left."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def build_trainer(
    job: Job, cell: FinetuneCell, model: Any, tokenizer: Any, parts: Sequence[Examples]
) -> TuningTrainer:
    """TRL's trainer over the packed examples, shuffled by the seed within each part."""
    optimization, runtime = cell.optimization, job.runtime
    # TRL lays a micro-batch end to end, so attention costs its square: on a CPU eight blocks of
    # 256 at once took 2.2 times as long as one by one (1.9 M parameters; GPUs want larger ones).
    micro = 1 if uses_cpu(runtime) else runtime.micro_batch
    batches = cut_batches(optimization, micro, world_size())
    folder = job.work / "checkpoints"
    arguments = SFTConfig(
        **trainer_arguments(optimization, runtime, batches, cell.seed, folder),
        **pass_arguments(cell), max_length=optimization.sequence_length, packing=True,
        packing_strategy="bfd", include_num_input_tokens_seen="all",
    )  # fmt: skip
    disable_progress_bars()
    dataset = as_dataset(parts[0]) if cell.mix.order is None else one_after_another(cell, parts)
    adapter = None
    if cell.lora is not None:
        adapter = peft_config(cell.lora, read_contract(job.parent("checkpoint")), model)
    trainer = TuningTrainer(
        model, arguments, train_dataset=dataset, processing_class=tokenizer, peft_config=adapter,
    )  # fmt: skip
    trainer.fill_steps(batches.blocks)
    head = model.get_output_embeddings()  # adapters were put into this model
    if not hasattr(head, "bias"):
        head.bias = None  # TRL 1.16.0's loss asks for it, peft's adapter of single rows has none
    tokens = cell.epochs * sum(part.tokens() for part in parts)
    trainer.add_callback(checkpoints.Reporter(job, tokens))
    trainer.remove_callback(PrinterCallback)
    return trainer


def check_backend(cell: FinetuneCell, deepspeed: str) -> None:
    """UserError for rows of their own under ZeRO 3: TRL 1.16.0's loss cannot gather them."""
    if cell.lora is not None and cell.lora.trainable_tokens == "new" and zero_stage(deepspeed) == 3:
        remedy = "tuning with lora.trainable_tokens: new does not work with ZeRO 3: set zero2"
        raise UserError("runtime.deepspeed", deepspeed, remedy)


def pass_arguments(cell: FinetuneCell) -> dict[str, Any]:
    """How TRL goes through the data: parts in order are laid out beforehand, epochs and all."""
    if cell.mix.order is None:
        return {"num_train_epochs": cell.epochs, "shuffle_dataset": True}
    return {
        "num_train_epochs": 1, "train_sampling_strategy": "sequential",
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }  # fmt: skip


def as_dataset(examples: Examples) -> Dataset:
    """Examples as TRL takes them."""
    return Dataset.from_dict({"input_ids": examples.ids, "labels": examples.labels})


def one_after_another(cell: FinetuneCell, parts: Sequence[Examples]) -> Dataset:
    """Packed blocks in the order they are trained on: every epoch of a part, then the next's.

    A block holds examples of one part only; TRL shuffles and packs them as it does a lone part.
    """
    length = cell.optimization.sequence_length
    packed = [pack_dataset(as_dataset(part).shuffle(seed=cell.seed), length) for part in parts]
    order: list[int] = []
    for place, blocks in enumerate(packed):
        start = sum(map(len, packed[:place]))
        for epoch in range(cell.epochs):
            shuffled = permutation(len(blocks), f"{cell.seed}:{place}:{epoch}")
            order += (start + shuffled).tolist()
    return concatenate_datasets(packed).select(order)


def train(job: Job, trainer: TuningTrainer) -> tuple[int, float]:
    """Train to the end, from the newest whole checkpoint on; tokens seen before, and seconds."""
    folder = job.work / "checkpoints"
    seen = 0

    def find() -> Path | None:
        nonlocal seen
        found = checkpoints.newest_complete(folder)
        if found is not None:
            seen = int(checkpoints.read_state(found)["num_input_tokens_seen"])
        return found

    seconds, _ = run(trainer, job, find)
    return seen, seconds


def write_outputs(job: Job, cell: FinetuneCell, parts: Sequence[Examples], final: Path) -> None:
    """Write adapter/ or model/, losses.csv and training.json."""
    if cell.lora is not None:
        checkpoints.export_adapter(final, job.out / "adapter")
    else:
        write_model(job.parent("checkpoint") / "model", final, job.out / "model")
    rows = checkpoints.losses(final)
    checkpoints.write_losses(
        job.out / "losses.csv",
        [(int(r["step"]), int(r["num_input_tokens_seen"]), r["loss"]) for r in rows],
    )
    facts = {
        "examples": sum(len(part.ids) for part in parts),
        "dropped": sum(part.dropped for part in parts),
        "tokens": cell.epochs * sum(part.tokens() for part in parts),
        "response_tokens": cell.epochs * sum(part.response_tokens() for part in parts),
        "steps": checkpoints.read_state(final)["global_step"], **row_facts(job, cell),
    }  # fmt: skip
    text = json.dumps(facts, sort_keys=True) + "\n"
    (job.out / "training.json").write_text(text, encoding="utf-8")


def row_facts(job: Job, cell: FinetuneCell) -> dict[str, Any]:
    """`rows` of training.json, and a `note` where there is something to say of them."""
    before = job.parent("checkpoint") / "model"
    adapter, tuned = job.out / "adapter", job.out / "model"
    after = stored_matrices(tuned) if cell.lora is None else merged_matrices(before, adapter)
    rows = count_rows(stored_matrices(before), after, read_contract(before))
    note = explain_rows(rows, promise(cell.lora), job.stage)
    return {"rows": rows} | ({"note": note} if note else {})


def write_model(source: Path, final: Path, target: Path) -> None:
    """Write `model/` of a full tuning: new weights, all else as in the checkpoint tuned."""
    model = load_model(source)  # TRL changed the config of the one it trained
    save_config(model, target)
    for file in weight_files(final):
        checkpoints.link_or_copy(file, target / file.name)
    for file in final.glob("*.safetensors.index.json"):
        checkpoints.link_or_copy(file, target / file.name)
    copy_vocabulary(source, target, model.config.vocab_size)
