"""The few git commands sharing needs; a failure is one clear line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from langtransfer.errors import UserError


def git(*arguments: str, folder: Path | None = None, stdin: str | None = None) -> str:
    """What a git command prints. UserError with git's own words where it fails."""
    # Never asks for a password: who publishes has a key or a credential helper.
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["failed"]
        raise UserError("git", arguments[0], said[-1])
    return done.stdout


def commit_files(paths: Iterable[Path], message: str) -> bool:
    """Commit these files and nothing else; whether there was anything new in them."""
    names = {path.as_posix() for path in paths}
    listed = "\0".join(sorted(names))
    from_stdin = ("--pathspec-from-file=-", "--pathspec-file-nul")
    # --force: results/report is ignored but for the few files that are named here.
    git("add", "--force", *from_stdin, stdin=listed)
    if not names & set(git("diff", "--cached", "--name-only", "-z").split("\0")):
        return False
    git("commit", "--quiet", "--message", message, *from_stdin, stdin=listed)
    return True


def push() -> str | None:
    """Push the current branch to where it is followed; a line about where, None without one."""
    branch = git("rev-parse", "--abbrev-ref", "HEAD").strip()
    if not git("for-each-ref", "--format=%(upstream)", f"refs/heads/{branch}").strip():
        return None
    try:
        git("push", "--quiet")
    except UserError as error:
        remedy = f"not pushed ({error.remedy}); the data are: git pull, then publish again"
        raise UserError("git push", branch, remedy) from None
    return branch


def changed_files() -> list[str]:
    """Tracked files with changes that are not committed."""
    return git("diff", "--name-only", "HEAD").splitlines()
