"""LoRA releases, additive patches and `.bin` files: exact weights, and one line for bad ones."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.pretraining.models import load_checkpoint
from langtransfer.vocabulary.contract import check_contract, read_contract
from langtransfer.vocabulary.conversion import NORMAL, read_proto
from tests.unit.pretraining.tiny_study import digests, make_job

LLAMA_7B_TARGETS = [
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj", "up_proj",
]  # fmt: skip
QUERY = "model.layers.0.self_attn.q_proj"
ROWS = 310
Adopt = Callable[[Path, str], Job]
Table = dict[str, torch.Tensor]


def tiny(rows: int, seed: int, dtype: torch.dtype = torch.float16) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype)


def longer(vocabulary: Path, file: Path, pieces: int) -> Path:
    """The tiny study's vocabulary with so many more pieces, all of score 0."""
    proto = read_proto(vocabulary / "tokenizer.spm")
    for number in range(pieces):
        proto.pieces.add(piece=f"the{'the' * number}cat", score=0.0, type=NORMAL)
    file.write_bytes(proto.SerializeToString())
    return file


@pytest.fixture
def adopt(tmp_path: Path, base_model: Path) -> Adopt:
    """Adopts the files of a folder over the base; the job."""
    from scripts.adopt_model import run

    def call(source: Path, form: str) -> Job:
        files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in source.iterdir()}
        cell = ";".join(f"{name}={digest}" for name, digest in sorted(files.items()))
        over = "llama" if form in ("lora", "delta") else ""
        registry = tmp_path / "datasets.csv"
        registry.write_text(
            "key,language,kind,location,revision,files,format,base\n"
            f"made,*,file,{source},,{cell};,{form},{over}\n"
        )
        parents = {"base": base_model} if over else {}
        settings = {"format": form, "files": files}
        job = make_job(tmp_path / "made", "adopt_model/made", settings, parents,
                       registry=str(registry))  # fmt: skip
        run(job)
        return job

    return call


@pytest.fixture
def base_model(tmp_path: Path, vocabulary: Path) -> Path:
    """Data folder of an adopted base in float16, two shards."""
    from langtransfer.vocabulary.contract import copy_vocabulary

    folder = tmp_path / "base" / "model"
    tiny(ROWS, seed=1).save_pretrained(folder, max_shard_size="6KB")
    assert len(list(folder.glob("*.safetensors"))) == 2
    copy_vocabulary(vocabulary, folder, ROWS)
    return folder.parent


def weights(folder: Path) -> Table:
    return {
        k: v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()
    }


def adapter(folder: Path, rows: int = ROWS, **settings: Any) -> Table:
    """Write a made-up adapter for all linear maps, of rank 2 and scale 4; its tensors."""
    folder.mkdir()
    torch.manual_seed(2)
    model = tiny(rows, seed=3, dtype=torch.float32)
    saved = {"modules_to_save": ["embed_tokens", "lm_head"]} if rows != ROWS else {}
    config = LoraConfig(
        r=2, lora_alpha=8, target_modules=LLAMA_7B_TARGETS, task_type="CAUSAL_LM",
        init_lora_weights=False, **saved,
    )  # fmt: skip
    get_peft_model(model, config).save_pretrained(folder)
    (folder / "README.md").unlink()
    table = load_file(folder / "adapter_model.safetensors")
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(content | settings))
    return table


def product(table: Table, module: str) -> torch.Tensor:
    a, b = (table[f"base_model.model.{module}.lora_{half}.weight"] for half in "AB")
    return b.float() @ a.float()


def test_lora_is_base_plus_scale_times_b_a(adopt: Adopt, base_model: Path, tmp_path: Path) -> None:
    table = adapter(tmp_path / "lora")
    job = adopt(tmp_path / "lora", "lora")
    before, after = weights(base_model / "model"), weights(job.out / "model")
    assert set(after) == set(before)
    for name, weight in after.items():
        module = name.removesuffix(".weight")
        changed = any(module.endswith(target) for target in LLAMA_7B_TARGETS)
        update = 4 * product(table, module) if changed else torch.zeros(1)
        expected = (before[name].float() + update).to(torch.float16)
        assert weight.dtype == torch.float16
        assert torch.equal(weight, expected), name
        assert torch.equal(weight, before[name]) == (not changed), name
    assert read_contract(job.out / "model") == read_contract(base_model / "model")
    assert digests(job.out) == digests(adopt(tmp_path / "lora", "lora").out)


def test_what_peft_itself_makes_of_it(adopt: Adopt, base_model: Path, tmp_path: Path) -> None:
    adapter(tmp_path / "lora")
    job = adopt(tmp_path / "lora", "lora")
    model = LlamaForCausalLM.from_pretrained(base_model / "model", dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, tmp_path / "lora").merge_and_unload()
    ours, _ = load_checkpoint(job.out, None, torch.float32, "cpu")
    ids = torch.arange(20)[None]
    assert torch.allclose(ours(ids).logits, merged(ids).logits, atol=2e-3)  # float16's step


