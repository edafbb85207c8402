"""Byte-level BPE: trained as Llama 3's, extended without moving an id or changing old text."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, GPT2Tokenizer, LlamaConfig, Qwen2Tokenizer

from langtransfer.config.vocabulary import TrainTokenizerConfig
from langtransfer.errors import UserError
from langtransfer.job import Job
from langtransfer.vocabulary.byte_level import (
    CHARACTER_OF,
    SPECIAL_TOKENS,
    Vocabulary,
    contents,
    merges_of,
    new_tokenizer,
    read_byte_level,
    read_vocabulary,
    save_byte_level,
    size_of,
    spell,
    token_bytes,
    with_content,
)
from langtransfer.vocabulary.byte_level_extension import (
    Joining,
    append_tokens,
    can_occur,
    count_reachable,
    extend_byte_level,
    in_scripts,
    read_utf8,
    segment,
)
from langtransfer.vocabulary.contract import check_contract, read_contract, write_contract
from langtransfer.vocabulary.conversion import save_tokenizer
from langtransfer.vocabulary.encoding import load_encoder
from langtransfer.vocabulary.sub_pieces import sub_pieces_of
from langtransfer.vocabulary.training import train_byte_level
from scripts.extend_vocabulary import run as run_extension
from scripts.train_tokenizer import run as run_training

MakeJob = Callable[..., Job]
FolderBytes = Callable[[Path], dict[str, bytes]]
Sentences = Callable[..., list[str]]
BOS, EOS, PAD = SPECIAL_TOKENS.values()
FLORES = {"en": "eng_Latn", "zh": "zho_Hans", "hi": "hin_Deva", "sw": "swh_Latn"}


def train(lines: list[str], size: int) -> Tokenizer:
    return train_byte_level(lines, TrainTokenizerConfig(type="byte-level-bpe", size=size), "test")


def save(tokenizer: Tokenizer, folder: Path, **names: str) -> Path:
    save_byte_level(Vocabulary(tokenizer, names or SPECIAL_TOKENS), folder)
    write_contract(folder)
    return folder


@pytest.fixture(scope="module")
def flores(shared_data: Path) -> dict[str, list[str]]:
    folder = shared_data / "text/flores/flores200_dataset/devtest"
    return {
        language: (folder / f"{name}.devtest").read_text(encoding="utf-8").splitlines()
        for language, name in FLORES.items()
    }


@pytest.fixture(scope="module")
def english(flores: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vocabulary folder of 3,000 tokens of English."""
    return save(train(flores["en"], 3_000), tmp_path_factory.mktemp("english") / "base")


