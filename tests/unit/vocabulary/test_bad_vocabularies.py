"""Bad vocabularies and text, through the stages' own functions: one clear line, in good time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.vocabulary.contract import check_contract, copy_vocabulary, write_vocabulary
from langtransfer.vocabulary.conversion import (
    NORMAL,
    ModelProto,
    differences,
    load_processor,
    read_proto,
)
from langtransfer.vocabulary.encoding import load_encoder
from langtransfer.vocabulary.extension import without_prefix
from langtransfer.workflow.stages import STAGES

MakeJob = Callable[..., Job]
OPTIMIZATION = {
    "sequence_length": 32, "global_batch_tokens": 64, "learning_rate": 1e-3, "schedule": "constant",
}  # fmt: skip
SHAPE = {
    "hidden_size": 8, "intermediate_size": 8, "layers": 1, "heads": 2, "key_value_heads": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
TRAINING = {"mix": {"shares": {"en": 1.0}}, "optimization": OPTIMIZATION, "seed": 1}
# Settings of the stages that read ids or weights, and what their folder's role is called.
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "extend_vocabulary": ("base", {"pieces": "all", "languages": ["zh"]}),
    "check_vocabulary": ("vocabulary", {
        "language": "en", "documents": 1, "max_source_lines_changed": None,
    }),
    "extend_embeddings": ("checkpoint", {}),
    "pack_tokens": ("vocabulary", {"language": "en"}),
    "train_base": ("vocabulary", TRAINING | {"shape": SHAPE, "budget": "64-tokens"}),
    "pretrain": ("checkpoint", TRAINING | {"budgets": "independent", "budget": "64-tokens"}),
    "finetune": ("checkpoint", TRAINING | {
        "method": "full", "template": "plain", "examples": 1, "epochs": 1,
    }),
    "generate": ("checkpoint", {"template": "plain", "max_new_tokens": 1}),
    "knowledge": ("checkpoint", {"language": "en", "shots": 0}),
    "alignment": ("checkpoint", {"language": "zh", "documents": 1}),
    "perplexity": ("checkpoint", {"language": "en", "documents": 1, "window": 8, "stride": 4}),
}  # fmt: skip
# Their input is text or figures; adopt_model makes the contract and train_tokenizer a vocabulary.
OTHERS = {
    "fetch_corpus", "clean_corpus", "split_corpus", "train_tokenizer", "adopt_model",
    "prepare_instructions", "fetch_benchmark", "score", "code_switching", "tables", "figures",
    "claims", "report", "translate_benchmark", "calibrate_judge", "switch_prompts",
}  # fmt: skip


@pytest.fixture
def checkpoint(english: Any, tmp_path: Path) -> Path:
    """Checkpoint folder of a tiny LLaMA with the English vocabulary."""
    return write_checkpoint(english, tmp_path / "checkpoint", 320)


def write_checkpoint(proto: Any, folder: Path, rows: int) -> Path:
    """A random LLaMA of so many rows with a vocabulary beside it."""
    contract = write_vocabulary(proto, folder.with_name(f"{folder.name}-vocabulary"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=rows, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, bos_token_id=contract.bos, eos_token_id=contract.eos,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    copy_vocabulary(folder.with_name(f"{folder.name}-vocabulary"), folder / "model", rows)
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Folders of everything else a stage may open before it looks at ids."""
    folder = tmp_path / "inputs"
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "t.yaml").write_text("task: t\n")
    (folder / "documents.jsonl").write_text('{"id": "1", "text": "the city"}\n')
    return dict.fromkeys(
        ("text", "source_text", "benchmark", "corpus", "pieces", "vocabulary"), folder
    )


def run(stage: str, job: Job) -> None:
    """The stage's own function, as its script calls it."""
    import_module(f"scripts.{stage}").run(job)


def refused(stage: str, job: Job) -> str:
    """The one line a stage refuses its input with."""
    with pytest.raises(UserError) as caught:
        run(stage, job)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.field
    assert caught.value.remedy
    assert not list(job.out.iterdir())
    return line


def test_every_stage_is_one_that_reads_ids_or_one_that_does_not() -> None:
    assert set(READERS) | OTHERS == set(STAGES)
    assert not set(READERS) & OTHERS


@pytest.mark.parametrize("stage", READERS)
def test_no_stage_uses_a_changed_tokenizer(
    make_job: MakeJob, checkpoint: Path, inputs: dict[str, Path], stage: str
) -> None:
    """Nor loads weights: the file is cut, and would fail otherwise."""
    role, settings = READERS[stage]
    weights = checkpoint / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with (checkpoint / "model" / "tokenizer.json").open("a") as file:
        file.write(" ")
    job = make_job(stage, "x/y/z/w", settings, inputs | {role: checkpoint})
    line = refused(stage, job)
    assert re.search(rf"tokenizer\.json': changed since .*: {stage} needs", line)


