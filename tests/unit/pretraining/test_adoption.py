"""Checkpoints made elsewhere: llama2.c's, Hugging Face's, SentencePiece models; and bad ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from transformers import LlamaConfig, LlamaForCausalLM

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining.llama2c import Header, halve_pairs, read_model
from langtransfer.pretraining.models import load_checkpoint
from langtransfer.vocabulary.contract import check_contract, read_contract, write_vocabulary
from langtransfer.vocabulary.conversion import load_processor, read_proto
from langtransfer.vocabulary.extension import extend
from tests.unit.pretraining.tiny_study import digests, make_job

Adopt = Callable[..., Job]
LILY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high"
)


@pytest.fixture
def adopt(tmp_path: Path) -> Adopt:
    """Adopts the files of a folder, registered as they are; the job."""
    from scripts.adopt_model import run

    def call(source: Path, form: str, name: str = "adopted") -> Job:
        files = {
            path.relative_to(source).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(source.rglob("*")) if path.is_file()
        }  # fmt: skip
        cell = ";".join(f"{file}={digest}" for file, digest in files.items())
        registry = tmp_path / "datasets.csv"
        registry.write_text(
            f"key,language,kind,location,revision,files\n{name},*,file,{source},,{cell};\n"
        )
        settings = {"format": form, "files": files}
        job = make_job(tmp_path / name, f"adopt_model/{name}", settings, {}, registry=str(registry))
        run(job)
        return job

    return call


@pytest.fixture
def stories(shared_data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "stories260K"
    shutil.copytree(shared_data / "checkpoints" / "stories260K", folder)
    return folder


def test_stories260k_tells_its_story(adopt: Adopt, stories: Path) -> None:
    job = adopt(stories, "llama2c")
    model, tokenizer = load_checkpoint(job.out, None, torch.float32, "cpu")
    begin = torch.tensor([[tokenizer.bos_token_id]])
    ids = model.generate(
        begin, attention_mask=torch.ones_like(begin), max_new_tokens=60, do_sample=False
    )
    # Source of the text: llama2.c/doc/stories260K.md.
    assert tokenizer.decode(ids[0], skip_special_tokens=True).startswith(LILY)
    facts = json.loads((job.out / "adoption.json").read_text())
    assert (facts["size"], facts["embedding_rows"], facts["parameters"]) == (512, 512, 260_032)
    assert digests(job.out) == digests(adopt(stories, "llama2c").out)


@pytest.mark.parametrize(
    ("file", "cut", "message"),
    [
        ("checkpoint_legacy.bin", 1000, "its header asks for"),
        ("checkpoint_legacy.bin", 20, "shorter than its header"),
        ("tokenizer.bin", 1000, "truncated or not llama2.c's"),
    ],
)
def test_truncated_llama2c(adopt: Adopt, stories: Path, file: str, cut: int, message: str) -> None:
    (stories / file).write_bytes((stories / file).read_bytes()[:cut])
    with pytest.raises(UserError, match=message):
        adopt(stories, "llama2c")


def test_tokenizer_of_another_model(adopt: Adopt, stories: Path) -> None:
    path = stories / "tokenizer.bin"
    path.write_bytes(path.read_bytes() + struct.pack("<fi1s", -1.0, 1, b"x"))
    with pytest.raises(UserError, match="holds 513 pieces, the checkpoint has 512 rows"):
        adopt(stories, "llama2c")


def test_other_llama2c_layouts(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<7i", 0x616B3432, 1, 64, 172, 5, 8, 4))
    with pytest.raises(UserError, match="versioned export"):
        read_model(path)
    path.write_bytes(struct.pack("<7i", 64, 172, 5, 7, 4, 512, 512))
    with pytest.raises(UserError, match=r"no llama2\.c header"):
        read_model(path)


def test_untied_head_is_read(tmp_path: Path) -> None:
    header = Header(8, 12, 1, 2, 2, -20, 16)
    sizes = {name: int(np.prod(shape)) for name, shape in header.shapes().items()}
    values = np.random.default_rng(0).normal(size=sum(sizes.values())).astype("<f4")
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<7i", *header) + values.tobytes())
    model = read_model(path)
    assert not model.config.tie_word_embeddings
    np.testing.assert_array_equal(
        model.lm_head.weight.detach().numpy(), values[-160:].reshape(20, 8)
    )


def test_rotary_order() -> None:
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert halve_pairs(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def checkpoint(base: Path, vocabulary: Path, folder: Path) -> Path:
    """A Hugging Face folder as others publish them."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(base / "model" / name, folder / name)
    shutil.copyfile(vocabulary / "tokenizer.spm", folder / "tokenizer.model")
    return folder