def test_lora_with_a_longer_vocabulary(
    adopt: Adopt, base_model: Path, vocabulary: Path, tmp_path: Path
) -> None:
    """Chinese LLaMA's layout: a .bin, both matrices whole, a tokenizer with tied scores."""
    folder = tmp_path / "lora"
    table = adapter(folder, rows=ROWS + 4)
    (folder / "adapter_model.safetensors").unlink()
    torch.save(table, folder / "adapter_model.bin")
    longer(vocabulary, folder / "tokenizer.model", 4)
    job = adopt(folder, "lora")
    after = weights(job.out / "model")
    for name in ("model.embed_tokens", "lm_head"):
        saved = table[f"base_model.model.{name}.weight"]
        assert torch.equal(after[f"{name}.weight"], saved.to(torch.float16))
    contract = check_contract(job.out, "test")
    assert (contract.size, contract.embedding_rows) == (ROWS + 4, ROWS + 4)
    assert json.loads((job.out / "adoption.json").read_text())["rescored"] > 3
    model, tokenizer = load_checkpoint(job.out, None, torch.float32, "cpu")
    assert model.config.vocab_size == len(tokenizer) == ROWS + 4


def test_stabilised_scale_and_transposed_halves(
    adopt: Adopt, base_model: Path, tmp_path: Path
) -> None:
    table = adapter(tmp_path / "lora", use_rslora=True)
    before = weights(base_model / "model")[f"{QUERY}.weight"].float()
    after = weights(adopt(tmp_path / "lora", "lora").out / "model")[f"{QUERY}.weight"]
    assert torch.equal(after, (before + 8 / 2**0.5 * product(table, QUERY)).to(torch.float16))
    only = {k: v for k, v in table.items() if QUERY in k}
    save_file(only, tmp_path / "lora" / "adapter_model.safetensors")
    config = tmp_path / "lora" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"fan_in_fan_out": True}))
    after = weights(adopt(tmp_path / "lora", "lora").out / "model")[f"{QUERY}.weight"]
    assert torch.equal(after, (before + 8 / 2**0.5 * product(table, QUERY).T).to(torch.float16))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type: 'IA3': only LORA"),
        ({"r": 0}, "r: 0: must be a number above 0"),
        ({"r": 3}, r"do not have the rank 3"),
        ({"lora_alpha": "x"}, "lora_alpha: 'x': must be a number"),
        ({"use_dora": True}, "use_dora: True: is no plain LoRA"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern: .*is no plain LoRA"),
        ({"bias": "all"}, "bias: 'all': is no plain LoRA"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: 'pissa': is no plain LoRA"),
    ],
)
def test_adapters_that_mean_something_else(
    adopt: Adopt, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    adapter(tmp_path / "lora", **settings)
    with pytest.raises(UserError, match=message):
        adopt(tmp_path / "lora", "lora")


def change_adapter(folder: Path, change: Callable[[Table], object]) -> None:
    table = load_file(folder / "adapter_model.safetensors")
    change(table)
    save_file(table, folder / "adapter_model.safetensors")


HALF = f"base_model.model.{QUERY}.lora_B.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(HALF), "has lora_A alone"),
        (lambda t: t.update({HALF: torch.zeros(9, 2)}), r"is \(9, 8\), the base's is \(8, 8\)"),
        (lambda t: t.update({"base_model.model.x.lora_embedding_A": torch.zeros(2)}), "no part of"),
        (lambda t: t.update({"other": torch.zeros(2)}), "'other': is no part of a plain LoRA"),
        (
            lambda t: t.update({"base_model.model.model.norm2.weight": torch.zeros(2)}),
            r"'model\.norm2\.weight': the base has no such tensor",
        ),
        (
            lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(320, 8)}),
            "the two matrices must have the same rows",
        ),
        (
            lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(310, 4)}),
            r"is \(310, 4\), the base's is \(310, 8\)",
        ),
        (lambda t: t.clear(), "holds no tensor"),
    ],
)
def test_adapters_that_do_not_fit(
    adopt: Adopt, tmp_path: Path, change: Callable[[Table], object], message: str
) -> None:
    adapter(tmp_path / "lora")
    change_adapter(tmp_path / "lora", change)
    with pytest.raises(UserError, match=message) as caught:
        adopt(tmp_path / "lora", "lora")
    assert "\n" not in str(caught.value)


