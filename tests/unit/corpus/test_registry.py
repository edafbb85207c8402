"""The registry says what a dataset is and where it is; the first never depends on the second."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from langtransfer.corpus.registry import fetch, identity, load_registry, local_files
from langtransfer.errors import UserError
from langtransfer.provenance import sha256_file

REPOSITORY = Path(__file__).resolve().parents[3]
HEADER = "key,language,kind,location,revision,files,format,field,licence,homepage,note"


def registry_of(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "datasets.csv"
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return path


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"one\n")
    (folder / "b.txt").write_bytes(b"two\n")
    return folder


def test_the_shipped_registry_is_sound_and_covers_the_paper() -> None:
    registry = load_registry(REPOSITORY / "resources" / "datasets.csv")
    keys = {key for key, _ in registry.rows}
    assert keys >= {"atlas", "belle-500k", "belle-1m", "bactrian-x", "llm-eval", "ceval", "mmlu"}
    assert keys >= {"gaokao-bench", "agieval", "refinedweb", "llama-7b", "llama-13b", "llama2-7b"}
    assert keys >= {"chinese-llama-plus-7b", "chinese-llama2-7b", "open-chinese-llama-7b"}
    for row in registry.rows.values():
        assert row.kind != "hub" or len(row.revision) == 40, row.place()


@pytest.mark.parametrize("language", ["en", "hi", "sw", "zh"])
def test_the_atlas_is_one_template_file_a_language(language: str) -> None:
    registry = load_registry(REPOSITORY / "resources" / "datasets.csv")
    row = registry.row("atlas", language)
    template = REPOSITORY / "resources" / "atlas" / f"{language}.yaml"
    assert identity(row, sha256_file).files == {f"{language}.yaml": sha256_file(template)}


def test_real_files_have_the_checksums_of_the_registry(shared_data: Path, tmp_path: Path) -> None:
    registry = load_registry(REPOSITORY / "tests" / "configs" / "real-datasets.csv")
    for (_, language), row in registry.rows.items():
        filled = registry.row(row.key, "en" if language == "*" else language)
        assert local_files(filled, tmp_path), row.place()
    assert list(tmp_path.iterdir()) == []


def test_the_location_is_no_part_of_the_identity(tmp_path: Path, corpus: Path) -> None:
    moved = tmp_path / "moved"
    corpus.rename(moved)
    corpus.mkdir()
    (corpus / "a.txt").write_bytes(b"one\n")
    here = load_registry(registry_of(tmp_path, f"a,zh,file,{corpus},,a.txt,txt,,,,"))
    there = load_registry(registry_of(tmp_path, f"a,zh,file,{moved},,a.txt,txt,,MIT,home,note"))
    first, second = (identity(r.row("a", "zh"), sha256_file) for r in (here, there))
    assert first == second
    assert first.files == {"a.txt": sha(b"one\n")}
    (moved / "a.txt").write_bytes(b"other\n")
    assert identity(there.row("a", "zh"), sha256_file) != first


def test_a_checksum_in_the_row_spares_hashing(tmp_path: Path, corpus: Path) -> None:
    path = registry_of(tmp_path, f"a,zh,file,{corpus},,a.txt={sha(b'one')},txt,,,,")

    def never(path: Path) -> str:
        raise AssertionError(path)

    assert identity(load_registry(path).row("a", "zh"), never).files == {"a.txt": sha(b"one")}


def test_patterns_and_names_with_spaces(tmp_path: Path, corpus: Path) -> None:
    (corpus / "the last.md").write_bytes(b"three")
    path = registry_of(tmp_path, f"a,*,file,{corpus},,*.txt;the last.md={sha(b'three')},txt,,,,")
    row = load_registry(path).row("a", "sw")
    assert list(local_files(row, tmp_path)) == ["a.txt", "b.txt", "the last.md"]
    assert identity(row, sha256_file).files["the last.md"] == sha(b"three")


def test_a_row_of_the_language_goes_before_one_for_any(tmp_path: Path, corpus: Path) -> None:
    lines = [f"a,*,file,{corpus},,a.txt,txt,,,,", f"a,zh,file,{corpus},,b.txt,txt,,,,"]
    registry = load_registry(registry_of(tmp_path, *lines))
    assert list(registry.row("a", "zh").files) == ["b.txt"]
    assert list(registry.row("a", "hi").files) == ["a.txt"]


@pytest.mark.parametrize(
    ("key", "language", "message"),
    [
        ("corpsu", "zh", "'corpsu': not in .*did you mean corpus"),
        ("corpus", "hi", "'hi': dataset corpus of .* has zh: add a row"),
    ],
)
def test_unknown_names_come_with_a_remedy(
    tmp_path: Path, key: str, language: str, message: str
) -> None:
    registry = load_registry(registry_of(tmp_path, "corpus,zh,file,x,,a.txt,txt,,,,"))
    with pytest.raises(UserError, match=message):
        registry.row(key, language)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,zh,flie,x,,a.txt,txt,,,,", "line 2, kind: 'flie'.*did you mean file"),
        ("A b,zh,file,x,,a.txt,txt,,,,", "line 2, key: 'A b'"),
        ("a,chinese,file,x,,a.txt,txt,,,,", "line 2, language: 'chinese'"),
        ("a,zh,file,x,,a.txt=12,txt,,,,", "line 2, files: '12'"),
        ("a,zh,file,x,,,txt,,,,", "line 2, files"),
        ("a,zh,file,x,,../a.txt,txt,,,,", "line 2, row.*names below the location"),
        ("a,zh,https,ftp://x,,a.txt,txt,,,,", "line 2, row.*must begin with http"),
        ("a,zh,file,x", "line 2.*has 4 cells for 11 columns"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_registry(registry_of(tmp_path, line))


def test_unknown_missing_and_repeated_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'lang': unknown column; did you mean language"):
        load_registry(registry_of(tmp_path, header=HEADER.replace("language", "lang")))
    with pytest.raises(UserError, match="column files is missing"):
        load_registry(registry_of(tmp_path, header="key,language,kind,location,revision"))
    with pytest.raises(UserError, match="named twice"):
        load_registry(registry_of(tmp_path, header=HEADER + ",note"))


def test_a_repeated_row_is_named(tmp_path: Path) -> None:
    line = "a,zh,file,x,,a.txt,txt,,,,"
    with pytest.raises(UserError, match="line 3: 'a, zh': is on line 2"):
        load_registry(registry_of(tmp_path, line, line))


def test_a_missing_source_file_is_named(tmp_path: Path, corpus: Path) -> None:
    path = registry_of(tmp_path, f"a,zh,file,{corpus},,c.txt,txt,,,,")
    with pytest.raises(UserError, match=r"datasets\.csv, line 2, key a: .*c\.txt'.*no such source"):
        identity(load_registry(path).row("a", "zh"), sha256_file)


def test_a_wrong_checksum_is_refused(tmp_path: Path, corpus: Path) -> None:
    path = registry_of(tmp_path, f"a,zh,file,{corpus},,a.txt={sha(b'x')},txt,,,,")
    with pytest.raises(UserError, match=f"has sha256 {sha(b'one' + bytes([10]))}"):
        local_files(load_registry(path).row("a", "zh"), tmp_path)


def test_fetch_verifies_against_the_recipe_not_the_registry(tmp_path: Path, corpus: Path) -> None:
    path = registry_of(tmp_path, f"a,zh,file,{corpus},,a.txt,txt,,,,")
    source = identity(load_registry(path).row("a", "zh"), sha256_file)
    assert fetch(path, source, "zh", tmp_path) == {"a.txt": corpus / "a.txt"}
    (corpus / "a.txt").write_bytes(b"changed after planning")
    with pytest.raises(UserError, match="has sha256"):
        fetch(path, source, "zh", tmp_path)


MORE = HEADER + ",mirrors,base"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,zh,https,https://x,,a.txt,txt,,,,,https://y,", "mirrors need the sha256 of every file"),
        (
            f"a,zh,https,https://x,,a.txt={'0' * 64},txt,,,,,ftp://y,",
            "mirrors must begin with http",
        ),
        ("a,zh,file,,,a.txt,txt,,,,,,", "location is missing"),
        ("a,zh,hub,o/n,,a.bin,lora,,,,,,", "of format lora or delta, and no other, names its base"),
        ("a,zh,hub,o/n,,a.bin,huggingface,,,,,,b", "and no other, names its base"),
    ],
)
def test_bad_mirrors_and_bases_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=f"line 2, row.*{message}"):
        load_registry(registry_of(tmp_path, line, header=MORE))


def test_an_archive_of_files_by_their_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The location's files are gone; Software Heritage's address is made of the sha256."""
    asked: list[str] = []

    def download(url: str, target: Path, digest: str, place: str, sleep: object) -> Path:
        asked.append(url)
        if "archive" not in url:
            raise UserError("download", url, "not found (404)")
        target.write_bytes(b"one\n")
        return target

    monkeypatch.setattr("langtransfer.corpus.download.download", download)
    mirror = "https://archive/sha256:{sha256}/raw/"
    line = f"a,zh,https,https://x/main,,d/a b.txt={sha(b'one' + bytes([10]))};,txt,,,,,{mirror},"
    row = load_registry(registry_of(tmp_path, line, header=MORE)).row("a", "zh")
    (tmp_path / "d").mkdir()
    assert local_files(row, tmp_path) == {"d/a b.txt": tmp_path / "d" / "a b.txt"}
    assert asked == ["https://x/main/d/a%20b.txt", mirror.format(sha256=sha(b"one\n"))]