def test_huggingface_with_sentencepiece(
    adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path
) -> None:
    job = adopt(checkpoint(base, vocabulary, tmp_path / "hf"), "huggingface")
    ours = digests(base / "model")
    ours.pop("generation_config.json")
    assert digests(job.out / "model") == ours


def test_huggingface_with_tokenizer_json(
    adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path
) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    (folder / "tokenizer.model").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(vocabulary / name, folder / name)
    job = adopt(folder, "huggingface")
    assert read_contract(job.out / "model").size == 310
    _, tokenizer = load_checkpoint(job.out, None, torch.float32, "cpu")
    assert tokenizer("the cat")["input_ids"][0] == tokenizer.bos_token_id


def test_other_pickles_are_not_opened(
    adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path
) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    (folder / "model.safetensors").rename(folder / "model.pth")
    with pytest.raises(UserError, match=r"model.pth': is a pickle.*save_pretrained"):
        adopt(folder, "huggingface")


def test_truncated_shard(adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(UserError, match="truncated or corrupt"):
        adopt(folder, "huggingface")


def test_missing_shard(adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"is in model\.safetensors\.index\.json but not among"):
        adopt(folder, "huggingface")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 400}, "config.json: vocab_size: 400: the weights have 310"),
        ({"model_type": "mystery"}, "'mystery': needs code of its own, which is never run"),
    ],
)
def test_config_that_does_not_fit(
    adopt: Adopt, base: Path, vocabulary: Path, tmp_path: Path, change: dict[str, object],
    message: str,
) -> None:  # fmt: skip
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message):
        adopt(folder, "huggingface")


def test_vocabulary_larger_than_the_model(
    adopt: Adopt, base: Path, shared_data: Path, vocabulary: Path, tmp_path: Path
) -> None:
    folder = checkpoint(base, vocabulary, tmp_path / "hf")
    llama = shared_data / "tokenizers" / "llama" / "tokenizer.model"
    shutil.copyfile(llama, folder / "tokenizer.model")
    with pytest.raises(UserError, match=r"310: the vocabulary has 32,000 pieces"):
        adopt(folder, "huggingface")