def test_lora_files_that_are_missing_or_do_not_match(
    adopt: Adopt, vocabulary: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "lora"
    adapter(folder, rows=ROWS + 4)
    with pytest.raises(UserError, match=r"314: the contract states 310"):
        adopt(folder, "lora")  # a longer vocabulary's rows, and no tokenizer
    longer(vocabulary, folder / "tokenizer.model", 6)
    with pytest.raises(UserError, match=r"314: the vocabulary has 316 pieces"):
        adopt(folder, "lora")
    (folder / "adapter_config.json").unlink()
    with pytest.raises(UserError, match=r"has adapter_config\.json and adapter_model"):
        adopt(folder, "lora")


# -- additive patches -----------------------------------------------------------------------------


def patch(folder: Path, base_model: Path, as_binary: bool = True) -> Table:
    """Write what to add to the base to get another model, in its own shards; that other model."""
    folder.mkdir()
    before, wanted = weights(base_model / "model"), tiny(ROWS, seed=7).state_dict()
    table = {name: wanted[name] - before[name] for name in before}
    table["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    names = sorted(table)
    if as_binary:
        halves = {"pytorch_model-00001-of-00002.bin": names[::2],
                  "pytorch_model-00002-of-00002.bin": names[1::2]}  # fmt: skip
        for file, some in halves.items():
            torch.save({name: table[name] for name in some}, folder / file)
        index = {name: file for file, some in halves.items() for name in some}
        text = json.dumps({"weight_map": index})
        (folder / "pytorch_model.bin.index.json").write_text(text)
    else:
        save_file(table, folder / "model.safetensors")
    shutil.copyfile(base_model / "model" / "config.json", folder / "config.json")
    return table


@pytest.mark.parametrize("as_binary", [True, False])
def test_a_patch_is_added(adopt: Adopt, base_model: Path, tmp_path: Path, as_binary: bool) -> None:
    table = patch(tmp_path / "patch", base_model, as_binary)
    job = adopt(tmp_path / "patch", "delta")
    before, after = weights(base_model / "model"), weights(job.out / "model")
    assert set(after) == set(before)
    for name, weight in after.items():
        assert torch.equal(weight, before[name] + table[name]), name  # added in float16
    assert check_contract(job.out, "test").size == ROWS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), r"'model\.norm\.weight': the patch lacks it"),
        (lambda t: t.update(more=torch.zeros(2)), "'more': the base lacks it"),
        (
            lambda t: t.update({"lm_head.weight": torch.zeros(320, 8)}),
            r"is \(320, 8\), the base's is \(310, 8\)",
        ),
    ],
)
def test_patches_that_do_not_fit(
    adopt: Adopt, base_model: Path, tmp_path: Path, change: Callable[[Table], object], message: str
) -> None:
    table = patch(tmp_path / "patch", base_model, as_binary=False)
    change(table)
    save_file(table, tmp_path / "patch" / "model.safetensors")
    with pytest.raises(UserError, match=message):
        adopt(tmp_path / "patch", "delta")


def test_a_missing_shard_of_a_patch(adopt: Adopt, base_model: Path, tmp_path: Path) -> None:
    patch(tmp_path / "patch", base_model)
    (tmp_path / "patch" / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(UserError, match=r"00002\.bin': is in pytorch_model\.bin\.index\.json but"):
        adopt(tmp_path / "patch", "delta")


# -- .bin files -----------------------------------------------------------------------------------


def binaries(folder: Path, vocabulary: Path, table: object, legacy: bool = False) -> Path:
    folder.mkdir()
    tiny(ROWS, seed=5).config.save_pretrained(folder)
    torch.save(table, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    shutil.copyfile(vocabulary / "tokenizer.spm", folder / "tokenizer.model")
    return folder


@pytest.mark.parametrize("legacy", [False, True])
def test_tables_of_tensors_become_safetensors(
    adopt: Adopt, vocabulary: Path, tmp_path: Path, legacy: bool
) -> None:
    table = dict(tiny(ROWS, seed=5).state_dict())
    job = adopt(binaries(tmp_path / "hf", vocabulary, table, legacy), "huggingface")
    after = weights(job.out / "model")
    assert set(after) == set(table)
    assert all(torch.equal(after[name], table[name]) for name in table)
    assert not list(job.out.rglob("*.bin"))
    load_checkpoint(job.out, None, torch.float32, "cpu")


class Runs:
    """What a malicious release holds: unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no plain table of tensors"),
        (b"PK\x03\x04 no zip", "no plain table of tensors"),
        (pickle.dumps({"a": 1}), "no plain table of tensors|holds a int"),
        (b"\x80\x02]q\x00.", "no plain table of tensors|holds a list"),
        (bytes(range(256)), "no plain table of tensors"),
    ],
)
def test_binaries_that_are_none(
    adopt: Adopt, vocabulary: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    folder = binaries(tmp_path / "hf", vocabulary, {})
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        adopt(folder, "huggingface")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_does_not(
    adopt: Adopt, vocabulary: Path, tmp_path: Path, legacy: bool
) -> None:
    table = {"lm_head.weight": Runs(tmp_path / "owned")}
    folder = binaries(tmp_path / "hf", vocabulary, table, legacy)
    with pytest.raises(UserError, match="no plain table of tensors"):
        adopt(folder, "huggingface")
    assert not (tmp_path / "owned").exists()


def test_a_truncated_binary(adopt: Adopt, vocabulary: Path, tmp_path: Path) -> None:
    folder = binaries(tmp_path / "hf", vocabulary, dict(tiny(ROWS, seed=5).state_dict()))
    whole = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="truncated"):
        adopt(folder, "huggingface")