@pytest.fixture(scope="module")
def pieces(
    flores: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Vocabulary folders of each target language and some English."""
    folder = tmp_path_factory.mktemp("pieces")
    return {
        language: save(train(flores[language] + flores["en"][:200], 3_000), folder / language)
        for language in ("zh", "hi", "sw")
    }


def extend_job(
    make_job: MakeJob, base: Path, pieces: Path, language: str, choice: str, **more: Any
) -> Path:
    job = make_job(
        "extend_vocabulary",
        f"{language}/ext",
        {"pieces": choice, "languages": [language], **more},
        {"base": base, "pieces": pieces},
    )
    run_extension(job)
    return job.out


# -- training -------------------------------------------------------------------------------------


def train_job(make_job: MakeJob, corpus: Path, **changes: Any) -> Path:
    settings = {"type": "byte-level-bpe", "size": 380, "languages": ["en"]} | changes
    job = make_job("train_tokenizer", "en/small", settings, {"corpus.en": corpus})
    run_training(job)
    return job.out


def test_training(
    make_job: MakeJob,
    corpus: Callable[..., Path],
    sentences: Sentences,
    folder_bytes: FolderBytes,
    tmp_path: Path,
) -> None:
    place = corpus("en", ["\n".join(sentences("en")), "  twice\t\n\n12345 <|end_of_text|> 首都"])
    first, second = (train_job(make_job, place, pad_to_multiple_of=64) for _ in range(2))
    assert folder_bytes(first) == folder_bytes(second)
    assert not any(str(tmp_path).encode() in content for content in folder_bytes(first).values())
    assert sorted(folder_bytes(first)) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocabulary.json",
    ]
    contract = check_contract(first, "test")
    assert (contract.size, contract.embedding_rows) == (380, 384)
    assert contract.special_tokens == {BOS: 377, EOS: 378, PAD: 379}
    assert (contract.unk, contract.bos, contract.eos, contract.pad) == (None, 377, 378, 379)
    LlamaConfig(vocab_size=384).save_pretrained(first)  # beside weights
    tokenizer = AutoTokenizer.from_pretrained(first)
    text = f"  the capital\n\n 1234567 首都 {EOS}"
    ids = load_encoder(first)([text])[0]
    assert tokenizer(text, split_special_tokens=True)["input_ids"] == [377, *ids]
    assert tokenizer.decode(ids) == text
    assert max(ids) < 377
    assert count_reachable(tokenizer.backend_tokenizer, merged(tokenizer.backend_tokenizer)) == 121


def merged(tokenizer: Tokenizer) -> list[str]:
    return ["".join(pair) for pair in merges_of(tokenizer)]


def test_threads_change_nothing(sentences: Sentences) -> None:
    code = (
        "import sys; from langtransfer.config.vocabulary import TrainTokenizerConfig as C;"
        "from langtransfer.vocabulary.training import train_byte_level as t;"
        "print(t(sys.stdin, C(type='byte-level-bpe', size=600), 'x').to_str())"
    )
    text = "\n".join(sentences("en", 200) + sentences("zh", 200))
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=text,
            env={"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads, parallel in (("1", "false"), ("5", "true"))
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("texts", "size", "said"),
    [
        (["the city of the city"] * 3, 5_000, r"size: 5000: the corpus gives at most 2\d\d pieces"),
        (["", "\n"], 300, "corpus: 'no text'"),
        (["a \ud800 b"], 300, r"corpus: 'a \\ud800 b'.*half a surrogate pair"),
    ],
)
def test_text_that_cannot_be_learnt(
    make_job: MakeJob, corpus: Callable[..., Path], texts: list[str], size: int, said: str
) -> None:
    if "\ud800" in texts[0]:  # JSON Lines of ours cannot hold it
        with pytest.raises(UserError, match=said):
            train(texts, size)
        return
    with pytest.raises(UserError, match=f"tokenizer small: {said}"):
        train_job(make_job, corpus("en", texts), size=size)


def test_the_largest_size_it_names_works(
    make_job: MakeJob, corpus: Callable[..., Path], sentences: Sentences
) -> None:
    place = corpus("en", sentences("en", 5))
    with pytest.raises(UserError) as caught:
        train_job(make_job, place, size=5_000)
    largest = int(caught.value.remedy.split("at most ")[1].split()[0])
    assert read_contract(train_job(make_job, place, size=largest)).size == largest


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"character_coverage": 1.0}, "character_coverage does not apply"),
        ({"byte_fallback": False}, "byte_fallback does not apply"),
        ({"size": 258}, "at least 259"),
    ],
)
def test_settings_of_the_other_kind(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainTokenizerConfig.model_validate({"type": "byte-level-bpe", "size": 300} | given_)
    TrainTokenizerConfig.model_validate({"type": "bpe", "size": 300} | given_)


# -- extension ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "choice"),
    [("zh", "target-script"), ("hi", "target-script"), ("sw", "all"), ("zh", "all")],
)
def test_extension(
    make_job: MakeJob,
    english: Path,
    pieces: dict[str, Path],
    flores: dict[str, list[str]],
    folder_bytes: FolderBytes,
    language: str,
    choice: str,
) -> None:
    out = extend_job(make_job, english, pieces[language], language, choice)
    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (english, out))
    unmoved(before, after)
    report = json.loads((out / "extension.json").read_text())
    contract = check_contract(out, "test")
    assert contract.size == report["size"] == report["base_size"] + report["added"]
    assert contract.base_size == report["base_size"] == 3_000
    assert contract.special_tokens == read_contract(english).special_tokens
    assert report["reachable"] == report["added"] > 500
    assert report["candidates"] == (
        report["added"]
        - report["intermediates"]
        + report["in_other_scripts"]
        + report["out_of_reach"]
    )
    assert report["characters_added"] is report["first_score"] is None
    old, new = load_encoder(english), load_encoder(out)
    if choice == "target-script":
        assert old(flores["en"]) == new(flores["en"])
    ids = new(flores[language])
    assert all(len(b) < len(a) for a, b in zip(old(flores[language]), ids, strict=True))
    for lines in flores.values():
        ids = new(lines)
        assert after.batch_decode(ids, clean_up_tokenization_spaces=False) == lines
        assert after(lines, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids
    again = extend_job(make_job, english, pieces[language], language, choice)
    assert folder_bytes(out) == folder_bytes(again)


def unmoved(before: Any, after: Any) -> None:
    """Every token of the base, special ones included, keeps its id; names and bos stay."""
    ids = after.get_vocab()
    assert {token: ids[token] for token in before.get_vocab()} == before.get_vocab()
    assert sorted(ids.values()) == list(range(len(ids)))
    assert after.special_tokens_map == before.special_tokens_map
    assert after.all_special_ids == before.all_special_ids
    assert after("the")["input_ids"] == before("the")["input_ids"]
    assert after.chat_template == before.chat_template


@pytest.fixture(scope="module")
def chinese(english: Path, pieces: dict[str, Path], tmp_path_factory: Any) -> Path:
    """English extended with Chinese, target script only."""
    tokenizers = (read_byte_level(f / "tokenizer.json") for f in (english, pieces["zh"]))
    extended, _ = extend_byte_level(*tokenizers, ["zh"], "target-script", "ext")
    return save(extended, tmp_path_factory.mktemp("chinese") / "ext")


ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"])
LITERAL = st.sampled_from([BOS, EOS, PAD, "<|end", "首都", "\r\n", "  ", "e\u0301", "'s", "123"])


@pytest.fixture(scope="module")
def loaded(english: Path, chinese: Path) -> tuple[Any, ...]:
    """Encoders of English and Chinese, the latter's AutoTokenizer and special ids."""
    special = set(read_contract(chinese).special_tokens.values())
    encoders = load_encoder(english), load_encoder(chinese)
    return *encoders, AutoTokenizer.from_pretrained(chinese), special


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(st.one_of(st.text(ASSIGNED), LITERAL)))
def test_any_text(loaded: tuple[Any, ...], parts: list[str]) -> None:
    text = "".join(parts)
    encode_base, encode, tokenizer, special = loaded
    ids, base = encode([text])[0], encode_base([text])[0]
    found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert found == ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert not set(ids) & special
    assert len(ids) <= len(base)
    if not in_scripts([spell(text.encode())], ["Han"]):
        assert ids == base