@pytest.mark.parametrize("stage", READERS)
def test_no_stage_uses_a_model_whose_padding_is_another(
    make_job: MakeJob, checkpoint: Path, inputs: dict[str, Path], stage: str
) -> None:
    role, settings = READERS[stage]
    path = checkpoint / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": 7}))
    line = refused(stage, make_job(stage, "x/y/z/w", settings, inputs | {role: checkpoint}))
    assert line == (
        "config.json: pad_token_id: 7: the tokenizer beside it has 0: "
        f"{stage} needs them equal; set it so"
    )


@pytest.mark.parametrize(
    ("stage", "rows"), [("pretrain", 312), ("generate", 328), ("perplexity", 312)]
)
def test_weights_of_another_size_are_named(
    make_job: MakeJob,
    checkpoint: Path,
    inputs: dict[str, Path],
    english: Any,
    stage: str,
    rows: int,
) -> None:
    """The weights alone are another model's: config.json and contract still agree."""
    role, settings = READERS[stage]
    other = write_checkpoint(english, checkpoint.with_name("other"), rows)
    (other / "model" / "model.safetensors").rename(checkpoint / "model" / "model.safetensors")
    line = refused(stage, make_job(stage, "x/y/z/w", settings, inputs | {role: checkpoint}))
    assert re.search(rf"embedding rows.*: {rows}: ", line)


# -- files that extend ----------------------------------------------------------------------------


def extend(make_job: MakeJob, base: Path, folder: Path, **settings: Any) -> Job:
    """A job of extend_vocabulary."""
    settings = {"pieces": "all", "languages": ["zh"]} | settings
    return make_job("extend_vocabulary", "zh/ext", settings, {"base": base, "pieces": folder})


