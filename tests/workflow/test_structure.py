"""One name for one thing: rule = script = stage = log folder; digests and schema in step."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from langtransfer.resources import ROOT
from langtransfer.workflow.code_digests import closure, module_digest, stage_digest
from langtransfer.workflow.stages import STAGES
from scripts.digests import PATH as DIGESTS
from scripts.digests import digests
from scripts.schema import PATH as SCHEMA
from scripts.schema import schema

RULES = {
    match["name"]: match["body"]
    for path in sorted((ROOT / "rules").glob("*.smk"))
    for match in re.finditer(
        r"^rule (?P<name>\w+):\n(?P<body>(?:(?:    .*)?\n)+)", path.read_text(), re.MULTILINE
    )
}
# Scripts that are no stage: they act on the whole study or on the repository.
TOOLS = {
    "cells", "character_ngrams", "check", "digests", "plan", "recover", "schema", "share", "watch",
}  # fmt: skip


def test_every_stage_has_a_rule_and_a_script() -> None:
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    assert set(RULES) == set(STAGES)
    assert scripts - TOOLS == set(STAGES)


@pytest.mark.parametrize("name", sorted(RULES))
def test_rule(name: str) -> None:
    body = RULES[name]
    assert re.match(r'    """[A-Z].*\."""\n', body), "one sentence says what the rule produces"
    assert f'"results/{name}/' in body
    assert "/{key}/manifest.json" in body
    assert f'"logs/{name}/' in body
    assert f'stage("{name}")' in body
    assert "conda:" in body


@pytest.mark.parametrize("name", sorted(STAGES))
def test_script_help_shows_an_example(name: str) -> None:
    command = [sys.executable, "-m", f"scripts.{name}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"python -m scripts.{name} --recipe recipes/{name}/" in done.stdout


def test_b7_code_that_changed_has_a_new_version_or_is_said_to_leave_results() -> None:
    recorded = json.loads(DIGESTS.read_text())
    now = digests()
    changed = sorted(stage for stage in now if now[stage] != recorded.get(stage))
    assert not changed, (
        f"the code of {', '.join(changed)} changed. Results change: raise the version in"
        " langtransfer/workflow/stages.py, then run `make digests`; they do not: run `make digests`"
    )


def test_b7_digest_sees_code_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langtransfer.workflow import code_digests

    monkeypatch.setattr(code_digests, "ROOT", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "langtransfer").mkdir()
    script, helper = tmp_path / "scripts" / "made.py", tmp_path / "langtransfer" / "helper.py"
    script.write_text("def run():\n    from langtransfer.helper import f\n    return f()\n")

    def digest(source: str) -> str:
        helper.write_text(source)
        code_digests.imports.cache_clear()
        code_digests.module_digest.cache_clear()
        return stage_digest("made")

    first = digest('"""Text."""\ndef f():\n    """More."""\n    return 1\n')
    assert digest("# comment\ndef f():\n\n    return 1\n") == first
    assert digest("def f():\n    return 2\n") != first
    assert closure("scripts.made") == {"scripts.made", "langtransfer.helper"}
    assert module_digest("langtransfer.helper")
    code_digests.imports.cache_clear()
    code_digests.module_digest.cache_clear()


def test_schema_is_in_step() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema(), "run `make schema`"
