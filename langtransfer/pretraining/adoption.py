"""Checkpoints and vocabularies made elsewhere, as this project's folders.

Nothing is loaded that could run code: see published_weights.py. LoRA releases and additive patches
are merged into the checkpoint they change: see merging.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING

from langtransfer.config.corpus import DatasetIdentity
from langtransfer.config.training import AdoptModelCell
from langtransfer.corpus.registry import fetch, load_registry
from langtransfer.errors import UserError
from langtransfer.job import Job, write_atomically
from langtransfer.pretraining.adopted_tokenizer import Files, has_tokenizer, write_tokenizer
from langtransfer.pretraining.checkpoints import link_or_copy
from langtransfer.pretraining.llama2c import read_model, read_tokenizer
from langtransfer.pretraining.merging import merge
from langtransfer.pretraining.models import embedding_rows, save_config, weight_files
from langtransfer.pretraining.published_weights import (
    PICKLES,
    REFUSED,
    check_shards,
    convert_binaries,
    has_safetensors,
    open_shard,
    read_settings,
)
from langtransfer.resources import locate
from langtransfer.vocabulary.contract import (
    VocabularyContract,
    check_model_fits,
    copy_vocabulary,
    corrected_ids,
    model_settings,
    read_contract,
    require_end,
    write_pieces,
    write_vocabulary,
)
from langtransfer.vocabulary.conversion import inexact, read_proto

# Rows beyond the vocabulary that may be padding to a round number; more belong to pieces of
# another one (our choice: extensions add thousands, and a third of the vocabulary or more).
PADDING_ROWS, PADDING_SHARE = 1024, 0.05


def adopt_model(job: Job) -> dict[str, Any]:
    """Fetch, verify and convert the files of a registry row; volatile facts.

    Raises UserError for files that are missing, broken, pickled, or do not belong together.
    """
    cell = job.config(AdoptModelCell)
    files = {Path(name).name: path for name, path in local_files(job, cell).items()}
    adopters = {
        "huggingface": adopt_huggingface, "llama2c": adopt_llama2c,
        "sentencepiece": adopt_sentencepiece, "lora": adopt_merged, "delta": adopt_merged,
    }  # fmt: skip
    facts = adopters[cell.format](files, job)
    adoption = {"format": cell.format, "files": dict(sorted(cell.files.items())), **facts}
    text = json.dumps(adoption, sort_keys=True, ensure_ascii=False) + "\n"
    (job.out / "adoption.json").write_text(text, encoding="utf-8")
    return {}


def local_files(job: Job, cell: AdoptModelCell) -> dict[str, Path]:
    """The row's files on this machine, verified against the recipe's checksums."""
    key = job.cell.split("/", 1)[1]
    registry = locate(job.runtime.registry)
    languages = sorted(language for name, language in load_registry(registry).rows if name == key)
    if len(languages) != 1:
        remedy = f"has {len(languages)} rows in {registry}: a model has one, language *"
        raise UserError("adopt", key, remedy)
    source = DatasetIdentity(key=key, revision=cell.revision, files=cell.files)
    return fetch(registry, source, languages[0], job.work)


def adopt_sentencepiece(files: Files, job: Job) -> dict[str, Any]:
    """A vocabulary folder from a SentencePiece model.

    One without an exact Hugging Face form (unigram, tied scores, its own normalisation) is kept
    for its pieces, which extend a base as well as any; stages that need a tokenizer refuse it.
    """
    proto = read_proto(only(files, "*.model", "SentencePiece model"))
    if (problem := inexact(proto)) is None:
        return {"size": write_vocabulary(proto, job.out).size}
    return {"size": write_pieces(proto, job.out).size, "pieces_only": problem}


def adopt_llama2c(files: Files, job: Job) -> dict[str, Any]:
    """A checkpoint folder from llama2.c's legacy checkpoint and `tokenizer.bin`."""
    weights = {name: path for name, path in files.items() if "tokenizer" not in name}
    model = read_model(only(weights, "*.bin", "llama2.c checkpoint"))
    rows = model.config.vocab_size
    proto = read_tokenizer(only(files, "*tokenizer*.bin", "llama2.c tokenizer"), rows)
    target = job.out / "model"
    save_config(model, target)
    model.save_pretrained(target)
    contract = write_vocabulary(proto, target, rows)
    return {"size": contract.size, "embedding_rows": rows, "parameters": model.num_parameters()}


