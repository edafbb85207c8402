"""The vocabulary contract: what every stage that touches ids or embedding rows may rely on.

`vocabulary.json` lies in each vocabulary folder and beside the weights of each checkpoint. The
classic failures of extended models (49,953 or 55,296 pieces against 32,000 rows) are caught here,
before weights are loaded, with the stage at fault named.

The special ids of a model's config.json must be the tokenizer's. Where published files differ,
`adopt_model` corrects what decides no result: padding, which is masked everywhere (though a wrong
id crashes, or keeps a real token's row from training), and the beginning of a text, which is what
the tokenizer puts there. Another end of text is an error: only who trained the model knows which
of the two it learnt, and its answers would never end, or end early.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from langtransfer.config.base import Model
from langtransfer.errors import UserError
from langtransfer.provenance import sha256_file
from langtransfer.vocabulary.conversion import (
    AS_PIECES,
    CONTROL,
    UNKNOWN,
    inexact,
    read_proto,
    save_pieces,
    save_tokenizer,
    special_ids,
    write_json,
)

CONTRACT = "vocabulary.json"
SPM = "tokenizer.spm"
TOKENIZER = "tokenizer.json"
# What a model was trained with, and what it generates with unless told otherwise.
MODEL_CONFIGS = ("config.json", "generation_config.json")
# In the order they are listed in docs/pipeline.md; a chat template belongs to ids as well.
FILES = (
    SPM,
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


class VocabularyContract(Model):
    """Content of `vocabulary.json`; ids are None where the vocabulary has no such token."""

    size: int = Field(gt=0)
    """Ids in use: 0 .. size - 1."""
    embedding_rows: int = Field(gt=0)
    """Rows of the embedding matrices of a model that uses it; size, or padded beyond it."""
    unk: int | None
    bos: int | None
    eos: int | None
    pad: int | None
    """Id that fills batches, always masked."""
    special_tokens: dict[str, int]
    """Every token that text never becomes -> its id: the above, chat markers, reserved ones."""
    base_size: int | None = None
    """Ids of the vocabulary this one extends, which come first; None where it extends none."""
    sha256: dict[str, str]
    """File of the folder -> hash of its bytes."""

    @property
    def identity(self) -> str:
        """Hash of the file that decides the ids: two vocabularies with the same are the same."""
        return self.sha256.get(TOKENIZER) or self.sha256[SPM]


def vocabulary_folder(folder: Path) -> Path:
    """Where the vocabulary's files lie: the folder itself, or the checkpoint's `model/` in it."""
    for candidate in (folder, folder / "model"):
        if (candidate / CONTRACT).is_file():
            return candidate
    raise UserError(CONTRACT, str(folder), "no vocabulary contract here: give a vocabulary folder")


def read_contract(folder: Path) -> VocabularyContract:
    """The contract of a vocabulary, `model/` or checkpoint folder; UserError when unreadable."""
    path = vocabulary_folder(folder) / CONTRACT
    try:
        return VocabularyContract.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"]) or "JSON"
        remedy = f"{what}: {first['msg']}; the stage that made this folder must run again"
        raise UserError(CONTRACT, str(path), remedy) from error


def write_contract(
    folder: Path, embedding_rows: int | None = None, base_size: int | None = None
) -> VocabularyContract:
    """Describe the vocabulary files of a folder; rows are the size unless given.

    Ids come from tokenizer.json (any Hugging Face tokenizer), else from tokenizer.spm.
    """
    facts = _facts_of_tokenizer(folder) if (folder / TOKENIZER).is_file() else _facts_of_spm(folder)
    contract = VocabularyContract(
        **facts,
        embedding_rows=embedding_rows or facts["size"],
        base_size=base_size,
        sha256={n: sha256_file(folder / n) for n in FILES if (folder / n).is_file()},
    )
    write_json(folder / CONTRACT, contract.model_dump(mode="json"))
    return contract


def write_vocabulary(
    proto: Any, folder: Path, embedding_rows: int | None = None, base_size: int | None = None
) -> VocabularyContract:
    """A whole vocabulary folder from a SentencePiece ModelProto.

    Raises UserError for a BPE model without an exact Hugging Face form; a unigram model gets a
    folder without tokenizer.json, good for its pieces only.
    """
    save_tokenizer(proto, folder)
    return write_contract(folder, embedding_rows, base_size)


def write_pieces(proto: Any, folder: Path) -> VocabularyContract:
    """A vocabulary folder good for its pieces only, from any SentencePiece ModelProto."""
    save_pieces(proto, folder)
    return write_contract(folder)


def copy_vocabulary(source: Path, target: Path, embedding_rows: int) -> VocabularyContract:
    """Put a vocabulary beside weights that have so many embedding rows."""
    contract = read_contract(source).model_copy(update={"embedding_rows": embedding_rows})
    target.mkdir(parents=True, exist_ok=True)
    for name in contract.sha256:
        shutil.copyfile(vocabulary_folder(source) / name, target / name)
    write_json(target / CONTRACT, contract.model_dump(mode="json"))
    return contract


def check_contract(folder: Path, stage: str) -> VocabularyContract:
    """The contract of a folder the stage is about to use, after checking files against it.

    Raises UserError, naming the stage, for a file that is missing or changed, for a folder that
    holds pieces only, for a tokenizer of another size, and for a config.json with other rows or
    special ids.
    """
    contract, folder = read_contract(folder), vocabulary_folder(folder)
    for name, expected in contract.sha256.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != expected:
            what = "changed since" if path.is_file() else "missing though"
            remedy = f"{what} the contract was written: {stage} needs the stage before it run again"
            raise UserError("vocabulary file", str(path), remedy)
    if TOKENIZER not in contract.sha256:
        problem = inexact(read_proto(folder / SPM))
        remedy = (
            f"{stage} needs a tokenizer, but this one gives pieces only ({problem}); {AS_PIECES}"
        )
        raise UserError("vocabulary", str(folder), remedy)
    _check_size(contract, folder, stage)
    _check_special_ids(contract, folder, stage)
    return contract


def check_model_fits(contract: VocabularyContract, embedding_rows: int, where: str) -> None:
    """UserError unless a model has exactly the embedding rows its vocabulary's contract states.

    where names the stage or folder the model comes from.
    """
    late = [token for token, i in contract.special_tokens.items() if i >= embedding_rows]
    if 0 < contract.size - embedding_rows == len(late):
        remedy = (
            f"the vocabulary has {contract.size:,} pieces, of which {', '.join(late)} were added "
            f"to the tokenizer after these weights were made: take the tokenizer {where} was "
            "trained with; vocabularies.<name>.special_tokens adds such tokens with their rows"
        )
    elif embedding_rows < contract.size:
        remedy = (
            f"the vocabulary has {contract.size:,} pieces: the model at fault comes from {where}; "
            "give it its own tokenizer, or let it pass extend_embeddings with this one first"
        )
    elif embedding_rows != contract.embedding_rows:
        remedy = (
            f"the contract states {contract.embedding_rows:,}: the model from {where} was made "
            "for another vocabulary; use the one beside its weights"
        )
    else:
        return
    raise UserError(f"embedding rows ({where})", embedding_rows, remedy)


def corrected_ids(contract: VocabularyContract, settings: Mapping[str, Any]) -> dict[str, int]:
    """Padding and beginning of text where a model's settings differ: field -> tokenizer's id."""
    ids = {"bos_token_id": contract.bos, "pad_token_id": contract.pad}
    return {
        field: value
        for field, value in ids.items()
        if value is not None and settings.get(field) not in (None, value)
    }


def require_end(contract: VocabularyContract, settings: Mapping[str, Any], name: str) -> None:
    """UserError when a model's settings end a text otherwise than its tokenizer.

    Settings may name several ends, of a text and of a turn: the tokenizer's must be among them.
    """
    found = settings.get("eos_token_id")
    ends = found if isinstance(found, list) else [found]
    if contract.eos is not None and found is not None and contract.eos not in ends:
        remedy = (
            f"the tokenizer beside it ends a text with {contract.eos}: make them agree, in {name} "
            "or in the tokenizer's files, as who trained the model says"
        )
        raise UserError(f"{name}: eos_token_id", found, remedy)


def model_settings(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of the config files of a `model/` folder, none in a vocabulary folder."""
    for name in MODEL_CONFIGS:
        if (folder / name).is_file():
            yield name, json.loads((folder / name).read_text(encoding="utf-8"))


