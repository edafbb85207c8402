"""Multiple-choice benchmarks in their upstream layouts, and the prompts made of them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from langtransfer.corpus.jsonl import read_json, read_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks import archives
from langtransfer.evaluation.benchmarks.knowledge import read_subjects
from tests.unit.evaluation.benchmark_cells import REAL, SHIPPED, cell, fetch

HEADER = "id,question,A,B,C,D,answer"


def prompts(data: Path, cache: Path) -> dict[str, list[tuple[str, str]]]:
    """(context, continuation) of each option of each item, by task, as the harness asks them."""
    from lm_eval.tasks import TaskManager

    found = {}
    for path in sorted((data / "tasks").glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        files = config["dataset_kwargs"]["data_files"]
        assert not any(Path(file).is_absolute() for file in files.values())
        absolute = {split: str(data / file) for split, file in files.items()}
        config["dataset_kwargs"] = {"data_files": absolute, "cache_dir": str(cache)}
        (task,) = TaskManager(include_defaults=False).load([config])["tasks"].values()
        task.set_fewshot_seed(1)
        task.build_all_requests(rank=0, world_size=1)
        found[config["task"]] = [instance.args for instance in task.instances]
    return found


def zipped(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def small_ceval(folder: Path) -> Path:
    def body(letters: str, end: str = "") -> str:
        return "\n".join(f"{n},题{n}____。,甲,乙,丙,丁,{a}{end}" for n, a in enumerate(letters))

    return zipped(
        folder / "ceval.zip",
        {
            "dev/law_dev.csv": f"{HEADER},explanation\n" + body("AB", ",because"),
            "val/law_val.csv": f"{HEADER}\n" + body("CDA"),
            "test/law_test.csv": "id,question,A,B,C,D\n0,题,甲,乙,丙,丁",
            "dev/logic_dev.csv": f"{HEADER},explanation\n" + body("A", ",because"),
            "val/logic_val.csv": f"{HEADER}\n" + body("B"),
        },
    )


def test_ceval_prompt_is_upstreams_and_items_are_its_own(tmp_path: Path) -> None:
    registry = tmp_path / "datasets.csv"
    small_ceval(tmp_path)
    registry.write_text(
        f"key,language,kind,location,revision,files\nceval,zh,file,{tmp_path},,ceval.zip\n",
        encoding="utf-8",
    )
    config = cell("knowledge", "ceval", split="val", shots=2, items=2, subjects=("law",))
    data = fetch(tmp_path / "job", registry, "ceval", config)
    assert sorted(p.relative_to(data).as_posix() for p in data.rglob("*") if p.is_file()) == [
        "items/ceval_law.dev.jsonl", "items/ceval_law.test.jsonl", "stats.json",
        "tasks/ceval_law.yaml",
    ]  # fmt: skip
    assert list(read_jsonl(data / "items" / "ceval_law.test.jsonl")) == [
        {"id": f"law-{n}", "subject": "law", "question": f"题{n}____。", "A": "甲", "B": "乙",
         "C": "丙", "D": "丁", "answer": answer} for n, answer in enumerate("CD")
    ]  # fmt: skip
    asked = prompts(data, tmp_path / "cache")["ceval_law"]
    options = "A. 甲\nB. 乙\nC. 丙\nD. 丁\n答案："
    assert asked[0] == (
        "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
        f"题0____。\n{options}A\n\n题1____。\n{options}B\n\n题0____。\n{options}",
        "A",
    )
    assert [continuation for _, continuation in asked] == list("ABCD") * 2


def test_a_title_comes_from_the_subject_table(tmp_path: Path, shared_data: Path) -> None:
    config = cell("knowledge", "ceval", split="val", shots=5, subjects=("law",), items=1)
    data = fetch(tmp_path, REAL, "ceval", config)
    task = yaml.safe_load((data / "tasks" / "ceval_law.yaml").read_text(encoding="utf-8"))
    assert task["description"] == "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
    assert task["num_fewshot"] == 5
    assert task["metadata"] == {"version": 1}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"split": "val", "subjects": ("lwa",)}, "'lwa': not in this benchmark; did you mean law"),
        ({"split": "val", "shots": 2}, "shots: 2: logic has only 1 worked examples"),
        ({"split": "test"}, r"test/law_test\.csv: 'test': holds no answers: use split: val"),
    ],
)
def test_ceval_settings_that_cannot_be_met(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    path = small_ceval(tmp_path)
    with pytest.raises(UserError, match=message):
        read_subjects(cell("knowledge", "ceval", **more), {"ceval.zip": path})


def test_mmlu_has_no_header_and_comes_as_tar_too(tmp_path: Path) -> None:
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as archive:
        for split, rows in {"dev": 'Q1?,"a, b",2,3,4,B\n', "test": "Q2?,1,2,3,4,D\n"}.items():
            data = rows.encode()
            info = tarfile.TarInfo(f"data/{split}/high_school_biology_{split}.csv")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (subject,) = read_subjects(cell("knowledge", "mmlu", "en", shots=1), {"data.tar": path})
    assert subject.words == {"subject": "high school biology"}
    assert subject.items[0]["answer"] == "D"
    assert subject.dev[0]["A"] == "a, b"


def test_broken_archives_and_bombs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_ceval(tmp_path)
    whole = path.read_bytes()
    config = cell("knowledge", "ceval", split="val")
    for data in (b"", b"no archive", whole[: len(whole) // 2], whole.replace(b"\xe9", b"\xff", 9)):
        path.write_bytes(data)
        with pytest.raises(UserError, match="ceval"):
            read_subjects(config, {"ceval.zip": path})
    path.write_bytes(whole)
    monkeypatch.setattr(archives, "LARGEST_MEMBER_BYTES", 10)
    with pytest.raises(UserError, match="too many for a benchmark"):
        read_subjects(config, {"ceval.zip": path})


def gaokao_files(folder: Path) -> dict[str, Path]:
    prompt = {"examples": [
        {"type": "single_choice", "keyword": "K", "prefix_prompt": "请你做一道题\n题目如下："},
        {"type": "multi_choice", "keyword": "M", "prefix_prompt": "多选"},
    ]}  # fmt: skip
    rows = [
        {"question": "1．题\nA．甲 B．乙 C．丙 D．丁\n", "answer": answer, "index": n}
        for n, answer in enumerate([["C"], ["AB"], ["A", "B"], "A", ["D"]])
    ]
    paths = {}
    for name, data in {
        "Bench/Obj_Prompt.json": prompt,
        "Data/K.json": {"keywords": "K", "example": rows},
        "Data/M.json": {"keywords": "M", "example": rows},
    }.items():
        path = folder / Path(name).name
        path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        paths[name] = path
    return paths


def test_gaokao_scores_single_choice_items_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    paths = gaokao_files(tmp_path)
    single, several = read_subjects(cell("knowledge", "gaokao"), paths)
    assert [item["answer"] for item in single.items] == ["C", "D"]
    assert single.left_out == 3
    assert (several.items, several.left_out) == ([], 5)
    with pytest.raises(UserError, match="'M': no item has a single right letter"):
        read_subjects(cell("knowledge", "gaokao", subjects=("M",)), paths)
    del paths["Bench/Obj_Prompt.json"]
    with pytest.raises(UserError, match="must be among them"):
        read_subjects(cell("knowledge", "gaokao"), paths)


def test_real_gaokao_file_and_its_prompt(tmp_path: Path, shared_data: Path) -> None:
    data = fetch(tmp_path / "job", REAL, "gaokao-bench", cell("knowledge", "gaokao"))
    assert len(list((data / "tasks").iterdir())) == 1
    assert read_json(data / "stats.json") == {
        "items": 287, "subjects": {"2010-2022_History_MCQs": 287}, "left_out": {},
    }  # fmt: skip
    asked = prompts(data, tmp_path / "cache")["gaokao_2010-2022_History_MCQs"]
    assert asked[0][0].startswith("请你做一道历史选择题\n请你一步一步思考")
    assert asked[0][0].endswith("D．广东、广西\n\n【答案】:")
    assert asked[0][1] == " A"


def test_real_benchmarks_have_upstreams_counts(shared_data: Path) -> None:
    root = shared_data / "benchmarks"
    folder = root / "gaokao-bench"
    names = [*(folder / "Data" / "Objective_Questions").glob("*.json"),
             folder / "Bench" / "Obj_Prompt.json"]  # fmt: skip
    gaokao = read_subjects(cell("knowledge", "gaokao"), {p.name: p for p in names})
    counts = {s.name: (len(s.items), s.left_out) for s in gaokao}
    assert sum(kept + left for kept, left in counts.values()) == 1_781
    assert len([kept for kept, _ in counts.values() if kept]) == 7
    assert sum(kept for kept, _ in counts.values()) == 1_418
    assert counts["2010-2022_Math_II_MCQs"] == (218, 0)
    for split, count in {"val": 1_346}.items():
        config = cell("knowledge", "ceval", split=split, shots=5)
        ceval = read_subjects(config, {"ceval.zip": root / "ceval" / "ceval.zip"})
        assert (len(ceval), sum(len(s.items) for s in ceval)) == (52, count)
        assert all(len(s.dev) == 5 and s.words["subject"] != s.name for s in ceval)
    for split, count in {"val": 1_531, "test": 14_042}.items():
        config = cell("knowledge", "mmlu", "en", split=split, shots=5)
        mmlu = read_subjects(config, {"mmlu.zip": root / "mmlu" / "mmlu.zip"})
        assert (len(mmlu), sum(len(s.items) for s in mmlu)) == (57, count)
    files = {path.name: path for path in (root / "agieval" / "data" / "v1").glob("*.jsonl")}
    agieval = read_subjects(cell("knowledge", "agieval"), files)
    assert (len(agieval), sum(len(s.items) + s.left_out for s in agieval)) == (21, 8_269)
    assert {s.name for s in agieval if not s.items} == {
        "gaokao-mathcloze", "math", "jec-qa-ca", "jec-qa-kd",
    }  # fmt: skip


def test_agieval_prompt_is_upstreams(tmp_path: Path) -> None:
    rows = [
        {"passage": "P. ", "question": "Q?", "options": ["(A)a", "(B)b", "(C)c", "(D)d", "(E)e"],
         "label": "E"},
        {"passage": None, "question": "R?", "options": ["(A)a", "(B)b"], "label": ["A", "B"]},
        {"passage": None, "question": "T", "options": ["(A)a", "(B)b"], "label": "AB"},
        {"passage": None, "question": "S", "options": None, "label": None, "answer": "7"},
    ]  # fmt: skip
    (tmp_path / "lsat-ar.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    registry = tmp_path / "datasets.csv"
    header = "key,language,kind,location,revision,files\n"
    registry.write_text(f"{header}agieval,en,file,{tmp_path},,lsat-ar.jsonl\n", encoding="utf-8")
    data = fetch(tmp_path / "job", registry, "agieval", cell("knowledge", "agieval", "en"))
    assert read_json(data / "stats.json")["left_out"] == {"lsat-ar": 3}
    asked = prompts(data, tmp_path / "cache")["agieval_lsat-ar"]
    assert asked[0][0] == (
        "P. Q: Q? Answer Choices: (A)a (B)b (C)c (D)d (E)e\nA: Among A through E, the answer is"
    )
    assert [continuation for _, continuation in asked] == [" A", " B", " C", " D", " E"]


def test_atlas_knowledge_scores_the_options_themselves(tmp_path: Path) -> None:
    config = cell("knowledge", "atlas", "sw", items=12, shots=2)
    data = fetch(tmp_path / "job", SHIPPED, "atlas", config)
    items = list(read_jsonl(data / "items" / "atlas_atlas.test.jsonl"))
    dev = list(read_jsonl(data / "items" / "atlas_atlas.dev.jsonl"))
    assert (len(items), len(dev)) == (12, 2)
    assert not {row["id"] for row in items} & {row["id"] for row in dev}
    asked = prompts(data, tmp_path / "cache")["atlas_atlas"]
    assert asked[0][0].endswith(f"\n\n{items[0]['question']}")
    assert [text for _, text in asked[:4]] == [f"\n{items[0][letter]}" for letter in "ABCD"]