def contents(english: Any) -> dict[str, bytes]:
    """Files that are no whole SentencePiece model, by what they are."""
    whole = english.SerializeToString()
    settings = ModelProto()
    settings.CopyFrom(english)
    settings.ClearField("pieces")
    pieces = len(whole) - len(settings.SerializeToString())
    return {
        "empty": b"",
        "text": b"#version: 0.2\nt h\nth e</w>\n",
        "json": b'{"version": "1.0", "model": {"type": "BPE"}}',
        "html": b"<!doctype html>\n<html><title>Not found</title></html>",
        "pickle": b"\x80\x04\x95\x14\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x06vocab\x94]\x94s.",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:9e55\nsize 499723\n",
        "cut in a piece": whole[: pieces // 2],
        "cut after the pieces": whole[:pieces],
        "cut in the settings": whole[: pieces + 10],
        "settings alone": settings.SerializeToString(),
    }


@pytest.mark.parametrize(
    "what",
    ["empty", "text", "json", "html", "pickle", "lfs", "cut in a piece", "cut after the pieces",
     "cut in the settings", "settings alone"],
)  # fmt: skip
def test_a_file_that_is_no_sentencepiece_model(
    make_job: MakeJob, english: Any, checkpoint: Path, tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "tokenizer.spm").write_bytes(contents(english)[what])
    line = refused("extend_vocabulary", extend(make_job, checkpoint, folder))
    assert re.match(r"SentencePiece model: '.*tokenizer\.spm': .*(again|check)", line)


def test_a_model_cut_anywhere_is_refused(english: Any, tmp_path: Path) -> None:
    """Every tenth byte, and every byte of the settings at the end."""
    whole = english.SerializeToString()
    path = tmp_path / "x.model"
    ends = [*range(0, len(whole) - 200, 10), *range(len(whole) - 200, len(whole) - 1)]
    taken = []
    for end in ends:
        path.write_bytes(whole[:end])
        try:
            taken.append((end, read_proto(path)))
        except UserError:
            continue
    # All of the settings but the last, empty ones may be there: then nothing is lost.
    assert all(proto == english for _, proto in taken), [end for end, _ in taken]


def test_pieces_given_twice(
    make_job: MakeJob, english: Any, checkpoint: Path, tmp_path: Path
) -> None:
    proto = ModelProto()
    proto.CopyFrom(english)
    for score in (-900, -901):
        proto.pieces.add(piece="the", score=score, type=NORMAL)
    (tmp_path / "tokenizer.spm").write_bytes(proto.SerializeToString())
    line = refused("extend_vocabulary", extend(make_job, checkpoint, tmp_path))
    assert "the is already defined" in line


def test_nothing_to_add(make_job: MakeJob, checkpoint: Path) -> None:
    line = refused("extend_vocabulary", extend(make_job, checkpoint, checkpoint))
    assert re.match(r"vocabularies\.ext\.pieces: 'all': adds nothing to the base's 320", line)


def test_no_piece_in_the_targets_script(make_job: MakeJob, checkpoint: Path, chinese: Any) -> None:
    folder = checkpoint.with_name("pieces")
    write_vocabulary(chinese, folder)
    job = extend(make_job, checkpoint, folder, pieces="target-script", languages=["hi"])
    line = refused("extend_vocabulary", job)
    assert re.match(r"vocabularies\.ext\.pieces: 'target-script': adds nothing", line)


@pytest.mark.parametrize(
    ("token", "said"),
    [("<s>", "is a piece of the vocabulary already"), ("首都", "is a piece of the vocabulary")],
)
def test_a_special_token_that_is_a_piece(
    make_job: MakeJob, checkpoint: Path, chinese: Any, token: str, said: str
) -> None:
    folder = checkpoint.with_name("pieces")
    write_vocabulary(chinese, folder)
    job = extend(make_job, checkpoint, folder, special_tokens=["<pad>", token])
    assert f"vocabularies.ext.special_tokens: '{token}': {said}" in refused(
        "extend_vocabulary", job
    )


def test_special_tokens_get_rows_and_the_model_their_padding(
    make_job: MakeJob, checkpoint: Path, chinese: Any
) -> None:
    """From the config to the checkpoint: contract, tokenizer and config.json agree."""
    folder = checkpoint.with_name("pieces")
    write_vocabulary(chinese, folder)
    path = checkpoint / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": 0}))
    tokens = ["<|im_start|>", "<pad>"]
    vocabulary = extend(make_job, checkpoint, folder, special_tokens=tokens)
    run("extend_vocabulary", vocabulary)
    report = json.loads((vocabulary.out / "extension.json").read_text())
    contract = check_contract(vocabulary.out, "test")
    pad = contract.size - 1
    assert report["size"] == contract.size == 320 + report["added"] + 2
    assert (contract.base_size, contract.pad) == (320, pad)
    assert contract.special_tokens["<|im_start|>"] == pad - 1
    parents = {"checkpoint": checkpoint, "vocabulary": vocabulary.out}
    job = make_job("extend_embeddings", "zh/ext", {"pad_to_multiple_of": 1}, parents)
    run("extend_embeddings", job)
    assert check_contract(job.out, "test").embedding_rows == contract.size
    model = AutoModelForCausalLM.from_pretrained(job.out / "model")
    assert (model.config.pad_token_id, model.config.bos_token_id) == (pad, 1)
    # Their rows begin as every new one's: the mean of what the base makes of the text.
    ids = without_prefix(read_proto(checkpoint / "model" / "tokenizer.spm")).encode("<|im_start|>")
    rows = model.get_input_embeddings().weight.detach()
    assert torch.equal(rows[pad - 1], rows[ids].mean(dim=0))


# -- other layouts --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_layout(sentences: Callable[..., list[str]]) -> Any:
    """A base that numbers its special tokens otherwise: bos 0, eos 1, pad 2, unk 3."""
    import io

    from sentencepiece import SentencePieceTrainer

    from langtransfer.vocabulary.training import LLAMA_STYLE, REPEATABLE

    model = io.BytesIO()
    ids = {"bos_id": 0, "eos_id": 1, "pad_id": 2, "unk_id": 3}
    names = {"bos_piece": "<BOS>", "eos_piece": "<EOS>", "pad_piece": "<PAD>", "unk_piece": "<?>"}
    SentencePieceTrainer.train(
        sentence_iterator=iter(sentences("en")), model_writer=model, model_type="bpe",
        vocab_size=320, character_coverage=1.0, byte_fallback=True, control_symbols=["<mask>"],
        **{**LLAMA_STYLE, **REPEATABLE, **ids, **names},
    )  # fmt: skip
    return ModelProto.FromString(model.getvalue())


def test_ids_are_the_models_own(
    make_job: MakeJob, other_layout: Any, chinese: Any, tmp_path: Path
) -> None:
    base = write_checkpoint(other_layout, tmp_path / "base", 320)
    write_vocabulary(chinese, tmp_path / "pieces")
    vocabulary = extend(make_job, base, tmp_path / "pieces")
    run("extend_vocabulary", vocabulary)
    contract = check_contract(vocabulary.out, "test")
    assert (contract.bos, contract.eos, contract.pad, contract.unk) == (0, 1, 2, 3)
    assert contract.special_tokens == {
        "<BOS>": 0, "<EOS>": 1, "<PAD>": 2, "<?>": 3, "<mask>": 4,
    }  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(vocabulary.out)
    assert tokenizer("the 首都")["input_ids"][0] == tokenizer.bos_token_id == 0
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id) == (1, 2, 3)
    texts = ["the 首都 <BOS><EOS>", "<PAD> <?> <mask>", "  ☃\n", ""]
    processor = load_processor(read_proto(vocabulary.out / "tokenizer.spm"))
    assert not list(differences(processor, tokenizer, texts))
    assert load_encoder(vocabulary.out)(texts) == processor.encode(texts)
    assert [tokenizer.decode(ids) for ids in processor.encode(texts)] == texts
    parents = {"checkpoint": base, "vocabulary": vocabulary.out}
    job = make_job("extend_embeddings", "zh/ext", {}, parents)
    run("extend_embeddings", job)
    config = json.loads((job.out / "model" / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (0, 1)


def test_its_padding_is_not_replaced(
    make_job: MakeJob, other_layout: Any, chinese: Any, tmp_path: Path
) -> None:
    base = write_checkpoint(other_layout, tmp_path / "base", 320)
    write_vocabulary(chinese, tmp_path / "pieces")
    job = extend(make_job, base, tmp_path / "pieces", special_tokens=["<pad>"])
    assert "the base pads with <PAD> already" in refused("extend_vocabulary", job)


# -- text that no tokenizer reads -----------------------------------------------------------------

HALF = '{"id": "bad", "text": "a \\ud83d b"}\n'


def test_half_a_surrogate_pair_in_held_out_text(
    make_job: MakeJob, checkpoint: Path, inputs: dict[str, Path]
) -> None:
    (inputs["text"] / "documents.jsonl").write_text(HALF)
    role, settings = READERS["perplexity"]
    job = make_job("perplexity", "x/y/z", settings, inputs | {role: checkpoint})
    assert re.search(r"document: 'bad': holds half a surrogate", refused("perplexity", job))


def test_half_a_surrogate_pair_in_a_knowledge_item(
    make_job: MakeJob, checkpoint: Path, inputs: dict[str, Path]
) -> None:
    folder = inputs["benchmark"]
    (folder / "items.jsonl").write_text(HALF)
    task = "task: t\ndataset_kwargs: {data_files: {test: items.jsonl}}\n"
    (folder / "tasks" / "t.yaml").write_text(task)
    role, settings = READERS["knowledge"]
    job = make_job("knowledge", "x/y/z/w", settings, inputs | {role: checkpoint})
    assert re.search(r"item: 'bad': holds half a surrogate", refused("knowledge", job))


def test_half_a_surrogate_pair_in_an_instruction(
    make_job: MakeJob, checkpoint: Path, tmp_path: Path
) -> None:
    from langtransfer.corpus.jsonl import JsonlWriter, write_jsonl

    folder = tmp_path / "instructions"
    row = {"id": "bad", "instruction": "a", "input": "", "output": "\ud83d"}
    with pytest.raises(UserError, match=r"row 1: 'bad': holds half a surrogate"):
        write_jsonl(folder / "instructions.jsonl.zst", [row])
    assert not list(folder.iterdir())
    with JsonlWriter(folder / "instructions.jsonl.zst") as writer:  # as another program writes it
        writer._file.write(json.dumps(row).encode() + b"\n")
    role, settings = READERS["finetune"]
    parents = {role: checkpoint, "instructions.en": folder}
    job = make_job("finetune", "x/y", settings, parents)
    assert re.search(r"pair: 'bad': holds half a surrogate", refused("finetune", job))


def test_half_a_surrogate_pair_in_a_question(
    make_job: MakeJob, checkpoint: Path, inputs: dict[str, Path]
) -> None:
    row = '{"id": "bad", "category": "c", "instruction": "a \\ud83d"}\n'
    (inputs["benchmark"] / "questions.jsonl").write_text(row)
    role, settings = READERS["generate"]
    job = make_job("generate", "x/y/z/w", settings, inputs | {role: checkpoint})
    assert re.search(r"question: 'bad': holds half a surrogate", refused("generate", job))


def test_half_a_surrogate_pair_in_a_corpus(
    make_job: MakeJob, checkpoint: Path, inputs: dict[str, Path]
) -> None:
    from langtransfer.corpus.jsonl import JsonlWriter

    with JsonlWriter(inputs["corpus"] / "train.jsonl.zst") as writer:
        writer._file.write(HALF.encode())
    role, settings = READERS["pack_tokens"]
    job = make_job("pack_tokens", "en/original", settings, inputs | {role: checkpoint})
    assert re.search(r"document: 'bad': holds half a surrogate", refused("pack_tokens", job))