def test_half_a_surrogate_pair(chinese: Path, tmp_path: Path) -> None:
    from langtransfer.pretraining.packing import pack

    (tmp_path / "c.jsonl").write_text('{"id": "bad", "text": "x \\ud800 y"}\n')
    encode, contract = load_encoder(chinese), read_contract(chinese)
    with pytest.raises(UserError, match=r"'bad'.*half a surrogate pair"):
        pack(tmp_path / "c.jsonl", tmp_path, tmp_path, encode, contract, 1)


def test_special_tokens(make_job: MakeJob, english: Path, pieces: dict[str, Path]) -> None:
    markers = ["<|user|>", "<|assistant|>"]
    out = extend_job(make_job, english, pieces["zh"], "zh", "target-script", special_tokens=markers)
    contract = check_contract(out, "test")
    report = json.loads((out / "extension.json").read_text())
    first = report["base_size"] + report["added"]
    assert contract.special_tokens == read_contract(english).special_tokens | {
        "<|user|>": first,
        "<|assistant|>": first + 1,
    }
    assert contract.size == report["size"] == first + 2
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer("<|user|>", add_special_tokens=False)["input_ids"] == [first]
    assert max(load_encoder(out)(["<|user|>"])[0]) < report["base_size"]
    assert sub_pieces_of(english, out)[-2:] == load_encoder(english)(markers)
    with pytest.raises(UserError, match=r"vocabularies\.ext\.special_tokens.*pads with"):
        extend_job(make_job, english, pieces["zh"], "zh", "all", special_tokens=["<pad>"])