def test_sentencepiece_model(adopt: Adopt, vocabulary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copyfile(vocabulary / "tokenizer.spm", folder / "tokenizer.model")
    job = adopt(folder, "sentencepiece")
    found = digests(job.out)
    found.pop("adoption.json")
    assert found == digests(vocabulary)


def test_registry_of_the_repository_is_found_from_any_folder(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.adopt_model import run

    monkeypatch.chdir(tmp_path)
    source = shared_data / "tokenizers" / "llama" / "tokenizer.model"
    files = {"tokenizer.model": hashlib.sha256(source.read_bytes()).hexdigest()}
    settings = {"format": "sentencepiece", "files": files}
    job = make_job(
        tmp_path / "job", "adopt_model/llama-tokenizer", settings, {},
        registry="tests/configs/real-datasets.csv",
    )  # fmt: skip
    run(job)
    assert read_contract(job.out).size == 32_000


def test_no_such_row(adopt: Adopt, vocabulary: Path, tmp_path: Path) -> None:
    from scripts.adopt_model import run

    job = adopt(vocabulary_folder(vocabulary, tmp_path), "sentencepiece")
    other = make_job(
        tmp_path / "other", "adopt_model/other", dict(job.settings), {},
        registry=job.runtime.registry,
    )  # fmt: skip
    with pytest.raises(UserError, match="adopt: 'other': has 0 rows"):
        run(other)


def vocabulary_folder(vocabulary: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copyfile(vocabulary / "tokenizer.spm", folder / "tokenizer.model")
    return folder


# -- published vocabularies -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def published(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chinese-LLaMA's tokenizer.model: LLaMA's pieces, then the Chinese ones it lacks at score 0.

    upstream: Chinese-LLaMA-Alpaca, scripts/merge_tokenizer; Chinese-LLaMA-2's is made alike.
    """
    tokenizers = shared_data / "tokenizers"
    proto = read_proto(tokenizers / "llama" / "tokenizer.model")
    own = {piece.piece for piece in proto.pieces}
    for piece in read_proto(tokenizers / "chinese-llama-alpaca" / "chinese_sp.model").pieces:
        if piece.piece not in own:
            proto.pieces.add(piece=piece.piece, score=0)
    file = tmp_path_factory.mktemp("published") / "tokenizer.model"
    file.write_bytes(proto.SerializeToString())
    return file


def release(folder: Path, rows: int, tokenizer: Path, **settings: object) -> Path:
    """A Hugging Face folder as others publish them: a tiny LLaMA with so many embedding rows."""
    config = LlamaConfig(
        vocab_size=rows, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    rewrite(folder / "config.json", settings)
    shutil.copyfile(tokenizer, folder / "tokenizer.model")
    return folder


def rewrite(file: Path, settings: Mapping[str, object]) -> None:
    """Change some fields of a JSON file, made where there is none."""
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | dict(settings)))


def alone(file: Path, folder: Path) -> Path:
    """A folder with this file in it."""
    folder.mkdir()
    shutil.copyfile(file, folder / "tokenizer.model")
    return folder


def test_pieces_with_tied_scores_extend_a_base(
    adopt: Adopt, published: Path, shared_data: Path, tmp_path: Path
) -> None:
    """Same pieces under the same ids as published, with scores that have an exact form."""
    from scripts.extend_vocabulary import run

    pieces = adopt(alone(published, tmp_path / "release"), "sentencepiece")
    assert sorted(path.name for path in pieces.out.iterdir()) == [
        "adoption.json", "tokenizer.spm", "vocabulary.json",
    ]  # fmt: skip
    facts = json.loads((pieces.out / "adoption.json").read_text())
    assert (facts["size"], facts["pieces_only"][:24]) == (49_953, "pieces with equal scores")
    base = tmp_path / "llama"
    write_vocabulary(read_proto(shared_data / "tokenizers" / "llama" / "tokenizer.model"), base)
    job = make_job(
        tmp_path / "extended", "extend_vocabulary/zh/published",
        {"pieces": "all", "languages": ["zh"]}, {"base": base, "pieces": pieces.out},
    )  # fmt: skip
    run(job)
    contract = check_contract(job.out, "test")
    assert (contract.size, contract.base_size) == (49_953, 32_000)
    extended, original = read_proto(job.out / "tokenizer.spm"), read_proto(published)
    assert [p.piece for p in extended.pieces] == [p.piece for p in original.pieces]
    scores = [p.score for p in extended.pieces[32_000:]]
    assert scores == [-31_741.0 - i for i in range(17_953)]
    differing = {
        name: sum(
            ours != theirs
            for ours, theirs in zip(*(encode(p, shared_data, name) for p in (extended, original)),
            strict=True)
        )
        for name in ("zho_Hans", "eng_Latn", "hin_Deva")
    }  # fmt: skip
    # What exact scores cost: so many of 1,012 lines have other ids than with all ties at 0.
    assert differing == {"zho_Hans": 397, "eng_Latn": 315, "hin_Deva": 106}


def encode(proto: Any, shared_data: Path, name: str) -> list[list[int]]:
    """Ids of the lines of a FLORES file."""
    (file,) = (shared_data / "text").glob(f"flores/**/{name}.devtest")
    ids: list[list[int]] = load_processor(proto).encode(
        file.read_text(encoding="utf-8").split("\n")
    )
    return ids


def test_pieces_alone_are_no_tokenizer(adopt: Adopt, published: Path, tmp_path: Path) -> None:
    """As a base's tokenizer they are refused by the first stage that reads ids, ..."""
    from scripts.pack_tokens import run

    pieces = adopt(alone(published, tmp_path / "release"), "sentencepiece")
    job = make_job(tmp_path / "pack", "pack_tokens/en/original", {"language": "en"}, {
        "vocabulary": pieces.out, "corpus": tmp_path,
    })  # fmt: skip
    with pytest.raises(UserError, match=r"equal scores.*name it in vocabularies\.<name>\.adopt"):
        run(job)


def test_a_model_with_tied_scores_keeps_its_ids(
    adopt: Adopt, published: Path, shared_data: Path, tmp_path: Path
) -> None:
    """... but a model's own are put in an order, and how many were is said."""
    job = adopt(release(tmp_path / "hf", 49_953, published), "huggingface")
    assert check_contract(job.out, "test").size == 49_953
    assert json.loads((job.out / "adoption.json").read_text())["rescored"] == 11_597
    ours, theirs = read_proto(job.out / "model" / "tokenizer.spm"), read_proto(published)
    assert [p.piece for p in ours.pieces] == [p.piece for p in theirs.pieces]
    pairs = {
        name: list(zip(*(encode(p, shared_data, name) for p in (ours, theirs)), strict=True))
        for name in ("zho_Hans", "eng_Latn")
    }
    # Of 1,012 lines: fewer than with the pieces below the base's, as in an extension.
    differing = {name: sum(a != b for a, b in found) for name, found in pairs.items()}
    assert differing == {"zho_Hans": 379, "eng_Latn": 104}
    assert [sum(map(len, ids)) for ids in zip(*pairs["zho_Hans"], strict=True)] == [28_693, 28_691]


def test_any_sentencepiece_model_gives_pieces(
    adopt: Adopt, vocabulary: Path, shared_data: Path, tmp_path: Path
) -> None:
    """Unigram with its own normalisation, and a BPE with user-defined symbols."""
    chinese = shared_data / "tokenizers" / "chinese-llama-alpaca" / "chinese_sp.model"
    job = adopt(alone(chinese, tmp_path / "unigram"), "sentencepiece", "unigram")
    facts = json.loads((job.out / "adoption.json").read_text())
    assert (facts["size"], facts["pieces_only"]) == (20_000, "model type unigram")
    proto = read_proto(vocabulary / "tokenizer.spm")
    proto.pieces.add(piece="<sep>", score=0.0, type=proto.SentencePiece.USER_DEFINED)
    (tmp_path / "symbols.model").write_bytes(proto.SerializeToString())
    job = adopt(alone(tmp_path / "symbols.model", tmp_path / "bpe"), "sentencepiece", "bpe")
    facts = json.loads((job.out / "adoption.json").read_text())
    assert facts["pieces_only"] == "piece types ['USER_DEFINED']"


# -- the classics ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def extended(published: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published vocabulary with exact scores, as a `.model` file: 49,953 pieces."""
    base = read_proto(shared_data / "tokenizers" / "llama" / "tokenizer.model")
    merged, _ = extend(base, read_proto(published), ["zh"], "all", "zh")
    file = tmp_path_factory.mktemp("extended") / "tokenizer.model"
    file.write_bytes(merged.SerializeToString())
    return file


def test_extended_tokenizer_beside_unextended_weights(
    adopt: Adopt, extended: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"32000: the vocabulary has 49,953 pieces.*extend_embed"):
        adopt(release(tmp_path / "hf", 32_000, extended), "huggingface")


def test_tokenizer_with_a_padding_token_the_weights_lack(
    adopt: Adopt, extended: Path, tmp_path: Path
) -> None:
    """Chinese-Alpaca's tokenizer (49,954) beside Chinese-LLaMA's weights (49,953)."""
    folder = release(tmp_path / "hf", 49_953, extended)
    rewrite(folder / "added_tokens.json", {"[PAD]": 49_953})
    with pytest.raises(
        UserError, match=r"49953: the vocabulary has 49,954 pieces, of which \[PAD\] were added"
    ):
        adopt(folder, "huggingface")


def test_extended_weights_beside_the_original_tokenizer(
    adopt: Adopt, shared_data: Path, tmp_path: Path
) -> None:
    llama = shared_data / "tokenizers" / "llama" / "tokenizer.model"
    with pytest.raises(UserError, match=r"55296: the tokenizer has 32,000 pieces, 23,296 fewer"):
        adopt(release(tmp_path / "hf", 55_296, llama), "huggingface")


def test_rows_padded_to_a_round_number_are_fine(
    adopt: Adopt, extended: Path, tmp_path: Path
) -> None:
    job = adopt(release(tmp_path / "hf", 50_048, extended), "huggingface")
    contract = check_contract(job.out, "test")
    assert (contract.size, contract.embedding_rows) == (49_953, 50_048)


# -- special tokens and ids -----------------------------------------------------------------------


@pytest.fixture
def small(vocabulary: Path, tmp_path: Path) -> Path:
    """A release with the tiny study's vocabulary of 310 pieces and 312 rows."""
    return release(tmp_path / "hf", 312, vocabulary / "tokenizer.spm")


def test_added_tokens_are_kept_and_named(adopt: Adopt, small: Path) -> None:
    rewrite(small / "added_tokens.json", {"<|im_end|>": 311, "[PAD]": 310})
    rewrite(
        small / "tokenizer_config.json",
        {"eos_token": {"content": "<|im_end|>"}, "pad_token": "[PAD]", "bos_token": "<s>"},
    )
    rewrite(small / "config.json", {"eos_token_id": [311, 2]})
    contract = check_contract(adopt(small, "huggingface").out, "test")
    assert (contract.size, contract.bos, contract.eos, contract.pad) == (312, 1, 311, 310)
    assert contract.special_tokens == {
        "<unk>": 0, "<s>": 1, "</s>": 2, "[PAD]": 310, "<|im_end|>": 311,
    }  # fmt: skip


def test_added_tokens_of_the_newer_layout(adopt: Adopt, small: Path) -> None:
    decoder = {"0": {"content": "<unk>"}, "310": {"content": "<|im_start|>", "special": True}}
    rewrite(small / "tokenizer_config.json", {"added_tokens_decoder": decoder, "pad_token": "</s>"})
    contract = check_contract(adopt(small, "huggingface").out, "test")
    assert contract.special_tokens["<|im_start|>"] == 310
    assert contract.pad == contract.unk == 0  # eos as padding would hide real ends of text


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("added_tokens.json", {"<x>": 311}, "must be new and follow the 310 pieces"),
        ("added_tokens.json", {"<s>": 310}, "must be new and follow the 310 pieces"),
        ("added_tokens.json", {"<x>": "first"}, "not a table of tokens and ids"),
        ("tokenizer_config.json", {"added_tokens_decoder": ["<x>"]}, "not a table of tokens"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"310": {}}}, "not a table of tokens"),
    ],
)
def test_added_tokens_that_do_not_fit(
    adopt: Adopt, small: Path, file: str, content: dict[str, object], said: str
) -> None:
    rewrite(small / file, content)
    with pytest.raises(UserError, match=said):
        adopt(small, "huggingface")


