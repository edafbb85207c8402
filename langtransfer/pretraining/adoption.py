"""Checkpoints and vocabularies made elsewhere, as this project's folders.

Weights come as safetensors only: a pickle could run code. Nothing is loaded that would.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING

from langtransfer.config.corpus import DatasetIdentity
from langtransfer.config.training import AdoptModelCell
from langtransfer.corpus.registry import fetch, load_registry
from langtransfer.errors import UserError
from langtransfer.job import Job, write_atomically
from langtransfer.pretraining.checkpoints import link_or_copy
from langtransfer.pretraining.llama2c import read_model, read_tokenizer
from langtransfer.pretraining.models import embedding_rows, save_config, weight_files
from langtransfer.resources import locate
from langtransfer.vocabulary.contract import (
    VocabularyContract,
    check_model_fits,
    corrected_ids,
    model_settings,
    require_end,
    write_contract,
    write_pieces,
    write_vocabulary,
)
from langtransfer.vocabulary.conversion import (
    AS_PIECES,
    control_pieces,
    inexact,
    read_proto,
    special_ids,
)
from langtransfer.vocabulary.special import append_control

PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",
)  # fmt: skip
# Kinds of tokenizer.json that give text back; WordPiece and WordLevel lose what they do not know.
LOSSLESS = ("BPE", "Unigram")
# Rows beyond the vocabulary that may be padding to a round number; more belong to pieces of
# another one (our choice: extensions add thousands, and a third of the vocabulary or more).
PADDING_ROWS, PADDING_SHARE = 1024, 0.05
# Releases that are no checkpoint by themselves, and what to do with them.
UNMERGED = {
    "lora": "a LoRA release: merge it into its base (peft, merge_and_unload), save as safetensors",
    "delta": "an additive patch: add it to its base's weights, save as safetensors",
}
Files = Mapping[str, Path]


def adopt_model(job: Job) -> dict[str, Any]:
    """Fetch, verify and convert the files of a registry row; volatile facts.

    Raises UserError for files that are missing, broken, pickled, or do not belong together.
    """
    cell = job.config(AdoptModelCell)
    if cell.format in UNMERGED:
        raise UserError("adopt", job.cell, f"is {UNMERGED[cell.format]}, and adopt that folder")
    files = {Path(name).name: path for name, path in local_files(job, cell).items()}
    adopters = {
        "huggingface": adopt_huggingface, "llama2c": adopt_llama2c,
        "sentencepiece": adopt_sentencepiece,
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
    for name, path in sorted(files.items()):
        if name.endswith((".safetensors", ".safetensors.index.json")) or name in (
            "config.json", "generation_config.json",
        ):  # fmt: skip
            # What was downloaded into work/ is ours; a local file stays its owner's.
            (link_or_copy if job.work in path.parents else shutil.copyfile)(path, target / name)
    check_weights(target)
    rows = embedding_rows(target)
    check_config(target / "config.json", rows)
    contract = write_tokenizer(files, target, rows)
    check_model_fits(contract, rows, job.cell)
    check_padding(contract, rows, job.cell)
    corrected = correct_ids(contract, target)
    facts = {
        "size": contract.size, "embedding_rows": rows, "parameters": count_parameters(target),
    }  # fmt: skip
    return facts | ({"corrected": corrected} if corrected else {})


def refuse_pickles(files: Files) -> None:
    """UserError for weights that only a pickle holds."""
    pickles = sorted(name for name in files if Path(name).suffix in PICKLES)
    if pickles and not any(name.endswith(".safetensors") for name in files):
        remedy = (
            "is a pickle, which can run code when loaded: convert it where you trust it "
            "(load with weights_only=True, then save_pretrained) and register the *.safetensors"
        )
        raise UserError("weights", pickles[0], remedy)


def check_weights(folder: Path) -> None:
    """UserError unless every shard is there and whole."""
    for file in weight_files(folder):
        open_shard(file)
    for index in folder.glob("*.safetensors.index.json"):
        shards = set(read_settings(index).get("weight_map", {}).values())
        if missing := sorted(name for name in shards if not (folder / name).is_file()):
            raise UserError("weights", missing[0], f"is in {index.name} but not among the files")


def open_shard(file: Path) -> Any:
    """A safetensors file, opened; UserError when it is not whole."""
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        remedy = f"truncated or corrupt ({error}): fetch it again"
        raise UserError("weights", str(file), remedy) from error


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


def write_tokenizer(files: Files, target: Path, rows: int) -> VocabularyContract:
    """Put the vocabulary beside the weights; its contract."""
    if "tokenizer.model" in files:
        proto = with_added_tokens(read_proto(files["tokenizer.model"]), files)
        if (problem := inexact(proto)) is not None:
            remedy = f"has no exact Hugging Face form; {AS_PIECES}"
            raise UserError("tokenizer.model", problem, remedy)
        return write_vocabulary(proto, target, rows)
    if "tokenizer.json" not in files:
        raise UserError("tokenizer", sorted(files), "neither tokenizer.model nor tokenizer.json")
    check_kind(files["tokenizer.json"])
    for name in TOKENIZER_FILES:
        if name in files:
            if name.endswith(".json"):
                read_settings(files[name])
            shutil.copyfile(files[name], target / name)
    return write_contract(target, rows)


def with_added_tokens(proto: Any, files: Files) -> Any:
    """The model with the tokens that files beside it add, and named as they name them.

    They become control pieces: text never becomes one, whatever their own flags say (our choice:
    a corpus that spells one out must not be able to end a text). Raises UserError when their ids
    are not the ones after the last piece, or their text is a piece.
    """
    size = len(proto.pieces)
    added = {i: token for i, token in sorted(added_tokens(files).items()) if i >= size}
    pieces = {p.piece for p in proto.pieces}
    if list(added) != list(range(size, size + len(added))) or pieces & {*added.values()}:
        remedy = (
            f"must be new and follow the {size:,} pieces of tokenizer.model: files do not match"
        )
        raise UserError("added tokens", added, remedy)
    longer = append_control(proto, list(added.values()), {})
    return append_control(longer, [], special_names(longer, files))


def added_tokens(files: Files) -> dict[int, str]:
    """Id -> token of added_tokens.json and tokenizer_config.json, where there are such files."""
    listed = settings_of(files, "added_tokens.json")
    decoder = settings_of(files, "tokenizer_config.json").get("added_tokens_decoder") or {}
    try:
        return {int(i): token for token, i in listed.items()} | {
            int(i): str(token["content"]) for i, token in decoder.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        remedy = (
            "not a table of tokens and ids: fetch added_tokens.json, tokenizer_config.json again"
        )
        raise UserError("added tokens", listed or decoder, remedy) from error


def special_names(proto: Any, files: Files) -> dict[str, str]:
    """Which control pieces tokenizer_config.json names bos, eos and pad.

    A padding that is another special token too is left out: see `special_tokens`.
    """
    settings = settings_of(files, "tokenizer_config.json")
    control = control_pieces(proto)
    named = {name: token_content(settings.get(f"{name}_token")) for name in ("bos", "eos", "pad")}
    own = {n: None if i is None else proto.pieces[i].piece for n, i in special_ids(proto).items()}
    if named["pad"] in (named["bos"], named["eos"], own["bos"], own["eos"]):
        named["pad"] = None
    return {n: t for n, t in named.items() if t is not None and t in control and t != own[n]}


def token_content(token: Any) -> str | None:
    """A token's text, given plainly or as an object with flags."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def check_kind(file: Path) -> None:
    """UserError for a tokenizer.json that cannot be read, or of a kind that loses text."""
    read_settings(file)
    try:
        kind = type(Tokenizer.from_file(str(file)).model).__name__
    except Exception as error:  # tokenizers raises nothing narrower
        remedy = f"not a tokenizer ({error}): fetch it again"
        raise UserError("tokenizer.json", str(file), remedy) from error
    if kind not in LOSSLESS:
        remedy = f"text does not come back from it: a causal model has {' or '.join(LOSSLESS)}"
        raise UserError("tokenizer.json: model type", kind, remedy)


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


def read_settings(file: Path) -> dict[str, Any]:
    """A JSON object; UserError when it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError("file", str(file), f"not JSON ({error}): fetch it again") from error
    if not isinstance(content, dict):
        raise UserError("file", str(file), "not a JSON object: fetch it again")
    return content


def settings_of(files: Files, name: str) -> dict[str, Any]:
    """The JSON object of a file, empty where there is no such file."""
    return read_settings(files[name]) if name in files else {}


def only(files: Files, pattern: str, what: str) -> Path:
    """The one file a pattern fits; UserError when there is none or more than one."""
    found = sorted(name for name in files if Path(name).match(pattern))
    if len(found) != 1:
        raise UserError(what, found or sorted(files), f"give exactly one file like {pattern}")
    return files[found[0]]