# -- bases made elsewhere -------------------------------------------------------------------------


def gpt2(folder: Path, tokenizer: Tokenizer) -> None:
    vocab = tokenizer.get_vocab(with_added_tokens=False)
    GPT2Tokenizer(
        vocab=vocab | {"<|endoftext|>": len(vocab)}, merges=merges_of(tokenizer)
    ).save_pretrained(folder)


def qwen(folder: Path, tokenizer: Tokenizer) -> None:
    Qwen2Tokenizer(
        vocab=tokenizer.get_vocab(with_added_tokens=False),
        merges=merges_of(tokenizer),
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template="{% for m in messages %}{{ m.content }}{% endfor %}",
    ).save_pretrained(folder)


def llama3(folder: Path, tokenizer: Tokenizer) -> None:
    """As converted from tiktoken: all splits of each token merge, and some no merge reaches."""
    content = contents(tokenizer)
    vocab = {t: i for t, i in content["model"]["vocab"].items() if i < 2_000}
    unreachable = [t for t in (spell(b" zyx"), spell("首都".encode())) if t not in vocab]
    vocab |= {token: 2_000 + i for i, token in enumerate(unreachable)}
    merges = [
        [token[:cut], token[cut:]]
        for token in sorted(vocab, key=lambda token: vocab[token])
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab and token not in unreachable
    ]
    model = content["model"] | {"vocab": vocab, "merges": merges, "ignore_merges": True}
    changed = Tokenizer.from_str(
        json.dumps(content | {"model": model, "added_tokens": [], "post_processor": None})
    )
    reserved = [f"<|reserved_special_token_{i}|>" for i in range(253)]
    changed.add_special_tokens([*SPECIAL_TOKENS.values(), *reserved])
    save_byte_level(Vocabulary(changed, SPECIAL_TOKENS), folder)


@pytest.mark.parametrize("family", [gpt2, qwen, llama3])
def test_other_families(
    make_job: MakeJob,
    english: Path,
    pieces: dict[str, Path],
    flores: dict[str, list[str]],
    tmp_path: Path,
    family: Callable[[Path, Tokenizer], None],
) -> None:
    base = tmp_path / "base"
    family(base, read_byte_level(english / "tokenizer.json"))
    write_contract(base)
    out = extend_job(make_job, base, pieces["zh"], "zh", "target-script")
    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (base, out))
    unmoved(before, after)
    assert read_contract(out).special_tokens == read_contract(base).special_tokens
    report = json.loads((out / "extension.json").read_text())
    assert report["reachable"] == report["added"] > 500
    old, new = load_encoder(base), load_encoder(out)
    assert old(flores["en"]) == new(flores["en"])
    ids = new(flores["zh"])
    assert sum(map(len, ids)) < sum(map(len, old(flores["zh"]))) / 1.5
    assert after.batch_decode(ids, clean_up_tokenization_spaces=False) == flores["zh"]
    assert after(flores["zh"], add_special_tokens=False)["input_ids"] == ids