def test_padding_and_beginning_are_corrected(adopt: Adopt, small: Path) -> None:
    """An early LLaMA conversion's ids: padding that no row has, another bos."""
    rewrite(small / "config.json", {"bos_token_id": 0, "pad_token_id": -1})
    rewrite(small / "generation_config.json", {"pad_token_id": 311, "eos_token_id": [2, 9]})
    before = {path.name: path.read_bytes() for path in small.iterdir()}
    job = adopt(small, "huggingface")
    check_contract(job.out, "test")
    config = json.loads((job.out / "model" / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 0)
    facts = json.loads((job.out / "adoption.json").read_text())
    assert facts["corrected"] == {
        "config.json": {"bos_token_id": [0, 1], "pad_token_id": [-1, 0]},
        "generation_config.json": {"pad_token_id": [311, 0]},
    }
    assert {path.name: path.read_bytes() for path in small.iterdir()} == before


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_another_end_of_text_is_an_error(adopt: Adopt, small: Path, file: str) -> None:
    rewrite(small / file, {"eos_token_id": 1})
    with pytest.raises(UserError, match=rf"{file}: eos_token_id: 1: .*ends a text with 2"):
        adopt(small, "huggingface")


# -- tokenizer.json -------------------------------------------------------------------------------


def test_a_kind_that_loses_text(adopt: Adopt, small: Path) -> None:
    (small / "tokenizer.model").unlink()
    tokenizer = Tokenizer(WordPiece({"[UNK]": 0, "the": 1, "##re": 2}, unk_token="[UNK]"))
    tokenizer.save(str(small / "tokenizer.json"))
    with pytest.raises(UserError, match=r"model type: 'WordPiece': text does not come back"):
        adopt(small, "huggingface")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("tokenizer.json", b"<html>", r"tokenizer\.json': not JSON"),
        ("tokenizer.json", b"", r"tokenizer\.json': not JSON"),
        ("tokenizer.json", b"\xff\xfe{", r"tokenizer\.json': not JSON"),
        ("tokenizer.json", b"[]", "not a JSON object"),
        ("tokenizer.json", b"{}", "not a tokenizer"),
        ("tokenizer.json", b'{"model": {"type": "Neural"}}', "not a tokenizer"),
        ("tokenizer_config.json", b"{", r"tokenizer_config\.json': not JSON"),
    ],
)
def test_tokenizer_files_that_cannot_be_read(
    adopt: Adopt, small: Path, vocabulary: Path, file: str, content: bytes, said: str
) -> None:
    (small / "tokenizer.model").unlink()
    shutil.copyfile(vocabulary / "tokenizer.json", small / "tokenizer.json")
    (small / file).write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        adopt(small, "huggingface")
    assert "\n" not in str(caught.value)