def test_rows_made_of_rows(tmp_path: Path, corpus: Path) -> None:
    lines = [
        f"a,zh,file,{corpus},,a.txt,txt,,,,", f"b,zh,file,{corpus},,b.txt,txt,,,,",
        "both,zh,rows,,,a;b,txt,,,,", "none,zh,rows,,,c,txt,,,,", "itself,zh,rows,,,itself,txt,,,,",
        "nested,zh,rows,,,both,txt,,,,",
    ]  # fmt: skip
    path = registry_of(tmp_path, *lines)
    source = identity(load_registry(path).row("both", "zh"), sha256_file)
    assert source.files == {"a@/a.txt": sha(b"one\n"), "b@/b.txt": sha(b"two\n")}
    found = fetch(path, source, "zh", tmp_path / "work")
    assert found == {"a/a.txt": corpus / "a.txt", "b/b.txt": corpus / "b.txt"}
    with pytest.raises(UserError, match="'c': not in"):
        load_registry(path).row("none", "zh")
    for key in ("itself", "nested"):
        with pytest.raises(UserError, match="must be keys of rows with files"):
            load_registry(path).row(key, "zh")
    registry_of(tmp_path, *lines[:2], "both,zh,rows,,,a,txt,,,,")
    with pytest.raises(UserError, match="'b': was among its rows when this was planned"):
        fetch(path, source, "zh", tmp_path / "work")


def test_the_shipped_flores_rows_pin_archive_and_file(shared_data: Path) -> None:
    registry = load_registry(REPOSITORY / "resources" / "datasets.csv")
    languages = sorted(language for key, language in registry.rows if key == "flores")
    assert len(languages) == 15
    real = load_registry(REPOSITORY / "tests" / "configs" / "real-datasets.csv")
    for language in languages:
        files = registry.row("flores", language).files
        mine = {n.rpartition("flores200_dataset/")[2]: d for n, d in files.items() if "!" in n}
        assert mine == dict(real.row("flores", language).files)
    assert registry.row("flores", "en").mirrors