def test_a_base_with_holes(
    make_job: MakeJob, english: Path, pieces: dict[str, Path], tmp_path: Path
) -> None:
    content = contents(read_byte_level(english / "tokenizer.json"))
    content["model"]["vocab"] |= {BOS: 3_005, EOS: 3_007, PAD: 3_009}
    base = save(Tokenizer.from_str(json.dumps(content)), tmp_path / "base")
    out = extend_job(make_job, base, pieces["zh"], "zh", "target-script")
    contract, report = read_contract(out), json.loads((out / "extension.json").read_text())
    assert contract.special_tokens == {BOS: 3_005, EOS: 3_007, PAD: 3_009}
    assert contract.base_size == 3_010
    assert contract.size == 3_010 + report["added"]
    assert len(sub_pieces_of(base, out)) == report["added"]


def test_ids_that_tokenizers_would_move(english: Path) -> None:
    """The trap itself, so that it is noticed when the library mends it."""
    content = contents(read_byte_level(english / "tokenizer.json"))
    naive = json.loads(json.dumps(content))
    naive["model"]["vocab"]["zz"] = 3_000
    assert Tokenizer.from_str(json.dumps(naive)).token_to_id(EOS) != 2_998
    ours = with_content(content, ["zz"])
    assert (ours.token_to_id(EOS), ours.token_to_id("zz"), size_of(ours)) == (2_998, 3_000, 3_001)


def test_a_special_token_that_reads_like_a_word(english: Path) -> None:
    tokenizer = read_byte_level(english / "tokenizer.json")
    tokenizer.add_special_tokens(["PADDING"])
    content = contents(tokenizer)
    assert with_content(content).token_to_id("PADDING") == 3_000
    content["model"]["ignore_merges"] = True
    with pytest.raises(UserError, match=r"special token: 'PADDING'.*ignore_merges"):
        with_content(content)


def broken(change: Callable[[dict[str, Any]], None]) -> Callable[[Tokenizer], str]:
    def make(tokenizer: Tokenizer) -> str:
        content = contents(tokenizer)
        change(content)
        return json.dumps(content)

    return make


def no_byte(content: dict[str, Any]) -> None:
    del content["model"]["vocab"]["!"]
    content["model"]["merges"] = []


