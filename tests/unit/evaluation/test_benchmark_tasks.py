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

from langtransfer.corpus import archives
from langtransfer.corpus.archives import unpack
from langtransfer.corpus.jsonl import read_json, read_jsonl
from langtransfer.errors import UserError
from langtransfer.evaluation.benchmarks.knowledge import read_subjects
from langtransfer.evaluation.benchmarks.questions import read_questions
from langtransfer.evaluation.benchmarks.subjects import Subject, table_of
from tests.unit.evaluation.benchmark_cells import REAL, SHIPPED, cell, fetch

HEADER = "id,question,A,B,C,D,answer"


def read(config: Any, path: Path, folder: Path) -> list[Subject]:
    """Subjects of an archive, as the stage reads them."""
    return read_subjects(config, unpack({path.name: path}, folder / "unpacked"))


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
         "C": "丙", "D": "丁", "answer": answer, "category": "Humanities"}
        for n, answer in enumerate("CD")
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
    (known,) = read_jsonl(data / "items" / "ceval_law.test.jsonl")
    assert task["metadata"] == {
        "version": 1, "marking": "choice", "subject": "law", "averages": [], "chance": 1.0,
    }  # fmt: skip
    assert known["answer"] in "ABCD"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"split": "val", "subjects": ("lwa",)}, "'lwa': not in this benchmark; did you mean law"),
        ({"split": "val", "shots": 2}, "shots: 2: logic has only 1 worked examples"),
    ],
)
def test_ceval_settings_that_cannot_be_met(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    path = small_ceval(tmp_path)
    with pytest.raises(UserError, match=message):
        read(cell("knowledge", "ceval", **more), path, tmp_path)


def test_mmlu_has_no_header_and_comes_as_tar_too(tmp_path: Path) -> None:
    path = tmp_path / "data.tar"
    with tarfile.open(path, "w") as archive:
        for split, rows in {"dev": 'Q1?,"a, b",2,3,4,B\n', "test": "Q2?,1,2,3,4,D\n"}.items():
            data = rows.encode()
            info = tarfile.TarInfo(f"data/{split}/high_school_biology_{split}.csv")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (subject,) = read(cell("knowledge", "mmlu", "en", shots=1), path, tmp_path)
    assert subject.words == {"subject": "high school biology"}
    assert subject.items[0]["answer"] == "D"
    assert subject.dev[0]["A"] == "a, b"
    assert subject.items[0]["category"] == "STEM"


def test_broken_archives_and_bombs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_ceval(tmp_path)
    whole = path.read_bytes()
    config = cell("knowledge", "ceval", split="val")
    for data in (b"", b"no archive", whole[: len(whole) // 2], whole.replace(b"\xe9", b"\xff", 9)):
        path.write_bytes(data)
        with pytest.raises(UserError, match="ceval"):
            read(config, path, tmp_path)
    path.write_bytes(whole)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(UserError, match="too many for a data set"):
        read(config, path, tmp_path)


@pytest.mark.parametrize("name", ["../out.csv", "/tmp/out.csv", "a/../../out.csv", "c:\\out.csv"])
def test_nothing_is_unpacked_outside(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "evil.zip", {name: "x"})
    with pytest.raises(UserError, match="leads out"):
        unpack({"evil.zip": path}, tmp_path / "inner" / "unpacked")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["evil.zip"]


def test_links_in_an_archive_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "links.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("dev/a.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert unpack({"links.tar.gz": path}, tmp_path / "unpacked") == {}


def test_a_folder_and_its_archive_are_the_same_benchmark(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "benchmarks" / "ceval" / "ceval.zip"
    folder = tmp_path / "folder"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    registry = tmp_path / "datasets.csv"
    registry.write_text(
        "key,language,kind,location,revision,files\n"
        f"zip,zh,file,{path.parent},,ceval.zip\n"
        f"folder,zh,file,{folder},,dev/*.csv;val/*.csv\n",
        encoding="utf-8",
    )
    config = cell("knowledge", "ceval", split="val", shots=5, items=3)
    made = [fetch(tmp_path / key, registry, key, config) for key in ("zip", "folder")]
    files = [{p.relative_to(data): p.read_bytes() for p in data.rglob("*.*")} for data in made]
    assert files[0] == files[1]
    assert len(files[0]) == 52 * 3 + 1


def test_cmmlu_layout_and_prompt(tmp_path: Path) -> None:
    header = ",Question,A,B,C,D,Answer\n"
    zipped(
        tmp_path / "cmmlu.zip",
        {
            "dev/agronomy.csv": header + "0,示例,一,二,三,四,D\n",
            "test/agronomy.csv": header + "0,题目甲,一,二,三,四,B\n1,乙,1,2,3,4,A\n",
        },
    )
    registry = tmp_path / "datasets.csv"
    registry.write_text(
        f"key,language,kind,location,revision,files\ncmmlu,zh,file,{tmp_path},,cmmlu.zip\n",
        encoding="utf-8",
    )
    config = cell("knowledge", "cmmlu", shots=1)
    data = fetch(tmp_path / "job", registry, "cmmlu", config)
    asked = prompts(data, tmp_path / "cache")["cmmlu_agronomy"]
    options = "A. 一\nB. 二\nC. 三\nD. 四\n答案是："
    assert asked[0] == (
        "以下是关于农学的单项选择题，请直接给出正确答案的选项。\n\n"
        f"题目：示例\n{options}D\n\n题目：题目甲\n{options}",
        "A",
    )
    assert len(asked) == 8


@pytest.mark.parametrize(
    ("format", "count", "categories"),
    [("ceval", 52, 4), ("mmlu", 57, 4), ("cmmlu", 67, 4), ("agieval", 21, 0), ("gaokao", 14, 10)],
)
def test_tables_of_subjects_are_whole(format: str, count: int, categories: int) -> None:
    table = table_of(format, "files.csv" if format in ("agieval", "gaokao") else "subjects.csv")
    assert len(table) == count
    assert len({row["category"] for row in table.values() if "category" in row}) == categories
    assert all(row.get("title", "-") for row in table.values())


def gaokao_files(folder: Path, rows: dict[str, tuple[str, list[Any]]]) -> dict[str, Path]:
    """Files by keyword: (type, answers of each question)."""
    prompt = {"examples": [
        {"type": kind, "keyword": keyword, "prefix_prompt": f"请做{keyword}\n"}
        for keyword, (kind, _) in rows.items()
    ]}  # fmt: skip
    paths = {"Bench/Obj_Prompt.json": folder / "Obj_Prompt.json"}
    paths["Bench/Obj_Prompt.json"].write_text(json.dumps(prompt), encoding="utf-8")
    for keyword, (_, answers) in rows.items():
        example = [
            {"question": f"题{n}\n", "answer": answer, "index": n, "score": 2}
            for n, answer in enumerate(answers)
        ]
        path = paths[f"Data/Objective_Questions/{keyword}.json"] = folder / f"{keyword}.json"
        path.write_text(json.dumps({"keywords": keyword, "example": example}), encoding="utf-8")
    return paths


def test_gaokao_asks_every_type_in_its_own_way(tmp_path: Path) -> None:
    paths = gaokao_files(tmp_path, {
        "S": ("single_choice", [["C"]]),
        "Q": ("multi_question_choice", [["A"], ["D", "B"]]),
        "M": ("multi_choice", [["AC"], ["B"]]),
        "F": ("five_out_of_seven", [["C", "F", "A", "E", "D"]]),
    })  # fmt: skip
    registry = tmp_path / "datasets.csv"
    names = ";".join(path.name for path in paths.values())
    header = "key,language,kind,location,revision,files\n"
    registry.write_text(f"{header}g,zh,file,{tmp_path},,{names}\n", encoding="utf-8")
    data = fetch(tmp_path / "job", registry, "g", cell("knowledge", "gaokao"))
    assert read_json(data / "stats.json") == {
        "items": 6, "subjects": {"F": 1, "M": 2, "Q": 2, "S": 1},
    }  # fmt: skip
    asked = prompts(data, tmp_path / "cache")
    assert asked["gaokao_S"][0] == ("请做S\n题0\n\n【答案】:", " A")
    assert [context for context, _ in asked["gaokao_Q"][::4]] == [
        "请做Q\n题0\n\n【答案】:", "请做Q\n题1\n\n（1）【答案】", "请做Q\n题1\n\n（2）【答案】",
    ]  # fmt: skip
    assert asked["gaokao_M"][0][0] == "请做M\n题0\n\n【答案】"
    assert asked["gaokao_F"][0][1]["max_gen_toks"] == 24  # type: ignore[index]
    (item,) = read_jsonl(data / "items" / "gaokao_F.test.jsonl")
    assert (item["answer"], item["points"]) == ("CFAED", 10)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("single_choice", ["A", "B"]), ("single_choice", ["AB"]), ("single_choice", ["E"]),
        ("single_choice", []), ("single_choice", "A"), ("multi_choice", ["AB", "C"]),
        ("multi_question_choice", ["A", ""]), ("five_out_of_seven", ["H"]),
        ("essay", ["A"]),
    ],
)  # fmt: skip
def test_gaokao_answers_that_are_not_of_the_type_are_refused(
    tmp_path: Path, kind: str, answer: Any
) -> None:
    paths = gaokao_files(tmp_path, {"K": (kind, [answer])})
    with pytest.raises(UserError, match=r"K\.json"):
        read_subjects(cell("knowledge", "gaokao"), paths)


def test_gaokao_without_prompts_is_refused(tmp_path: Path) -> None:
    paths = gaokao_files(tmp_path, {"S": ("single_choice", [["C"]])})
    del paths["Bench/Obj_Prompt.json"]
    with pytest.raises(UserError, match="must be among them"):
        read_subjects(cell("knowledge", "gaokao"), paths)


def test_real_gaokao_file_and_its_prompt(tmp_path: Path, shared_data: Path) -> None:
    data = fetch(tmp_path / "job", REAL, "gaokao-bench", cell("knowledge", "gaokao"))
    assert len(list((data / "tasks").iterdir())) == 1
    assert read_json(data / "stats.json") == {
        "items": 287, "subjects": {"2010-2022_History_MCQs": 287},
    }  # fmt: skip
    asked = prompts(data, tmp_path / "cache")["gaokao_2010-2022_History_MCQs"]
    assert asked[0][0].startswith("请你做一道历史选择题\n请你一步一步思考")
    assert asked[0][0].endswith("D．广东、广西\n\n【答案】:")
    assert asked[0][1] == " A"


def test_a_whole_repository_gives_the_benchmark_alone(shared_data: Path) -> None:
    root = shared_data / "benchmarks" / "gaokao-bench"
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*.json")}
    objective = read_subjects(cell("knowledge", "gaokao"), paths)
    assert (len(objective), sum(len(s.items) for s in objective)) == (14, 2_840)
    subjective = read_questions(cell("response-quality", "gaokao-subjective"), paths)
    assert (len(subjective), len({q["category"] for q in subjective})) == (1_030, 18)
    assert all(q["instruction"] and q["input"] and q["reference"] for q in subjective)
    assert sum(q["points"] for q in subjective) > 9_000
    files = (shared_data / "benchmarks" / "agieval" / "data" / "v1").glob("*.jsonl")
    editions = {f"AGIEval-main/data/{e}/{p.name}": p for p in files for e in ("v1", "v1_1")}
    agieval = read_subjects(cell("knowledge", "agieval"), editions)
    assert sum(len(s.items) for s in agieval) == 8_269
    with pytest.raises(UserError, match="is there twice"):
        read_subjects(
            cell("knowledge", "agieval"),
            {n.replace("/v1/", "/v2/"): p for n, p in editions.items()},
        )


@pytest.mark.parametrize(
    ("format", "language", "split", "subjects", "count"),
    [
        ("ceval", "zh", "val", 52, 1_346), ("ceval", "zh", "test", 52, 12_342),
        ("mmlu", "en", "val", 57, 1_531), ("mmlu", "en", "test", 57, 14_042),
    ],
)  # fmt: skip
def test_real_archives_have_upstreams_counts(
    tmp_path: Path, shared_data: Path, format: str, language: str, split: str, subjects: int,
    count: int,
) -> None:  # fmt: skip
    config = cell("knowledge", format, language, split=split, shots=5)
    found = read(config, shared_data / "benchmarks" / format / f"{format}.zip", tmp_path)
    assert (len(found), sum(len(s.items) for s in found)) == (subjects, count)
    assert all(len(s.dev) == 5 and "_" not in s.words["subject"] for s in found)
    assert all(item["category"] for s in found for item in s.items)
    public = {bool(item["answer"]) for s in found for item in s.items}
    assert public == {(format, split) != ("ceval", "test")}


COUNTS = {
    "aqua-rat": 254, "gaokao-biology": 210, "gaokao-chemistry": 207, "gaokao-chinese": 246,
    "gaokao-english": 306, "gaokao-geography": 199, "gaokao-history": 235, "gaokao-mathcloze": 118,
    "gaokao-mathqa": 351, "gaokao-physics": 200, "jec-qa-ca": 1_000, "jec-qa-kd": 1_000,
    "logiqa-en": 651, "logiqa-zh": 651, "lsat-ar": 230, "lsat-lr": 510, "lsat-rc": 269,
    "math": 1_000, "sat-en": 206, "sat-en-without-passage": 206, "sat-math": 220,
}  # fmt: skip


def test_real_agieval_is_whole(tmp_path: Path, shared_data: Path) -> None:
    data = fetch(tmp_path, REAL, "agieval", cell("knowledge", "agieval"))
    assert read_json(data / "stats.json") == {"items": 8_269, "subjects": COUNTS}
    tasks = [yaml.safe_load(path.read_text("utf-8")) for path in (data / "tasks").iterdir()]
    written = {t["task"] for t in tasks if t["output_type"] == "generate_until"}
    assert written == {
        f"agieval_{name}" for name in ("gaokao-mathcloze", "gaokao-mathqa_letters",
                                       "gaokao-physics", "jec-qa-ca", "jec-qa-kd", "math")
    }  # fmt: skip
    averages = {n: {t["metadata"]["subject"] for t in tasks if n in t["metadata"]["averages"]}
                for n in ("paper", "upstream")}  # fmt: skip
    assert averages["upstream"] == set(COUNTS)
    assert averages["paper"] == set(COUNTS) - {"math", "gaokao-mathcloze"}
    assert len(averages["paper"]) == 19  # paper §3.3: 19 tasks


def test_agieval_prompts_are_upstreams(tmp_path: Path) -> None:
    options = ["(A)a", "(B)b", "(C)c", "(D)d"]
    files = {
        "lsat-ar": [{"passage": "P. ", "question": "Q?", "options": [*options, "(E)e"],
                     "label": "E"}],
        "gaokao-mathqa": [{"passage": None, "question": "题", "options": options, "label": "B"},
                          {"passage": None, "question": "S", "options": options, "label": "A C"}],
        "jec-qa-kd": [{"passage": None, "question": "法", "options": options, "label": ["D"]}],
        "math": [{"passage": None, "question": "1+1?", "options": None, "answer": "2"}],
        "gaokao-mathcloze": [{"passage": None, "question": "填", "options": None, "answer": "7"}],
    }  # fmt: skip
    for name, rows in files.items():
        text = "\n".join(map(json.dumps, rows))
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    registry = tmp_path / "datasets.csv"
    header = "key,language,kind,location,revision,files\n"
    registry.write_text(f"{header}agieval,*,file,{tmp_path},,*.jsonl\n", encoding="utf-8")
    data = fetch(tmp_path / "job", registry, "agieval", cell("knowledge", "agieval"))
    asked = prompts(data, tmp_path / "cache")
    assert asked["agieval_lsat-ar"][0][0] == (
        "P. Q: Q? Answer Choices: (A)a (B)b (C)c (D)d (E)e\nA: Among A through E, the answer is"
    )
    assert [c for _, c in asked["agieval_lsat-ar"]] == [" A", " B", " C", " D", " E"]
    chinese = " 选项：(A)a (B)b (C)c (D)d\n答案：从A到D, 我们应选择"
    assert asked["agieval_gaokao-mathqa"][0] == (f"问题：题{chinese}", "A")
    assert asked["agieval_gaokao-mathqa_letters"][0][0] == f"问题：S{chinese}"
    assert asked["agieval_jec-qa-kd"][0][0] == f"问题：法{chinese}"
    assert asked["agieval_math"][0][0] == "Q: 1+1?\nA: The answer is"
    assert asked["agieval_gaokao-mathcloze"][0][0] == "问题：填\n答案："
    (several,) = read_jsonl(data / "items" / "agieval_gaokao-mathqa_letters.test.jsonl")
    assert (several["id"], several["answer"]) == ("gaokao-mathqa-1", "AC")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("lsat-xy", {"question": "Q", "options": ["(A)a"], "label": "A"}, "did you mean lsat-"),
        ("lsat-ar", {"question": "Q", "options": ["(A)a"], "label": "B"}, "must be among A"),
        ("lsat-ar", {"question": "Q", "options": ["(A)a"], "label": None}, "must be among A"),
        ("math", {"question": "Q", "options": None, "answer": None}, "answer must be text"),
    ],
)
def test_agieval_files_that_are_not(
    tmp_path: Path, name: str, row: dict[str, Any], message: str
) -> None:
    path = tmp_path / f"{name}.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_subjects(cell("knowledge", "agieval", "en"), {path.name: path})


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
