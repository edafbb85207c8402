"""Keys, recipes, manifests and stamps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langtransfer import provenance
from langtransfer.errors import UserError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), VALUES))
def test_canonical_json_ignores_order(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert provenance.canonical_json(value) == provenance.canonical_json(turned)
    assert json.loads(provenance.canonical_json(value)) == value


@pytest.mark.parametrize("value", [Path("x"), {1, 2}, float("nan"), object()])
def test_canonical_json_refuses_what_json_cannot_hold(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        provenance.canonical_json(value)


def recipe(**changes: object) -> dict[str, object]:
    made = provenance.make_recipe("stage", 1, "stage/zh", {"a": 1, "b": 2}, {}, {})
    return made | changes


def test_key_sees_names_and_values() -> None:
    keys = {
        provenance.key_of(recipe()),
        provenance.key_of(recipe(config={"a": 2, "b": 1})),
        provenance.key_of(recipe(version=2)),
        provenance.key_of(recipe(sources={"f": "00"})),
        provenance.key_of(recipe(parents={"p": "results/x"})),
    }
    assert len(keys) == 5


def test_recipe_is_immutable_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = provenance.write_recipe(recipe())
    before = path.stat().st_mtime_ns
    assert provenance.write_recipe(recipe()) == path
    assert path.stat().st_mtime_ns == before
    assert provenance.read_recipe(path) == recipe()
    path.write_text(path.read_text().replace('"a": 1', '"a": 3'))
    with pytest.raises(UserError, match="changed by hand"):
        provenance.read_recipe(path)
    with pytest.raises(UserError, match="no such recipe"):
        provenance.read_recipe(tmp_path / "absent.json")


def test_manifest_shows_a_hand_edit(tmp_path: Path) -> None:
    provenance.write_manifest(tmp_path / "manifest.json", {"key": "k", "volatile": {"seconds": 1}})
    assert provenance.read_manifest(tmp_path)["key"] == "k"
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"seconds": 1', '"seconds": 2'))
    with pytest.raises(UserError, match="edited by hand"):
        provenance.read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        provenance.read_manifest(tmp_path)


def test_differing_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("two")
    outputs = provenance.hash_outputs(tmp_path)
    assert provenance.Outputs.from_json(outputs.as_json()) == outputs
    assert provenance.differing_files(tmp_path, outputs, contents=True) == []
    (tmp_path / "a").write_text("eno")
    assert provenance.differing_files(tmp_path, outputs, contents=False) == []
    assert provenance.differing_files(tmp_path, outputs, contents=True) == ["a"]
    (tmp_path / "extra").write_text("")
    (tmp_path / "sub" / "b").unlink()
    assert provenance.differing_files(tmp_path, outputs, contents=False) == ["extra", "sub/b"]


def test_source_hashes_notice_content_and_survive_a_torn_cache(tmp_path: Path) -> None:
    cache, source = tmp_path / "cache.json", tmp_path / "source"
    source.write_text("one")
    hashes = provenance.SourceHashes(cache)
    first = hashes(source)
    hashes.save()
    assert provenance.SourceHashes(cache)(source) == first
    source.write_text("two")
    os.utime(source, ns=(1, 1))
    assert provenance.SourceHashes(cache)(source) != first
    cache.write_text('{"torn')
    assert provenance.SourceHashes(cache)(source) == provenance.sha256_file(source)