BROKEN: dict[str, tuple[Callable[[Tokenizer], str], str]] = {
    "wordpiece": (
        lambda _: Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).to_str(),
        "WordPiece model",
    ),
    "unigram": (lambda _: Tokenizer(models.Unigram([("a", 0.0)])).to_str(), "Unigram model"),
    "metaspace": (
        broken(lambda c: c.update(pre_tokenizer=None)),
        "no ByteLevel pre-tokenizer",
    ),
    "decoder": (broken(lambda c: c.update(decoder=None)), "no ByteLevel decoder"),
    "fallback": (broken(lambda c: c["model"].update(byte_fallback=True)), "byte fallback"),
    "dropout": (broken(lambda c: c["model"].update(dropout=0.1)), "chance"),
    "suffix": (broken(lambda c: c["model"].update(end_of_word_suffix="</w>")), "end of words"),
    "byte": (broken(no_byte), "no token for 1 of the 256 bytes"),
    "same-id": (broken(lambda c: c["model"]["vocab"].update(zz=3_000)), "the same id"),
    "cut": (lambda t: t.to_str()[:-100], "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_no_exact_byte_level_bpe(english: Path, tmp_path: Path, name: str) -> None:
    make, said = BROKEN[name]
    path = tmp_path / "tokenizer.json"
    path.write_text(make(read_byte_level(english / "tokenizer.json")))
    with pytest.raises(UserError, match=said):
        read_byte_level(path)


def test_settings_that_add_a_token(english: Path, tmp_path: Path) -> None:
    save(read_byte_level(english / "tokenizer.json"), tmp_path)
    for path in (tmp_path / "tokenizer_config.json", tmp_path / "special_tokens_map.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "[PAD]"}))
    with pytest.raises(UserError, match="AutoTokenizer gives other ids"):
        read_vocabulary(tmp_path)


def test_mixed_kinds(
    make_job: MakeJob, english: Path, pieces: dict[str, Path], chinese_spm: Path
) -> None:
    with pytest.raises(UserError, match=r"pieces.*base is byte-level BPE.*type: byte-level-bpe"):
        extend_job(make_job, english, chinese_spm, "zh", "all")
    with pytest.raises(UserError, match=r"pieces.*base is SentencePiece.*type: bpe"):
        extend_job(make_job, chinese_spm, pieces["zh"], "zh", "all")
    with pytest.raises(UserError, match="only one of base and extended"):
        sub_pieces_of(english, chinese_spm)


@pytest.fixture
def chinese_spm(tmp_path: Path, sentences: Sentences) -> Path:
    from langtransfer.vocabulary.training import train_model

    proto = train_model(sentences("zh"), TrainTokenizerConfig(size=330), "zh")
    save_tokenizer(proto, tmp_path / "spm")
    write_contract(tmp_path / "spm")
    return tmp_path / "spm"


@pytest.mark.parametrize("choice", ["all", "target-script"])
def test_nothing_to_add(make_job: MakeJob, english: Path, choice: str) -> None:
    with pytest.raises(UserError, match=rf"vocabularies\.ext\.pieces: '{choice}': adds nothing"):
        extend_job(make_job, english, english, "zh", choice)


def test_no_vocabulary(make_job: MakeJob, english: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pieces.*neither a SentencePiece model nor"):
        extend_job(make_job, english, tmp_path, "zh", "all")


# -- what new pieces are made of ------------------------------------------------------------------


def test_sub_pieces(english: Path, chinese: Path) -> None:
    old, new = (Tokenizer.from_file(str(f / "tokenizer.json")) for f in (english, chinese))
    found = sub_pieces_of(english, chinese)
    assert len(found) == read_contract(chinese).size - 3_000
    for number, ids in enumerate(found):
        assert len(ids) > 1
        assert max(ids) < 3_000
        assert "".join(map(old.id_to_token, ids)) == new.id_to_token(3_000 + number)


def test_sub_pieces_of_sentencepiece(
    make_job: MakeJob, chinese_spm: Path, sentences: Sentences, tmp_path: Path
) -> None:
    from langtransfer.vocabulary.conversion import read_proto
    from langtransfer.vocabulary.extension import append_pieces

    base = read_proto(chinese_spm / "tokenizer.spm")
    save_tokenizer(append_pieces(base, ["q", "z", "qz", "▁q"]), tmp_path / "ext")
    write_contract(tmp_path / "ext")
    ids = {p.piece: i for i, p in enumerate(base.pieces)}
    assert sub_pieces_of(chinese_spm, tmp_path / "ext") == [
        [ids["<0x71>"]],
        [ids["<0x7A>"]],
        [ids["<0x71>"], ids["<0x7A>"]],
        [ids["▁"], ids["<0x71>"]],
    ]


def test_another_base(english: Path, pieces: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="first piece that differs from the base: 2"):
        sub_pieces_of(english, pieces["zh"])


# -- the joining order ----------------------------------------------------------------------------


def random_bpe(seed: int) -> Tokenizer:
    """A small BPE over a few characters: any merges, several a token, tokens none reaches."""
    chance = random.Random(seed)
    vocab = {character: i for i, character in enumerate(CHARACTER_OF.values())}
    known, merges = list(spell("aé首".encode()) + "b"), list[list[str]]()
    for _ in range(chance.randint(1, 20)):
        left, right = chance.choice(known), chance.choice(known)
        token = left + right
        if len(token) > 8 or [left, right] in merges:
            continue
        if token not in vocab:
            vocab[token] = len(vocab)
            if chance.random() < 0.15:
                continue
            known.append(token)
        merges.append([left, right])
    content = contents(new_tokenizer())
    content["model"] |= {"vocab": vocab, "merges": merges, "ignore_merges": seed % 2 == 0}
    return Tokenizer.from_str(json.dumps(content))


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    texts=st.lists(st.text("abé首", min_size=1, max_size=8), max_size=8),
)
def test_joining(seed: int, texts: list[str]) -> None:
    """New merges join what the base leaves apart, reach every new token, and do nothing else."""
    base, pieces = random_bpe(seed), random_bpe(seed + 1)
    wanted = [t for t in dict.fromkeys(merged(pieces)) if t not in base.get_vocab()]
    joining = Joining(base, wanted, ["Han"])
    reached = [token for token in wanted if joining.join(token)]
    assert set(reached) <= set(joining.added)
    assert len(set(joining.added)) == len(joining.added)
    assert not set(joining.added) & set(base.get_vocab())
    extended = append_tokens(base, joining.added, joining.merges)
    assert count_reachable(extended, joining.added) == len(joining.added)
    base.model.ignore_merges = extended.model.ignore_merges = False
    for token in (spell(text.encode()) for text in texts):
        before, after = segment(base.model, token), segment(extended.model, token)
        assert after == joining.parts(token)
        assert cuts(after) <= cuts(before)


def cuts(parts: list[str]) -> set[int]:
    return {sum(map(len, parts[:i])) for i in range(len(parts))}


def test_the_joining_order() -> None:
    """Bytes no other script has, then what is wanted, then whole characters, then the first."""
    base = new_tokenizer()
    content = contents(base)
    content["model"]["vocab"] = {c: i for i, c in enumerate(CHARACTER_OF.values())}
    base = Tokenizer.from_str(json.dumps(content))

    def order(token: bytes, scripts: list[str], *wanted: bytes) -> list[bytes]:
        joining = Joining(base, map(spell, (token, *wanted)), scripts)
        assert joining.join(spell(token))
        return [token_bytes(joint) for joint in joining.added]

    assert order("  中".encode(), ["Han"]) == [
        b"\xe4\xb8",
        "中".encode(),
        " 中".encode(),
        "  中".encode(),
    ]
    assert order("〇a".encode(), ["Han"])[0] == b"\xe3\x80"  # begins 、 too: no order is better
    assert order("aé".encode(), ["Han"])[0] == "é".encode()  # no ASCII text has it
    assert order(b"abc", ["Latin"]) == [b"ab", b"abc"]
    assert order(b"abc", ["Latin"], b"bc") == [b"bc", b"abc"]


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ("中国".encode(), True),
        (b" word", True),
        (b"a b", False),  # two words
        (b"1234", False),  # digits in threes
        (b".word", True),  # Llama 3's pattern takes one sign with a word, GPT-2's does not
        ("中".encode() + b"\xe5\x9b", True),  # the next character may be a letter
        (b".\n\xe5\x9b", False),  # whatever it is
        (b"\x9b" + "中".encode(), True),
        (b"\xe5\x9b", True),  # inside one character
        (b"\xbd\xe5", True),
        (b"\xe5a", False),  # no UTF-8
        (b"\xed\xa0", False),  # half a surrogate pair
        (b"\x80\x80\x80\x80", False),
    ],
)
def test_what_some_text_holds_in_one_word(data: bytes, kept: bool) -> None:
    assert can_occur(new_tokenizer(), data) is kept


def test_words_of_other_pre_tokenizers() -> None:
    base = new_tokenizer()
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # GPT-2
    assert not can_occur(base, b".word")
    assert can_occur(base, b"1234")
    base.normalizer = normalizers.NFC()
    assert can_occur(base, "é".encode())
    assert not can_occur(base, "e\u0301".encode())


def test_only_whole_characters_count_as_script() -> None:
    tokens = [spell(data) for data in (b"\xe4\xb8", "中".encode(), b"\xad" + "国".encode(), b"a")]
    assert in_scripts(tokens, ["Han"]) == tokens[1:3]
    assert read_utf8(b"\xad" + "国".encode() + b"\xe4") == (b"\xad", "国", b"\xe4")
