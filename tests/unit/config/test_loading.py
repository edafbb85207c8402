"""A config is read strictly, and every mistake is one line with field, value and remedy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from langtransfer.config.loading import load_config, parse_config
from langtransfer.errors import UserError
from langtransfer.resources import ROOT

TINY = ROOT / "tests" / "configs" / "tiny.yaml"
CONFIGS = sorted(
    [*ROOT.glob("tests/configs/*.yaml"), *ROOT.glob("profiles/*/study.yaml"), ROOT / "config.yaml"]
)


@pytest.fixture(scope="module")
def tiny() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_config_in_the_repository_is_valid(path: Path) -> None:
    config = load_config(path)
    assert parse_config(config.model_dump(mode="json")) == config


def mutate(*path: str | int, value: object = None, remove: bool = False) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for part in path[:-1]:
            content = content[part]
        if remove:
            del content[path[-1]]
        else:
            content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "field", "value", "remedy"),
    [
        (mutate("languages", 0, value="xx"), "languages", "'xx'", "unknown language"),
        (mutate("languages", 0, value=False), "languages.0", "False", "quote it"),
        (mutate("languages", 0, value="en"), "languages", "'en'", "source language"),
        (mutate("languages", 0, value="zh"), "languages", "'zh'", "named twice"),
        (mutate("pretain", value={}), "pretain", "{}", "did you mean pretrain?"),
        (
            mutate("pretrain", "optimization", "learning_rat", value=1.0),
            "pretrain.optimization.learning_rat",
            "1.0",
            "did you mean learning_rate?",
        ),
        (mutate("models", 0, "mixx", value="a"), "models.0.mixx", "'a'", "did you mean mix?"),
        (mutate("models", 1, "label", value="LLaMA"), "models.label", "'LLaMA'", "duplicate"),
        (
            mutate("models", 1, "vocabulary", value="ext10"),
            "models[LLaMA+8k].vocabulary",
            "'ext10'",
            "did you mean ext100?",
        ),
        (mutate("models", 1, "budget", value="8k"), "models.1.budget", "'8k'", "10k-samples"),
        (mutate("models", 1, "mix", value="x"), "models[LLaMA+8k].mix", "'x'", "unknown mix"),
        (mutate("models", 1, "tunings", value=["t4"]), "models[LLaMA+8k].tunings", "'t4'", "t40"),
        (
            mutate("mixes", "target-only", value={}),
            "mixes.target-only",
            "{}",
            "either shares or order",
        ),
        (mutate("mixes", "joint", "shares", value={"en": 1.0}), "mixes.joint", "'en'", "`target`"),
        (mutate("base", "train", "tokenizer", value="b"), "base.train.tokenizer", "'b'", "base"),
        (
            mutate("pretrain", "optimization", "schedule", value="cosine"),
            "pretrain",
            "",
            "constant",
        ),
        (mutate("pretrain", remove=True), "pretrain", "None", "required"),
        (mutate("tunings", "none", value={"examples": 3}), "tunings", "'none'", "always there"),
        (
            mutate("tunings", "t40", value={"examples": 4, "order": ["zh", "xx"]}),
            "tunings.t40",
            "'xx'",
            "language of this study",
        ),
        (
            mutate("tunings", "t40-sequence", "shares", value={"target": 1.0}),
            "tunings.t40-sequence",
            "order",
            "either shares or order",
        ),
        (
            mutate("tunings", "t40-sequence", "examples", value=1),
            "tunings.t40-sequence",
            "1",
            "one for each language",
        ),
        (
            mutate("tunings", "t40-sequence", "order", value=[]),
            "tunings.t40-sequence.order",
            "[]",
            "at least 1",
        ),
        (mutate("finetune", "lora", remove=True), "finetune", "", "exactly when method is lora"),
        (
            mutate("perplexity", "benchmark", value="llm-eval"),
            "perplexity.benchmark",
            "'llm-eval'",
            "kind text",
        ),
        (
            mutate("alignment", "benchmark", value="llm-eval"),
            "alignment.benchmark",
            "'llm-eval'",
            "kind text",
        ),
        (
            mutate("benchmarks", "parallel", "format", value="corpus"),
            "alignment.benchmark",
            "'parallel'",
            "format atlas or flores",
        ),
        (mutate("alignment", "documents", value=21), "alignment.documents", "21", "has 20 items"),
    ],
)
def test_mistakes(
    tiny: dict[str, Any], change: Callable[[Any], None], field: str, value: str, remedy: str
) -> None:
    content = copy.deepcopy(tiny)
    change(content)
    with pytest.raises(UserError) as caught:
        parse_config(content)
    line = str(caught.value)
    assert caught.value.field == field
    assert value in line
    assert remedy in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "given twice"),
        ("a: [1\n", "not YAML"),
        ("- a\n", "a mapping of sections"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        load_config(path)


def test_missing_and_undecodable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(UserError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_spelling_of_numbers_does_not_matter(tiny: dict[str, Any]) -> None:
    other = copy.deepcopy(tiny)
    other["pretrain"]["optimization"]["learning_rate"] = "2e-3"  # YAML 1.1 reads 2e-3 as a string
    other["models"][1]["budget"] = "8000-tokens"
    assert parse_config(other) == parse_config(tiny)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"aliases \(\*name\) stand for too much"),
        ("a: &a [*a]\n", "or for themselves"),
        ("[" * 3_000, "nested too deep"),
        ("? [a, b]\n: 1\n", "not YAML: .*unhashable key"),
        ("a: 2024-99-99\n", "not YAML: month must be in"),
        ("a: " + "9" * 5_000, "not YAML: Exceeds the limit"),
        ("a: !!python/object:os.system {}\n", "not YAML"),
        ("a: \x00", "not YAML"),
        ("- a\n", "a config is a mapping"),
        ("", "a config is a mapping"),
    ],
)
def test_hostile_files_are_one_line_and_soon(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        load_config(tmp_path)


def test_aliases_are_fine(tmp_path: Path) -> None:
    text = (ROOT / "tests" / "configs" / "tiny.yaml").read_text(encoding="utf-8")
    seed = "  seed: 1\n"
    assert text.count(seed) > 1
    path = tmp_path / "study.yaml"
    path.write_text(text.replace(seed, "  seed: &s 1\n", 1).replace(seed, "  seed: *s\n", 1))
    assert load_config(path) == load_config(ROOT / "tests" / "configs" / "tiny.yaml")