def adopt_huggingface(files: Files, job: Job) -> dict[str, Any]:
    """A checkpoint folder from a Hugging Face one: safetensors, with an exact tokenizer.

    Where SentencePiece's tokenizer.model is among the files the tokenizer is rebuilt from it
    (transformers' own conversion is not exact); else tokenizer.json is taken as it is.
    """
    target = job.out / "model"
    target.mkdir()
    refuse_pickles(files)
    check_shards(files)
    for name, path in sorted(files.items()):
        if name.endswith((".safetensors", ".safetensors.index.json")) or name in (
            "config.json", "generation_config.json",
        ):  # fmt: skip
            # What was downloaded into work/ is ours; a local file stays its owner's.
            (link_or_copy if job.work in path.parents else shutil.copyfile)(path, target / name)
    if not has_safetensors(files):
        convert_binaries(files, target)
    return finish(files, target, job)


def adopt_merged(files: Files, job: Job) -> dict[str, Any]:
    """A checkpoint folder from a LoRA release or an additive patch, and the base it changes.

    The vocabulary is the release's own where it has one, else the base's.
    """
    target = job.out / "model"
    target.mkdir()
    merge(job, files, job.config(AdoptModelCell).format, target)
    return finish(files, target, job)


def finish(files: Files, target: Path, job: Job) -> dict[str, Any]:
    """Put the vocabulary beside the weights and check that all belongs together; the facts."""
    for file in weight_files(target):
        open_shard(file)
    rows = embedding_rows(target)
    check_config(target / "config.json", rows)
    rescored = 0
    if has_tokenizer(files) or "base" not in job.parents:
        contract, rescored = write_tokenizer(files, target, rows)
    else:
        check_model_fits(read_contract(job.parent("base")), rows, job.cell)
        contract = copy_vocabulary(job.parent("base"), target, rows)
    check_model_fits(contract, rows, job.cell)
    check_padding(contract, rows, job.cell)
    corrected = correct_ids(contract, target)
    facts: dict[str, Any] = {
        "size": contract.size, "embedding_rows": rows, "parameters": count_parameters(target),
    }  # fmt: skip
    facts |= {"corrected": corrected} if corrected else {}
    return facts | ({"rescored": rescored} if rescored else {})


def refuse_pickles(files: Files) -> None:
    """UserError for weights that only a pickle holds."""
    pickles = sorted(name for name in files if Path(name).suffix in PICKLES)
    if pickles and not any(name.endswith((".safetensors", ".bin")) for name in files):
        raise UserError("weights", pickles[0], REFUSED)


def check_config(file: Path, rows: int) -> None:
    """UserError for an architecture transformers does not have, or another number of rows."""
    settings = read_settings(file)
    kind = settings.get("model_type")
    if kind not in CONFIG_MAPPING:
        remedy = "needs code of its own, which is never run: use an architecture transformers has"
        raise UserError("config.json: model_type", kind, remedy)
    if settings.get("vocab_size") != rows:
        remedy = f"the weights have {rows} embedding rows: these files do not belong together"
        raise UserError("config.json: vocab_size", settings.get("vocab_size"), remedy)


def check_padding(contract: VocabularyContract, rows: int, where: str) -> None:
    """UserError for more rows beyond the vocabulary than padding explains."""
    spare = rows - contract.size
    if spare > max(PADDING_ROWS, contract.size * PADDING_SHARE):
        remedy = (
            f"the tokenizer has {contract.size:,} pieces, {spare:,} fewer: these weights were "
            f"made for an extended vocabulary; give {where} the tokenizer they were trained with"
        )
        raise UserError(f"embedding rows ({where})", rows, remedy)


def correct_ids(contract: VocabularyContract, target: Path) -> dict[str, dict[str, list[Any]]]:
    """Give config files the tokenizer's padding and beginning of text; file -> field -> both.

    Raises UserError where they end a text otherwise; see contract.py for why.
    """
    corrected = {}
    for name, settings in model_settings(target):
        require_end(contract, settings, name)
        if ids := corrected_ids(contract, settings):
            corrected[name] = {field: [settings[field], value] for field, value in ids.items()}
            text = json.dumps(settings | ids, indent=2, ensure_ascii=False)
            # A new file: the one there may be a link to what was fetched.
            write_atomically(target / name, f"{text}\n")
    return corrected


def count_parameters(folder: Path) -> int:
    """Numbers in all tensors, from the headers."""
    total = 0
    for file in weight_files(folder):
        with open_shard(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118  # safe_open is no mapping
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                total += size
    return total


def only(files: Files, pattern: str, what: str) -> Path:
    """The one file a pattern fits; UserError when there is none or more than one."""
    found = sorted(name for name in files if Path(name).match(pattern))
    if len(found) != 1:
        raise UserError(what, found or sorted(files), f"give exactly one file like {pattern}")
    return files[found[0]]