def round_up(value: int, multiple: int) -> int:
    """The next multiple at or above a value."""
    return -(-value // multiple) * multiple


def _check_size(contract: VocabularyContract, folder: Path, stage: str) -> None:
    """Contract against tokenizer.json and, in a checkpoint, config.json."""
    size = _facts_of_tokenizer(folder)["size"]
    if size != contract.size:
        remedy = f"the tokenizer beside it has {size:,} ids: run the stage before {stage} again"
        raise UserError(f"{CONTRACT}: size", contract.size, remedy)
    for name, settings in model_settings(folder):
        if name == "config.json":
            check_model_fits(contract, int(settings["vocab_size"]), str(folder))


def _check_special_ids(contract: VocabularyContract, folder: Path, stage: str) -> None:
    """Special ids in a checkpoint's config files against the tokenizer's."""
    for name, settings in model_settings(folder):
        require_end(contract, settings, name)
        for field, expected in corrected_ids(contract, settings).items():
            remedy = f"the tokenizer beside it has {expected}: {stage} needs them equal; set it so"
            raise UserError(f"{name}: {field}", settings[field], remedy)


def _facts_of_tokenizer(folder: Path) -> dict[str, Any]:
    """Size and special ids as Hugging Face sees them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("unk", "bos", "eos", "pad")}
    added = tokenizer.added_tokens_decoder.items()
    special = {str(token): i for i, token in added if token.special}
    return {"size": max(tokenizer.get_vocab().values()) + 1, **ids, "special_tokens": special}


def _facts_of_spm(folder: Path) -> dict[str, Any]:
    proto = read_proto(folder / SPM)
    special = {p.piece: i for i, p in enumerate(proto.pieces) if p.type in (UNKNOWN, CONTROL)}
    return {"size": len(proto.pieces), **special_ids(proto), "special_tokens": special}
