"""A list of files from a remote is somebody else's: what it names stays inside."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from langtransfer.errors import UserError
from langtransfer.sharing.addresses import without_credentials
from langtransfer.sharing.store import Store, _remote_errors, open_store

OBJECT = "0" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    quiet = [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"]
    variables = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run(quiet, cwd=tmp_path, check=True, env=variables)
    return tmp_path


def listed(store: Store, *entries: tuple[str, str]) -> str:
    """The id of a list of files and objects in the cache."""
    rows = [{"md5": md5, "relpath": name} for name, md5 in entries]
    text = json.dumps(rows).encode()
    oid = f"{hashlib.md5(text).hexdigest()}.dir"
    store.path(oid).parent.mkdir(parents=True, exist_ok=True)
    store.path(oid).write_bytes(text)
    return oid


@pytest.mark.parametrize(
    "entry",
    [("../../escaped", OBJECT), ("a/../../b", OBJECT), ("a", "../../../../victim"), ("a", "")],
    ids=["above", "above by a way round", "object elsewhere", "no object"],
)
def test_a_list_that_leads_elsewhere_is_none(root: Path, entry: tuple[str, str]) -> None:
    with open_store(root) as store:
        assert store.names(listed(store, ("model/a", OBJECT))) == {"model/a": OBJECT}
        assert store.names(listed(store, ("fine", OBJECT), entry)) == {}
        assert store.names("../../victim.dir") == {}


def test_what_a_remote_says_is_shown_without_passwords() -> None:
    said = "cannot reach https://user:token@lab.org/study"
    wanted = r"OSError: cannot reach https://lab\.org/study"
    with pytest.raises(UserError, match=wanted) as caught, _remote_errors("lab"):
        raise OSError(said)
    assert "token" not in str(caught.value)


def test_addresses_are_written_down_without_passwords() -> None:
    wanted = "https://lab.org/study.git"
    assert without_credentials("https://user:token@lab.org/study.git") == wanted
    assert without_credentials(wanted) == wanted
    assert without_credentials("git@lab.org:a/study") == "git@lab.org:a/study"
